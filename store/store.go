// Package store owns all SQL of MASS and nothing else: one file a table or
// aggregate, each statement beside the method that runs it. It returns domain
// types of package jobs and the errors of this file; it knows no HTTP and no
// queue.
package store

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"
)

// Config says how to reach Postgres.
type Config struct {
	URL              string        // postgres:// URL
	MaxOpen          int           // connections at most
	MaxIdle          int           // connections kept
	ConnLifetime     time.Duration // a connection's age at most
	ConnectTimeout   time.Duration // whole seconds
	StatementTimeout time.Duration // enforced by the server
	Application      string        // shown in pg_stat_activity
	Source           Source        // shown in the trail
}

// Store runs the statements. It is safe for concurrent use.
type Store struct {
	db *sqlx.DB

	// The statements of every request's life are prepared once a connection.
	insert, insertKeyed, claim, outcomes *prepared
}

// planLife is how long claims and ends keep a plan. In that time a new table does
// not grow so far that reading all of it takes long.
const planLife = 5 * time.Second

// Open returns a Store. It does not connect: the first statement does, so that a
// process starts, and tells the truth on /health/ready, while Postgres is away.
func Open(c Config) (*Store, error) {
	dsn, err := dataSourceName(c)
	if err != nil {
		return nil, err
	}
	conns, err := newConnector(dsn, c.Source)
	if err != nil {
		return nil, err
	}
	db := sqlx.NewDb(sql.OpenDB(conns), "postgres")
	db.SetMaxOpenConns(c.MaxOpen)
	db.SetMaxIdleConns(c.MaxIdle)
	db.SetConnMaxLifetime(c.ConnLifetime)
	return &Store{
		db:          db,
		insert:      &prepared{db: db, query: insertQuery.text},
		insertKeyed: &prepared{db: db, query: insertKeyedQuery.text},
		claim:       &prepared{db: db, query: claimQuery.text, life: planLife},
		outcomes:    &prepared{db: db, query: outcomeQuery.text, life: planLife},
	}, nil
}

// dataSourceName adds to the URL what it does not say itself: the driver passes
// unknown parameters to the server as run-time settings.
func dataSourceName(c Config) (string, error) {
	u, err := url.Parse(c.URL)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		// The URL holds a password, so neither it nor the parser's error is shown.
		return "", fmt.Errorf("the database URL is not of the form postgres://user:password@host:port/name")
	}
	q := u.Query()
	set := func(name, value string) {
		if !q.Has(name) {
			q.Set(name, value)
		}
	}
	if c.ConnectTimeout > 0 {
		set("connect_timeout", strconv.Itoa(max(1, int(c.ConnectTimeout.Seconds()))))
	}
	if c.StatementTimeout > 0 {
		set("statement_timeout", strconv.FormatInt(c.StatementTimeout.Milliseconds(), 10))
	}
	set("binary_parameters", "yes") // see arrays.go; and a statement that is not prepared costs one round trip instead of two
	set("random_page_cost", "1.1")  // of disks without a head to move; what is looked up is mostly in memory
	if c.Application != "" {
		set("application_name", c.Application)
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// Close closes all connections.
func (s *Store) Close() error { return s.db.Close() }

// Ping tells whether Postgres answers.
func (s *Store) Ping(ctx context.Context) error {
	return fault("ping the database", s.db.PingContext(ctx))
}

// Stats are the figures of the connection pool.
func (s *Store) Stats() sql.DBStats { return s.db.Stats() }
