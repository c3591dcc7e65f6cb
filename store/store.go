// Package store owns all SQL of MASS and nothing else. It has one file per
// table or aggregate, and each statement is next to the method that runs it. It
// returns domain types of package jobs and the errors of errors.go. It must not
// know HTTP or the queue.
//
// A method returns as soon as its context ends, even when the server is silent
// (see package pgconn), so callers need no additional time limit.
package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/leomutto/pilot-in-a-box/internal/pgconn"
)

// Config tells how to reach Postgres.
type Config struct {
	URL              string        // database URL, see pgconn.ParseURL
	DirectURL        string        // database URL without a pooler, for the leadership; "": URL
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
	db   *sqlx.DB
	lead *sqlx.DB // of the leadership, so that a leader never waits for a free connection

	routes []*sqlx.DB // db, and lead if it takes another way to the server

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
	conns, err := newConnector(c.URL, c.parameters(), c.Source)
	if err != nil {
		return nil, err
	}
	direct, err := pgconn.NewConnector(context.Background(), cmp.Or(c.DirectURL, c.URL), c.parameters())
	if err != nil {
		return nil, err
	}
	db := sqlx.NewDb(sql.OpenDB(conns), "postgres")
	lead := sqlx.NewDb(sql.OpenDB(direct), "postgres")
	lead.SetMaxOpenConns(1)
	lead.SetConnMaxIdleTime(leaderPatience)
	db.SetMaxOpenConns(c.MaxOpen)
	db.SetMaxIdleConns(c.MaxIdle)
	db.SetConnMaxLifetime(c.ConnLifetime)
	s := &Store{
		routes:      []*sqlx.DB{db},
		db:          db,
		lead:        lead,
		insert:      &prepared{db: db, query: insertQuery.text},
		insertKeyed: &prepared{db: db, query: insertKeyedQuery.text},
		claim:       &prepared{db: db, query: claimQuery.text, life: planLife},
		outcomes:    &prepared{db: db, query: outcomeQuery.text, life: planLife},
	}
	if c.DirectURL != "" {
		s.routes = append(s.routes, lead)
	}
	return s, nil
}

// parameters are those that the URL may leave out.
func (c *Config) parameters() pgconn.Parameters {
	p := pgconn.Parameters{
		// See arrays.go. A statement that is not prepared also costs one round
		// trip instead of two.
		"binary_parameters": "yes",
		// The default of 4 is for disks with moving heads; these tables are
		// mostly in memory.
		"random_page_cost": "1.1",
		// The statements lock the rows that they change, and expect to see what
		// another one committed while they waited for a lock.
		"default_transaction_isolation": "read committed",
	}
	if c.ConnectTimeout > 0 {
		p["connect_timeout"] = strconv.Itoa(max(1, int(c.ConnectTimeout.Seconds())))
	}
	if c.StatementTimeout > 0 {
		p["statement_timeout"] = strconv.FormatInt(c.StatementTimeout.Milliseconds(), 10)
	}
	if c.Application != "" {
		p["application_name"] = c.Application
	}
	return p
}

// Close closes all connections.
func (s *Store) Close() error { return errors.Join(s.db.Close(), s.lead.Close()) }

// CheckPooler connects to Postgres. It returns an error that says what to do if
// a connection pooler does not keep the sessions of its clients apart, and nil
// in every other case, also while Postgres is away.
func (s *Store) CheckPooler(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, poolerTimeout)
	defer cancel()
	for _, db := range s.routes {
		if err := db.PingContext(ctx); errors.Is(err, pgconn.ErrTransactionPooling) {
			return pgconn.ErrTransactionPooling
		}
	}
	return nil
}

// poolerTimeout bounds CheckPooler.
const poolerTimeout = 10 * time.Second

// Ping returns an error when Postgres does not answer.
func (s *Store) Ping(ctx context.Context) error {
	return wrap("ping the database", s.db.PingContext(ctx))
}

// Stats returns the statistics of the connection pool.
func (s *Store) Stats() sql.DBStats { return s.db.Stats() }
