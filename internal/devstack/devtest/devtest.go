// Package devtest gives tests a real PostgreSQL and a real Redis: one private
// pair of servers per test binary, started when a test first needs it, and one
// database or logical Redis database per test. Private gives a test servers of
// its own, to kill and restart.
//
// It owns the life of the servers and the names of the databases. It must not
// know the schema: the test binary passes its migration to Main. It never uses
// the machine's own servers.
package devtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/leomutto/pilot-in-a-box/internal/devstack"
)

const (
	template       = "devtest_template"
	redisDatabases = 1024
	timeout        = 10 * time.Minute // of one step; a migration on a slow machine is the longest
)

// shared is the pair of servers of this test binary. It is global because
// TestMain cannot pass anything to a test.
var shared suite

// suite is the state that Main sets up and all tests share.
type suite struct {
	migrate func(ctx context.Context, databaseURL string) error // nil until Main was called

	start    sync.Once
	startErr error
	stack    *devstack.Stack
	admin    *sql.DB

	makeTemplate sync.Once
	templateErr  error

	mu        sync.Mutex
	databases int   // number of databases made so far, for the next name
	freeRedis []int // logical databases that tests have returned
	nextRedis int   // the first logical database that was never used
}

// Main runs the tests of a package, stops the servers and exits. Call it from
// TestMain:
//
//	func TestMain(m *testing.M) { devtest.Main(m, migrations.Up) }
//
// migrate prepares the template that Database copies. It runs once, and only if
// a test calls Database.
func Main(m *testing.M, migrate func(ctx context.Context, databaseURL string) error) {
	logging.Disable() // go-redis logs every refused connection to standard error, and tests kill servers on purpose
	shared.migrate = migrate
	if migrate == nil {
		shared.migrate = func(context.Context, string) error { return nil }
	}
	code := m.Run()
	if err := shared.close(); err != nil {
		fmt.Fprintln(os.Stderr, "devtest:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// Database returns the URL of a new, migrated database, dropped when the test
// ends.
func Database(t testing.TB) string {
	t.Helper()
	s := use(t)
	s.makeTemplate.Do(func() { s.templateErr = s.createTemplate() })
	if s.templateErr != nil {
		t.Fatalf("devtest: migrate the template database: %v", s.templateErr)
	}
	return s.database(t, "TEMPLATE "+template+" STRATEGY file_copy") // twice as fast as the default strategy
}

// EmptyDatabase returns the URL of a new database without any table, dropped
// when the test ends.
func EmptyDatabase(t testing.TB) string {
	t.Helper()
	return use(t).database(t, "TEMPLATE template0 STRATEGY file_copy")
}

// Redis returns the URL of an empty logical database of the Redis, flushed when
// the test ends. Pub/sub channels, the server's settings and FLUSHALL affect
// all logical databases, so a test of those needs Private.
func Redis(t testing.TB) string {
	t.Helper()
	s := use(t)
	if s.stack.InMemoryRedis() {
		t.Fatalf("devtest: these tests need a real Redis; this machine has the %s", s.stack.Redis())
	}
	number, err := s.takeRedis()
	if err != nil {
		t.Fatalf("devtest: %v", err)
	}
	u, err := url.Parse(s.stack.RedisURL())
	if err != nil {
		t.Fatalf("devtest: read the URL of the Redis: %v", err)
	}
	u.Path = fmt.Sprintf("/%d", number)
	t.Cleanup(func() {
		if err := flush(u.String()); err != nil {
			t.Errorf("devtest: flush Redis database %d: %v", number, err)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.freeRedis = append(s.freeRedis, number)
	})
	return u.String()
}

// use starts the servers unless an earlier test did.
func use(t testing.TB) *suite {
	t.Helper()
	if shared.migrate == nil {
		t.Fatal("devtest: the package needs func TestMain(m *testing.M) { devtest.Main(m, …) }")
	}
	shared.start.Do(func() { shared.startErr = shared.open() })
	if shared.startErr != nil {
		t.Fatalf("devtest: start the servers: %v", shared.startErr)
	}
	return &shared
}

func (s *suite) open() error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var err error
	if s.stack, err = devstack.Start(ctx, devstack.Options{Ephemeral: true, Logger: slog.Default()}); err != nil {
		return err
	}
	if s.admin, err = sql.Open("postgres", s.stack.DatabaseURL()); err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	s.admin.SetMaxOpenConns(8)
	return nil
}

func (s *suite) close() error {
	if s.stack == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var err error
	if s.admin != nil {
		err = s.admin.Close()
	}
	return errors.Join(err, s.stack.Close(ctx))
}

func (s *suite) createTemplate() error {
	if err := s.exec("CREATE DATABASE " + template); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	databaseURL, err := s.databaseURL(template)
	if err != nil {
		return err
	}
	if err := s.migrate(ctx, databaseURL); err != nil {
		return err
	}
	// If the migration left a connection open, every copy of the template would
	// fail. This statement fails first, in the place where the cause is.
	return s.exec("ALTER DATABASE " + template + " ALLOW_CONNECTIONS false")
}

func (s *suite) database(t testing.TB, options string) string {
	t.Helper()
	s.mu.Lock()
	s.databases++
	name := fmt.Sprintf("test_%d", s.databases)
	s.mu.Unlock()
	if err := s.exec("CREATE DATABASE " + pq.QuoteIdentifier(name) + " " + options); err != nil {
		t.Fatalf("devtest: make a database: %v", err)
	}
	t.Cleanup(func() {
		if err := s.exec("DROP DATABASE " + pq.QuoteIdentifier(name) + " WITH (FORCE)"); err != nil {
			t.Errorf("devtest: drop the database: %v", err)
		}
	})
	databaseURL, err := s.databaseURL(name)
	if err != nil {
		t.Fatalf("devtest: %v", err)
	}
	return databaseURL
}

func (s *suite) databaseURL(name string) (string, error) {
	u, err := url.Parse(s.stack.DatabaseURL())
	if err != nil {
		return "", fmt.Errorf("read the URL of the PostgreSQL: %w", err)
	}
	u.Path = "/" + name
	return u.String(), nil
}

func (s *suite) exec(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if _, err := s.admin.ExecContext(ctx, statement); err != nil {
		return fmt.Errorf("run %q: %w", statement, err)
	}
	return nil
}

// takeRedis prefers numbers that were never used, so that leftovers of one test
// do not disturb the next.
func (s *suite) takeRedis() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nextRedis < redisDatabases {
		s.nextRedis++
		return s.nextRedis - 1, nil
	}
	if len(s.freeRedis) == 0 {
		return 0, fmt.Errorf("all %d databases of the Redis are in use", redisDatabases)
	}
	number := s.freeRedis[0]
	s.freeRedis = s.freeRedis[1:]
	return number, nil
}

func flush(redisURL string) (err error) {
	opt, err := redis.ParseURL(redisURL)
	if err != nil {
		return fmt.Errorf("read the URL: %w", err)
	}
	client := redis.NewClient(opt)
	defer func() { err = errors.Join(err, client.Close()) }()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return client.FlushDB(ctx).Err()
}
