package devtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/leomutto/pilot-in-a-box/internal/devstack"
)

// Servers is a private PostgreSQL and a private Redis for a single test, which
// may kill, restart and pause them. As in production, the servers keep every
// write that they acknowledged. Their database is not migrated, and their URLs
// survive a restart. The methods may be called from any goroutine.
type Servers struct {
	dir             string
	postgres, redis victim
}

// Private starts servers for one test. They are stopped when the test ends.
func Private(t testing.TB) *Servers {
	t.Helper()
	// The account of the servers must be able to enter the folder. It could not
	// enter a folder in t.TempDir.
	dir, err := os.MkdirTemp("", "devtest-")
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		t.Fatalf("devtest: make a folder for private servers: %v", err)
	}
	s := &Servers{dir: dir}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if err := errors.Join(s.postgres.stop(ctx), s.redis.stop(ctx), os.RemoveAll(dir)); err != nil {
			t.Errorf("devtest: stop private servers: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := s.start(ctx); err != nil {
		t.Fatalf("devtest: start private servers: %v", err)
	}
	if s.redis.stack.InMemoryRedis() {
		t.Fatalf("devtest: these tests need a real Redis; this machine has the %s", s.redis.stack.Redis())
	}
	return s
}

// start gives each server a stack of its own, to which the other server is an
// existing one, so that each can be stopped alone.
func (s *Servers) start(ctx context.Context) error {
	const elsewhere = "elsewhere://not-used"
	s.postgres = victim{name: "postgres", options: devstack.Options{DataDir: filepath.Join(s.dir, "postgres"), RedisURL: elsewhere}}
	s.redis = victim{name: "redis", options: devstack.Options{DataDir: filepath.Join(s.dir, "redis"), DatabaseURL: elsewhere}}
	var errs [2]error
	var both sync.WaitGroup
	both.Go(func() { errs[0] = s.postgres.start(ctx) })
	both.Go(func() { errs[1] = s.redis.start(ctx) })
	both.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	var err error
	if s.postgres.options.PostgresPort, err = port(s.DatabaseURL()); err != nil {
		return err
	}
	s.redis.options.RedisPort, err = port(s.RedisURL())
	return err
}

func port(serverURL string) (int, error) {
	u, err := url.Parse(serverURL)
	if err != nil {
		return 0, fmt.Errorf("read the URL of a private server: %w", err)
	}
	n, err := strconv.Atoi(u.Port())
	if err != nil {
		return 0, fmt.Errorf("read the port of a private server: %w", err)
	}
	return n, nil
}

// DatabaseURL is the postgres:// URL of the PostgreSQL.
func (s *Servers) DatabaseURL() string { return s.postgres.current().DatabaseURL() }

// RedisURL is the redis:// URL of the Redis.
func (s *Servers) RedisURL() string { return s.redis.current().RedisURL() }

// RedisData is the folder in which the Redis keeps its data.
func (s *Servers) RedisData() string {
	return filepath.Join(s.redis.options.DataDir, "servers", "redis")
}

// KillPostgres ends the PostgreSQL as a crash would, and returns once all of
// its processes have ended.
func (s *Servers) KillPostgres() error { return s.postgres.kill() }

// RestartPostgres starts the PostgreSQL again on the same port and data, after
// stopping it if it is running.
func (s *Servers) RestartPostgres(ctx context.Context) error { return s.postgres.restart(ctx) }

// KillRedis ends the Redis as a crash would.
func (s *Servers) KillRedis() error { return s.redis.kill() }

// RestartRedis starts the Redis again on the same port and data, after stopping
// it if it is running.
func (s *Servers) RestartRedis(ctx context.Context) error { return s.redis.restart(ctx) }

// PauseRedis freezes the Redis until ResumeRedis: connections stay open, but no
// command is answered.
func (s *Servers) PauseRedis() error { return s.redis.signal(syscall.SIGSTOP) }

// ResumeRedis undoes PauseRedis.
func (s *Servers) ResumeRedis() error { return s.redis.signal(syscall.SIGCONT) }

// victim is one of the two servers, alone in a stack.
type victim struct {
	name    string           // of its lock file
	options devstack.Options // with the port, once it is known

	mu    sync.Mutex
	stack *devstack.Stack // nil before the first start
}

func (v *victim) current() *devstack.Stack {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.stack
}

func (v *victim) start(ctx context.Context) (err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.startLocked(ctx)
}

func (v *victim) startLocked(ctx context.Context) error {
	v.options.Logger = slog.New(slog.DiscardHandler) // tests end the server unexpectedly on purpose
	stack, err := devstack.Start(ctx, v.options)
	if err != nil {
		return fmt.Errorf("start %s: %w", v.name, err)
	}
	v.stack = stack
	return nil
}

func (v *victim) stop(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.stopLocked(ctx)
}

func (v *victim) stopLocked(ctx context.Context) error {
	if v.stack == nil {
		return nil
	}
	return v.stack.Close(ctx)
}

func (v *victim) restart(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.stopLocked(ctx); err != nil {
		return err
	}
	return v.startLocked(ctx)
}

func (v *victim) lockFile() string { return filepath.Join(v.options.DataDir, v.name+".lock") }

func (v *victim) signal(sig syscall.Signal) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	content, err := os.ReadFile(v.lockFile())
	if err != nil {
		return fmt.Errorf("find the process of %s: %w", v.name, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return fmt.Errorf("find the process of %s: %w", v.name, err)
	}
	if err := syscall.Kill(pid, sig); err != nil {
		return fmt.Errorf("send %v to %s: %w", sig, v.name, err)
	}
	return nil
}

// kill sends SIGKILL and waits for the lock that every process of the server
// holds.
func (v *victim) kill() error {
	if err := v.signal(syscall.SIGKILL); err != nil {
		return err
	}
	lock, err := os.Open(v.lockFile())
	if err != nil {
		return fmt.Errorf("wait for the end of %s: %w", v.name, err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("wait for the end of %s: %w", v.name, err)
	}
	return nil
}
