package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/internal/devstack"
)

// machine is the private PostgreSQL and Redis that all contestants share, one after the other.
type machine struct {
	stack      *devstack.Stack
	dir        string // of logs
	admin      *pgx.Conn
	redis      *redis.Client
	postmaster int // process id of the PostgreSQL
	redisPID   int
	databases  int // made so far
	templates  map[string]bool
}

// startMachine starts the servers as durable as in production, whatever devstack's defaults become, and PostgreSQL with
// more settings where the flags ask for them.
func startMachine(ctx context.Context, settings []string) (_ *machine, err error) {
	m := &machine{templates: map[string]bool{}}
	if m.dir, err = os.MkdirTemp("", "mass-bench-*"); err != nil {
		return nil, err
	}
	if err := os.Chmod(m.dir, 0o755); err != nil { // the account of the servers has to pass through it
		return nil, err
	}
	m.stack, err = devstack.Start(ctx, devstack.Options{
		DataDir:  filepath.Join(m.dir, "data"),
		Settings: append([]string{"max_connections=600"}, append(settings, "fsync=on", "synchronous_commit=on", "full_page_writes=on")...),
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.close(ctx))
		}
	}()
	if m.stack.InMemoryRedis() {
		return nil, errors.New("no redis-server found: figures with an imitation mean nothing")
	}
	if m.admin, err = pgx.Connect(ctx, m.stack.DatabaseURL()); err != nil {
		return nil, err
	}
	var backend int
	if err := m.admin.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&backend); err != nil {
		return nil, err
	}
	m.postmaster = parentOf(backend)
	opt, err := redis.ParseURL(m.stack.RedisURL())
	if err != nil {
		return nil, err
	}
	m.redis = redis.NewClient(opt)
	m.redisPID, err = strconv.Atoi(m.redisInfo(ctx, "server", "process_id"))
	return m, err
}

// close stops the servers and removes everything they stored.
func (m *machine) close(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	if m.admin != nil {
		_ = m.admin.Close(ctx)
	}
	if m.redis != nil {
		_ = m.redis.Close()
	}
	return errors.Join(m.stack.Close(ctx), os.RemoveAll(m.dir))
}

// redisInfo is one field of Redis' INFO; "" when it is not there.
func (m *machine) redisInfo(ctx context.Context, section, field string) string {
	text, _ := m.redis.Info(ctx, section).Result()
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// redisMemory is what Redis uses now, in bytes, without the buffers of its log and of its clients: how full those are when
// one looks has nothing to do with how much is stored.
func (m *machine) redisMemory(ctx context.Context) float64 {
	field := func(name string) float64 {
		n, _ := strconv.ParseFloat(m.redisInfo(ctx, "memory", name), 64)
		return n
	}
	return field("used_memory") - field("mem_aof_buffer") - field("mem_clients_normal") - field("mem_clients_slaves")
}

// setting is a setting of the PostgreSQL as it answers itself.
func (m *machine) setting(ctx context.Context, name string) string {
	var value string
	if err := m.admin.QueryRow(ctx, "SELECT current_setting($1)", name).Scan(&value); err != nil {
		return err.Error()
	}
	return value
}

// database makes a new database in the state that prepare leaves an empty one in, and returns its URL. What came before
// is written to disk first, so that nobody pays for the one before him.
func (m *machine) database(ctx context.Context, kind string, prepare func(ctx context.Context, databaseURL string) error) (name, databaseURL string, err error) {
	template := "template_" + kind
	if !m.templates[kind] {
		if _, err := m.admin.Exec(ctx, "CREATE DATABASE "+template); err != nil {
			return "", "", err
		}
		if err := prepare(ctx, m.urlOf(template)); err != nil {
			return "", "", fmt.Errorf("prepare the database of %s: %w", kind, err)
		}
		m.templates[kind] = true
	}
	m.databases++
	name = fmt.Sprintf("%s_%d", kind, m.databases)
	for _, statement := range []string{"CREATE DATABASE " + name + " TEMPLATE " + template, "CHECKPOINT"} {
		if _, err := m.admin.Exec(ctx, statement); err != nil {
			return "", "", fmt.Errorf("%s: %w", statement, err)
		}
	}
	return name, m.urlOf(name), nil
}

// drop removes a database and empties Redis.
func (m *machine) drop(ctx context.Context, name string) error {
	_, err := m.admin.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)")
	return errors.Join(err, m.redis.FlushAll(ctx).Err())
}

func (m *machine) urlOf(database string) string {
	u, err := url.Parse(m.stack.DatabaseURL())
	if err != nil {
		panic(err) // it is ours
	}
	u.Path = "/" + database
	return u.String()
}

// cpu is the processor time used so far by each server.
func (m *machine) cpu() map[string]time.Duration {
	return map[string]time.Duration{"postgres": familyCPU(m.postmaster), "redis": cpuOf(m.redisPID)}
}

// execute runs statements on a database.
func execute(ctx context.Context, databaseURL, statements string) error {
	db, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	_, err = db.Exec(ctx, statements)
	return errors.Join(err, db.Close(ctx))
}

// openPool connects to a database with few connections, all for looking at it.
func openPool(ctx context.Context, databaseURL string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, err
	}
	config.MaxConns = 4
	// The statements that watch use the partial indexes, also when the statistics of a new table say otherwise.
	config.ConnConfig.RuntimeParams["enable_seqscan"] = "off"
	config.ConnConfig.RuntimeParams["application_name"] = "bench"
	return pgxpool.NewWithConfig(ctx, config)
}

// freeAddress is an address of this machine that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it returns at once
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
