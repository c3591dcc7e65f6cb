// Package systemtest gives the tests of the product the servers they run on,
// with the product's clients already connected: a migrated database with a store
// on it, and a Redis with an enqueuer.
//
// It owns how a test fixture is connected and closed. It must not know what a
// test does with it, nor the packages above store (api, worker, cmd). The servers
// themselves belong to package devtest. Only tests import systemtest.
package systemtest

import (
	"context"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/migrations"
	"github.com/leomutto/pilot-in-a-box/store"
)

// Patience is how long a test waits for something that must happen. A test ends
// as soon as it has happened; the bound only ends a broken test, and leaves room
// for a machine that is ten times slower than usual.
const Patience = 10 * time.Minute

// tick is how often Eventually looks again.
const tick = 5 * time.Millisecond

// Database is a migrated database of one test, with a store on it.
type Database struct {
	DatabaseURL string
	Store       *store.Store
	DB          *sqlx.DB // a second connection pool, to look behind the store's back
}

// System is a database and a Redis of one test, with a client for each.
type System struct {
	Database
	RedisURL     string
	RedisOptions queue.Address
	Redis        redis.UniversalClient
	Enqueuer     *queue.Enqueuer
}

// Main runs the tests of a package on migrated databases and exits; call it from
// TestMain.
func Main(m *testing.M) { devtest.Main(m, migrate) }

func migrate(ctx context.Context, databaseURL string) error {
	_, err := migrations.Up(ctx, databaseURL)
	return err
}

// New returns a system on a database and a logical Redis database that no other
// test uses.
func New(t testing.TB) *System {
	t.Helper()
	return On(t, devtest.Database(t), devtest.Redis(t))
}

// NewPrivate returns a system on servers of its own, which the test may kill,
// restart and pause.
func NewPrivate(t testing.TB) (*System, *devtest.Servers) {
	t.Helper()
	servers := devtest.Private(t)
	must(t, migrate(t.Context(), servers.DatabaseURL()))
	return On(t, servers.DatabaseURL(), servers.RedisURL()), servers
}

// NewDatabase returns a database that no other test uses, without a Redis.
func NewDatabase(t testing.TB) *Database {
	t.Helper()
	d := openDatabase(t, devtest.Database(t))
	return &d
}

// On returns a system on the servers that the URLs name. They need not answer:
// nothing is sent before the test does.
func On(t testing.TB, databaseURL, redisURL string) *System {
	t.Helper()
	s := &System{Database: openDatabase(t, databaseURL), RedisURL: redisURL}
	var err error
	s.RedisOptions, err = queue.ParseRedisURL(redisURL)
	must(t, err)
	s.Redis, err = queue.Dial(s.RedisOptions)
	must(t, err)
	closeAtEnd(t, s.Redis.Close)
	s.Enqueuer = queue.NewEnqueuer(s.Redis, time.Hour)
	return s
}

func openDatabase(t testing.TB, databaseURL string) Database {
	t.Helper()
	d := Database{DatabaseURL: databaseURL}
	var err error
	d.Store, err = store.Open(store.Config{
		URL: databaseURL, MaxOpen: 12, MaxIdle: 12, ConnectTimeout: 10 * time.Second, StatementTimeout: Patience, Application: "test",
	})
	must(t, err)
	closeAtEnd(t, d.Store.Close)
	d.DB, err = sqlx.Open("postgres", databaseURL)
	must(t, err)
	closeAtEnd(t, d.DB.Close)
	return d
}

// Eventually fails the test unless the condition comes to hold.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen within %v: %s", Patience, what)
		}
		time.Sleep(tick)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("set up the test: %v", err)
	}
}

func closeAtEnd(t testing.TB, closer func() error) {
	t.Helper()
	t.Cleanup(func() {
		if err := closer(); err != nil {
			t.Errorf("tear down the test: %v", err)
		}
	})
}
