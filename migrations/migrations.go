// Package migrations owns the schema: the SQL files, applied in the order of
// their names, and the code that applies them. It does not know what the rows
// mean.
//
// 0001_schema.sql is the whole schema of the first release. From then on files
// are append-only: a released file is never edited, every change is a new file,
// and the program must run both before and after each file is applied.
package migrations

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lib/pq"
	migrate "github.com/rubenv/sql-migrate"

	"github.com/leomutto/pilot-in-a-box/internal/pgconn"
)

//go:embed *.sql
var files embed.FS

// lockKey is the first key of the advisory lock that migrating processes take one
// after another. The number is "mass" in ASCII.
const lockKey = 0x6d617373

// ErrUnreleasedSchema reports a database that was created before the first
// release, by migrations that 0001_schema.sql replaces.
var ErrUnreleasedSchema = errors.New("the database was created by a version of MASS from before its first release and cannot be upgraded: " +
	"use an empty database; if mass dev created it, remove the data folder (.mass, unless MASS_DATA_DIR names another) and start again")

// Migration is one file of the schema.
type Migration struct {
	ID        string
	AppliedAt time.Time // zero while pending
}

// Up applies all pending migrations and returns how many there were. Several
// processes may call it at the same time: they wait for each other.
func Up(ctx context.Context, databaseURL string) (int, error) {
	return run(ctx, databaseURL, migrate.Up, 0)
}

// Down reverts the latest steps migrations and returns how many were reverted.
func Down(ctx context.Context, databaseURL string, steps int) (int, error) {
	return run(ctx, databaseURL, migrate.Down, steps)
}

func run(ctx context.Context, databaseURL string, dir migrate.MigrationDirection, limit int) (n int, err error) {
	db, err := openSession(ctx, databaseURL)
	if err != nil {
		return 0, err
	}
	defer db.Close() // which frees the lock if unlock could not
	if err := lock(ctx, db); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, unlock(ctx, db)) }()

	for try := 1; ; try++ {
		applied, err := apply(ctx, db, dir, limit)
		n += applied
		if limit > 0 {
			limit -= applied
		}
		if err == nil || !isLockTimeout(err) || try == lockTries {
			return n, err
		}
		// A migration that waits for a table stops every statement that comes after
		// it. So it gives up soon, and lets the others pass before the next try.
		if err := pause(ctx, lockPause); err != nil {
			return n, fmt.Errorf("migrate: %w", err)
		}
	}
}

const (
	lockNotAvailable = "55P03"     // SQLSTATE of a lock timeout
	lockTimeout      = "5s"        // for one lock on a table
	lockTries        = 10          // of a migration that runs into lockTimeout
	lockPause        = time.Second // between two tries, about
)

func isLockTimeout(err error) bool {
	var failed *migrate.TxError // which has no Unwrap
	if errors.As(err, &failed) {
		err = failed.Err
	}
	var answer *pq.Error
	return errors.As(err, &answer) && answer.Code == lockNotAvailable
}

// pause waits for a duration that varies around d.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d/2 + rand.N(d)): //nolint:gosec // spreads retries
		return nil
	}
}

func apply(ctx context.Context, db *sql.DB, dir migrate.MigrationDirection, limit int) (int, error) {
	if err := checkApplied(ctx, db); err != nil {
		return 0, fmt.Errorf("migrate: %w", err)
	}
	n, err := set().ExecMaxContext(ctx, db, "postgres", source(), dir, limit)
	if err != nil {
		return n, fmt.Errorf("migrate: %w", err)
	}
	return n, nil
}

// ownLock are the keys of the lock. Each schema has its own, because several
// installations may share a database.
const ownLock = `$1::int, hashtext(coalesce(current_schema(), ''))`

// lock waits until no other process migrates the schema.
func lock(ctx context.Context, db *sql.DB) error {
	for {
		var got bool
		if err := db.QueryRowContext(ctx, `SELECT pg_try_advisory_lock(`+ownLock+`)`, lockKey).Scan(&got); err != nil {
			return fmt.Errorf("take the migration lock: %w", err)
		}
		if got {
			return nil
		}
		if err := pause(ctx, lockPoll); err != nil {
			return fmt.Errorf("wait for the migration lock: %w", err)
		}
	}
}

// lockPoll is how often a process looks whether another one still migrates.
const lockPoll = 200 * time.Millisecond

// unlock lets the next process start at once. An error means that the migrations
// did not run under the lock.
func unlock(ctx context.Context, db *sql.DB) error {
	if ctx.Err() != nil {
		return nil // the session has ended with the context
	}
	var held bool
	if err := db.QueryRowContext(ctx, `SELECT pg_advisory_unlock(`+ownLock+`)`, lockKey).Scan(&held); err != nil {
		return fmt.Errorf("free the migration lock: %w", err)
	}
	if !held {
		return errors.New("free the migration lock: the session did not hold it, so another process may have migrated at the same time: run mass migrate status")
	}
	return nil
}

// checkApplied refuses a database with migrations that this program does not
// know, in words that say what to do about it.
func checkApplied(ctx context.Context, db *sql.DB) error {
	known, err := knownMigrations()
	if err != nil {
		return err
	}
	applied, err := appliedAt(ctx, db)
	if err != nil {
		return err
	}
	if _, old := applied["0001_mass_requests.sql"]; old {
		return ErrUnreleasedSchema
	}
	if unknown := notIn(known, applied); len(unknown) > 0 {
		return fmt.Errorf("a newer version of MASS has migrated this database (%s): run that version", strings.Join(unknown, ", "))
	}
	return nil
}

