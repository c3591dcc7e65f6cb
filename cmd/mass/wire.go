package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"

	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/internal/config"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/store"
)

// backends are the connections that the API and the workers share.
type backends struct {
	store    *store.Store
	redis    redis.UniversalClient
	enqueuer *queue.Enqueuer
}

// open makes the connections. A connection is dialed when it is first used, so
// a process starts even while a server is away, and its health endpoints report
// which server is missing.
func open(c *config.Config, kind string) (*backends, error) {
	address, err := redisAddress(&c.Queue)
	if err != nil {
		return nil, err
	}
	db := storeConfig(&c.DB, kind)
	db.Source = processSource(kind)
	st, err := store.Open(db)
	if err != nil {
		return nil, err
	}
	rdb, err := queue.Dial(address)
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return &backends{store: st, redis: rdb, enqueuer: queue.NewEnqueuer(rdb, c.Queue.TaskRetention)}, nil
}

// redisAddress reads the address of Redis from the settings.
func redisAddress(q *config.Queue) (queue.Address, error) {
	a, err := queue.ParseRedisURL(q.RedisURL)
	if err != nil {
		return a, err
	}
	return a.TrustCA(q.RedisCA)
}

// storeConfig says how a subcommand connects to Postgres.
func storeConfig(db *config.DB, subcommand string) store.Config {
	return store.Config{
		URL:              db.URL,
		DirectURL:        db.DirectURL,
		MaxOpen:          db.MaxConns,
		MaxIdle:          db.MaxIdle,
		ConnLifetime:     db.ConnLifetime,
		ConnectTimeout:   db.ConnectTimeout,
		StatementTimeout: db.StatementTimeout,
		Application:      "mass " + subcommand,
	}
}

// processSource describes this process for the audit trail.
func processSource(kind string) store.Source {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return store.Source{Kind: kind, Version: buildVersion(), Commit: buildCommit(), Host: host, PID: os.Getpid()}
}

// refuseSharedSessions returns an error if a connection pooler does not keep the
// sessions of its clients apart. A process must not start then: it would write
// events in the name of another process, and run statements of other clients.
func (b *backends) refuseSharedSessions(ctx context.Context) error { return b.store.CheckPooler(ctx) }

func (b *backends) close() error { return errors.Join(b.redis.Close(), b.store.Close()) }

// newLogger returns the logger that the settings ask for.
func newLogger(c *config.Log, out io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}
