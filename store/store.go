// Package store owns all SQL of MASS and nothing else. It has one file per
// table or aggregate, and each statement is next to the method that runs it. It
// returns domain types of package jobs and the errors of errors.go. It must not
// know HTTP or the queue.
//
// A method returns as soon as its context ends, even when the server is silent
// (see package pgconn), so callers need no additional time limit.
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

// Config tells how to reach Postgres.
type Config struct {
	URL              string        // postgres:// URL
	MaxOpen          int           // maximum number of connections
	MaxIdle          int           // maximum number of idle connections that are kept
	ConnLifetime     time.Duration // maximum age of a connection
	ConnectTimeout   time.Duration // rounded down to whole seconds, at least one
	StatementTimeout time.Duration // enforced by the server; the client gives up on a silent server a little later
	Application      string        // shown in pg_stat_activity
	Source           Source        // shown in the trail
}

// Store runs the statements. It is safe for concurrent use.
type Store struct {
	db *sqlx.DB

	// The statements that every request goes through are prepared once per
	// connection.
	insert, insertKeyed, claim, outcomes *prepared
}

// planLife is how long the statements that claim requests and write their
// outcomes keep a plan. In that time a new table does not become so large that
// a scan of the whole table is slow.
const planLife = 5 * time.Second

// Open returns a Store. It does not connect; the first statement does. A
// process can therefore start, and report its state on /health/ready, while
// Postgres is away.
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

// dataSourceName adds the settings that the URL does not contain. The driver
// passes parameters that it does not know to the server as run-time settings.
func dataSourceName(c Config) (string, error) {
	u, err := url.Parse(c.URL)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		// The URL contains a password, so the error shows neither the URL nor
		// the parser's error.
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
	// See arrays.go. A statement that is not prepared also costs one round trip
	// instead of two.
	set("binary_parameters", "yes")
	// The default of 4 is for disks with moving heads; these tables are mostly
	// in memory.
	set("random_page_cost", "1.1")
	if c.Application != "" {
		set("application_name", c.Application)
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// Close closes all connections.
func (s *Store) Close() error { return s.db.Close() }

// Ping returns an error when Postgres does not answer.
func (s *Store) Ping(ctx context.Context) error {
	return wrap("ping the database", s.db.PingContext(ctx))
}

// Stats returns the statistics of the connection pool.
func (s *Store) Stats() sql.DBStats { return s.db.Stats() }
