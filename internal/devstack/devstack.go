// Package devstack provides a PostgreSQL and a Redis to a caller that has
// neither: it starts private servers, keeps their data in a folder, and stops
// them. `mass dev` and the tests use it.
//
// It owns processes, ports, passwords and files. It must not know what the
// servers store: no schema, no migration, no task. It never touches a server
// that it did not start, and `mass api` and `mass worker` never use it.
package devstack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"github.com/alicebob/miniredis/v2"
	"golang.org/x/sync/errgroup"
)

// Options configures Start. The zero value starts both servers in a temporary
// folder.
type Options struct {
	DataDir     string   // keeps data, logs and passwords; "" is a temporary folder, which Close removes
	DatabaseURL string   // an existing PostgreSQL, used instead of a private one
	RedisURL    string   // an existing Redis, used instead of a private one
	Ephemeral   bool     // for tests: PostgreSQL does not wait for the disk, and Redis keeps nothing
	Settings    []string // of a private PostgreSQL, as name=value; they override the defaults

	PostgresPort int // port of a private PostgreSQL; 0 is any free port
	RedisPort    int // port of a private Redis; 0 is any free port

	Logger *slog.Logger // nil discards

	SearchPath  []string // folders to search for server binaries; nil is $PATH and the usual places
	DownloadURL string   // Maven repository to download PostgreSQL from if none is installed; "" is Maven Central
}

// Stack is a running pair of servers. Its methods are safe for concurrent use.
type Stack struct {
	postgresURL, postgresInfo string
	redisURL, redisInfo       string

	postgres *server              // nil when Options.DatabaseURL was given
	redis    *server              // nil when Options.RedisURL was given, or when memory replaces it
	memory   *miniredis.Miniredis // replaces Redis on a machine without redis-server
	home     *home                // nil when both URLs were given

	closing  sync.Once
	closeErr error
}

// Start starts both servers in parallel and returns when both answer. ctx
// limits the start, not the life of the servers: they run until Close, or until
// this process ends.
func Start(ctx context.Context, o Options) (_ *Stack, err error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Stack{
		postgresURL: o.DatabaseURL, postgresInfo: "PostgreSQL " + where(o.DatabaseURL, "DATABASE_URL"),
		redisURL: o.RedisURL, redisInfo: "Redis " + where(o.RedisURL, "REDIS_URL"),
	}
	if o.DatabaseURL != "" && o.RedisURL != "" {
		return s, nil
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close(context.WithoutCancel(ctx)))
		}
	}()
	if s.home, err = openHome(ctx, o.DataDir, o.Logger); err != nil {
		return nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	if o.DatabaseURL == "" {
		g.Go(func() error { return s.startPostgres(ctx, o) })
	}
	if o.RedisURL == "" {
		g.Go(func() error { return s.startRedis(ctx, o) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return s, nil
}

// DatabaseURL returns the postgres:// URL of the database `mass`, or
// Options.DatabaseURL.
func (s *Stack) DatabaseURL() string { return s.postgresURL }

// RedisURL returns a redis:// URL, or Options.RedisURL.
func (s *Stack) RedisURL() string { return s.redisURL }

// Postgres describes the PostgreSQL for people, without its password.
func (s *Stack) Postgres() string { return s.postgresInfo }

// Redis describes the Redis for people, without its password.
func (s *Stack) Redis() string { return s.redisInfo }

// InMemoryRedis reports whether the Redis runs inside this process because no
// redis-server was found.
func (s *Stack) InMemoryRedis() bool { return s.memory != nil }

// Close shuts the private servers down and unlocks the data folder. It kills a
// server that takes too long, or that still runs when ctx ends. Further calls
// do nothing and return the result of the first one.
func (s *Stack) Close(ctx context.Context) error {
	s.closing.Do(func() {
		var g errgroup.Group
		for _, srv := range []*server{s.postgres, s.redis} {
			if srv != nil {
				g.Go(func() error { return srv.stop(ctx) })
			}
		}
		if s.memory != nil {
			s.memory.Close()
		}
		s.closeErr = g.Wait()
		if s.home != nil {
			s.closeErr = errors.Join(s.closeErr, s.home.close())
		}
	})
	return s.closeErr
}

// home is the data folder of one Stack:
//
//	lock                             held for the life of the Stack
//	postgres.{log,lock,password}     owned by the caller; likewise redis.*
//	servers/                         owned by the servers' account; a link if that account cannot enter the data folder
//	servers/{postgres,redis}         their data
type home struct {
	dir       string
	servers   string
	account   *account
	lock      *os.File
	temporary bool
}

// temporaryPattern matches temporary data folders, so that sweepTemporary finds
// those of killed processes.
const temporaryPattern = "mass-devstack-*"

func openHome(ctx context.Context, dir string, logger *slog.Logger) (_ *home, err error) {
	h := &home{temporary: dir == ""}
	if h.temporary {
		sweepTemporary(logger)
		if dir, err = os.MkdirTemp("", temporaryPattern); err != nil {
			return nil, fmt.Errorf("make a temporary data folder: %w", err)
		}
	}
	if h.dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("find the data folder %s: %w", dir, err)
	}
	if err := makeEnterable(h.dir, h.temporary); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	lockPath := filepath.Join(h.dir, "lock")
	h.lock, err = tryLock(lockPath)
	if errors.Is(err, errLocked) {
		return nil, fmt.Errorf("the data folder %s is in use by %s", h.dir, lockHolder(lockPath))
	}
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	if err := writeHolder(h.lock, os.Getpid()); err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	if h.servers, h.account, err = serversFolder(ctx, h.dir, logger); err != nil {
		return nil, err
	}
	return h, nil
}

// path returns the path of a file in the data folder.
func (h *home) path(name string) string { return filepath.Join(h.dir, name) }

func (h *home) close() error {
	var err error
	if h.temporary {
		// Remove the servers' folder first, because it may be a link.
		err = errors.Join(os.RemoveAll(h.servers), os.RemoveAll(h.dir))
	}
	return errors.Join(err, unlock(h.lock))
}

// where describes the server of a URL for people, without the password that the
// URL may contain.
func where(serverURL, variable string) string {
	if u, err := url.Parse(serverURL); err == nil && u.Scheme != "" && u.Host != "" {
		return fmt.Sprintf("at %s (%s)", u.Host, variable)
	}
	return fmt.Sprintf("given by %s", variable)
}
