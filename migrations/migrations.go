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
	"embed"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	migrate "github.com/rubenv/sql-migrate"

	"github.com/leomutto/pilot-in-a-box/internal/pgconn"
)

//go:embed *.sql
var files embed.FS

// lockKey is the advisory lock that migrating processes take one after another.
// The number is "mass" in ASCII.
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
	// A migration may take as long as it needs, but it ends with its context.
	db, err := open(ctx, databaseURL, 0)
	if err != nil {
		return 0, err
	}
	defer db.Close()

	// The lock belongs to a session, so it needs a connection of its own.
	conn, err := db.Conn(ctx)
	if err != nil {
		return 0, fmt.Errorf("connect to migrate: %w", err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, lockKey); err != nil {
		return 0, fmt.Errorf("wait for the migration lock: %w", err)
	}
	defer func() {
		// Closing the session frees the lock, too; unlocking it lets the next
		// process start without waiting for that.
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, lockKey)
	}()

	if err := checkApplied(ctx, db); err != nil {
		return 0, fmt.Errorf("migrate: %w", err)
	}
	n, err = set().ExecMaxContext(ctx, db, "postgres", source(), dir, limit)
	if err != nil {
		return n, fmt.Errorf("migrate: %w", err)
	}
	return n, nil
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

// open returns connections that end when the context does, because sql-migrate
// makes some of its calls without one. A statementTimeout of 0 sets none.
func open(ctx context.Context, databaseURL string, statementTimeout time.Duration) (*sql.DB, error) {
	// The parser's error would show the URL, and the password in it.
	u, err := url.Parse(databaseURL)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, errors.New("the database URL is not of the form postgres://user:password@host:port/name")
	}
	if statementTimeout > 0 {
		q := u.Query()
		q.Set("statement_timeout", strconv.FormatInt(statementTimeout.Milliseconds(), 10))
		u.RawQuery = q.Encode()
	}
	connector, err := pgconn.NewConnector(ctx, u.String())
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}