// Status lists all migrations in order. It creates nothing, so a role that
// cannot create tables may call it on an empty database.
func Status(ctx context.Context, databaseURL string) ([]Migration, error) {
	known, applied, err := compare(ctx, databaseURL)
	if err != nil {
		return nil, err
	}
	list := make([]Migration, len(known))
	for i, id := range known {
		list[i] = Migration{ID: id, AppliedAt: applied[id]}
	}
	return list, nil
}

// Pending counts the migrations that have not been applied.
func Pending(ctx context.Context, databaseURL string) (int, error) {
	list, err := Status(ctx, databaseURL)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, m := range list {
		if m.AppliedAt.IsZero() {
			n++
		}
	}
	return n, nil
}

// PendingIn is Pending on connections that are open already.
func PendingIn(ctx context.Context, db *sql.DB) (int, error) {
	known, err := knownMigrations()
	if err != nil {
		return 0, err
	}
	applied, err := appliedAt(ctx, db)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, id := range known {
		if _, ok := applied[id]; !ok {
			n++
		}
	}
	return n, nil
}

// Unknown lists the applied migrations that this program does not know: another
// version of it applied them.
func Unknown(ctx context.Context, databaseURL string) ([]string, error) {
	known, applied, err := compare(ctx, databaseURL)
	if err != nil {
		return nil, err
	}
	return notIn(known, applied), nil
}

// notIn returns the ids of applied that are not in known, sorted.
func notIn(known []string, applied map[string]time.Time) []string {
	unknown := maps.Clone(applied)
	for _, id := range known {
		delete(unknown, id)
	}
	return slices.Sorted(maps.Keys(unknown))
}

// compare returns the migrations of this program, in order, and those of the
// database with their times.
func compare(ctx context.Context, databaseURL string) (known []string, applied map[string]time.Time, err error) {
	db, err := open(ctx, databaseURL, statusTimeout)
	if err != nil {
		return nil, nil, err
	}
	defer db.Close()

	if known, err = knownMigrations(); err != nil {
		return nil, nil, err
	}
	applied, err = appliedAt(ctx, db)
	return known, applied, err
}

// knownMigrations returns the ids of this program's migrations, in order.
func knownMigrations() ([]string, error) {
	list, err := source().FindMigrations()
	if err != nil {
		return nil, fmt.Errorf("read the embedded migrations: %w", err)
	}
	ids := make([]string, len(list))
	for i, m := range list {
		ids[i] = m.Id
	}
	return ids, nil
}

func appliedAt(ctx context.Context, db *sql.DB) (map[string]time.Time, error) {
	var exists bool
	err := db.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, historyTable).Scan(&exists)
	if err != nil {
		return nil, fmt.Errorf("look for the migrations table: %w", err)
	}
	applied := map[string]time.Time{}
	if !exists {
		return applied, nil
	}
	rows, err := db.QueryContext(ctx, `SELECT id, applied_at FROM mass_migrations`)
	if err != nil {
		return nil, fmt.Errorf("read the applied migrations: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var at time.Time
		if err := rows.Scan(&id, &at); err != nil {
			return nil, fmt.Errorf("read an applied migration: %w", err)
		}
		applied[id] = at
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the applied migrations: %w", err)
	}
	return applied, nil
}

// historyTable is where sql-migrate records the migrations that it has applied.
const historyTable = "mass_migrations"

func set() migrate.MigrationSet { return migrate.MigrationSet{TableName: historyTable} }

func source() *migrate.EmbedFileSystemMigrationSource {
	return &migrate.EmbedFileSystemMigrationSource{FileSystem: files, Root: "."}
}

// statusTimeout bounds the statements that read what was applied.
const statusTimeout = 10 * time.Second

// open returns connections for short questions. They end when the context does.
func open(ctx context.Context, databaseURL string, statementTimeout time.Duration) (*sql.DB, error) {
	connector, err := pgconn.NewConnector(ctx, databaseURL, pgconn.Parameters{
		"application_name": application, "statement_timeout": strconv.FormatInt(statementTimeout.Milliseconds(), 10),
	})
	if err != nil {
		return nil, err
	}
	connector.SkipComparison()
	return sql.OpenDB(connector), nil
}

const application = "mass migrate"

// openSession returns a pool that consists of a single connection and never
// replaces it, so that the lock and all migrations share one session. A migration
// may take as long as it needs, but it ends with its context: sql-migrate makes
// some of its calls without one.
func openSession(ctx context.Context, databaseURL string) (*sql.DB, error) {
	connector, err := pgconn.NewConnector(ctx, databaseURL, pgconn.Parameters{"application_name": application, "lock_timeout": lockTimeout})
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(&singleConnector{Connector: connector})
	db.SetMaxOpenConns(1)
	return db, nil
}

// singleConnector opens one connection and no other one.
type singleConnector struct {
	driver.Connector
	used atomic.Bool
}

// Connect implements driver.Connector.
func (c *singleConnector) Connect(ctx context.Context) (driver.Conn, error) {
	if c.used.Swap(true) {
		return nil, errors.New("the session that holds the migration lock has ended")
	}
	return c.Connector.Connect(ctx)
}
