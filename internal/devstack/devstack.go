// Package devstack provides the PostgreSQL and the Redis that MASS needs to a caller that has neither: it starts
// private ones, keeps their data in a folder, and stops them. `mass dev` and the tests run on it.
//
// It owns processes, ports, passwords and files. It must not know what is stored in the servers: no schema, no
// migration, no task. It never touches a server that it did not start, and a production process never imports it.
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

// Options says what Start provides. The zero value starts both servers on a temporary folder.
type Options struct {
	DataDir     string   // where the data, logs and passwords are kept; "" is a temporary folder, removed by Close
	DatabaseURL string   // a PostgreSQL that is there already; no other is started
	RedisURL    string   // a Redis that is there already; no other is started
	Ephemeral   bool     // for tests: nothing is written to disk in time, nothing is kept by Redis
	Settings    []string // of a private PostgreSQL, as name=value; they beat the defaults

	PostgresPort int // where a private PostgreSQL listens; 0 is any free port
	RedisPort    int // where a private Redis listens; 0 is any free port

	Logger *slog.Logger // nil discards

	SearchPath  []string // folders in which server binaries are looked for; nil is $PATH and the usual places
	DownloadURL string   // Maven repository that serves PostgreSQL where none is installed; "" is Maven Central
}

// Stack is a running pair of servers. Its methods may be called from any goroutine.
type Stack struct {
	postgresURL, postgresInfo string
	redisURL, redisInfo       string

	postgres *server              // nil when Options.DatabaseURL was given
	redis    *server              // nil when Options.RedisURL was given, or when memory stands in
	memory   *miniredis.Miniredis // the Redis of a machine without redis-server
	home     *home                // nil when both URLs were given

	closing  sync.Once
	closeErr error
}

// Start makes both servers available, side by side, and returns when both answer. ctx bounds the start, not the life of
// the servers: those run until Close, or until this process ends.
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

// DatabaseURL is the postgres:// URL of the database `mass`, or Options.DatabaseURL.
func (s *Stack) DatabaseURL() string { return s.postgresURL }

// RedisURL is a redis:// URL, or Options.RedisURL.
func (s *Stack) RedisURL() string { return s.redisURL }

// Postgres describes the PostgreSQL for people, without its password.
func (s *Stack) Postgres() string { return s.postgresInfo }

// Redis describes the Redis for people, without its password.
func (s *Stack) Redis() string { return s.redisInfo }

// InMemoryRedis reports whether the Redis lives in this process only, because no redis-server was found.
func (s *Stack) InMemoryRedis() bool { return s.memory != nil }

// Close stops the private servers in good order, or by force when ctx ends or they take too long, and lets go of the
// data folder. Further calls do nothing and return what the first one returned.
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
//	lock                             held as long as the Stack lives
//	postgres.{log,lock,password}     ours; redis.* alike
//	servers/                         of the account that the servers run as; a link when that account cannot come here
//	servers/{postgres,redis}         their data
type home struct {
	dir       string
	servers   string
	account   *account
	lock      *os.File
	temporary bool
}

// temporaryPattern names temporary data folders, so that those of killed processes are found again.
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

// path is a file of ours in the data folder.
func (h *home) path(name string) string { return filepath.Join(h.dir, name) }

func (h *home) close() error {
	var err error
	if h.temporary {
		// The folder of the servers first: it may be a link to one elsewhere.
		err = errors.Join(os.RemoveAll(h.servers), os.RemoveAll(h.dir))
	}
	return errors.Join(err, unlock(h.lock))
}

// where tells people which server a URL means. The URL itself may hold a password.
func where(serverURL, variable string) string {
	if u, err := url.Parse(serverURL); err == nil && u.Scheme != "" && u.Host != "" {
		return fmt.Sprintf("at %s (%s)", u.Host, variable)
	}
	return fmt.Sprintf("given by %s", variable)
}
