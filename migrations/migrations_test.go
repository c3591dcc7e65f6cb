package migrations_test

import (
	"context"
	"database/sql"
	"os/exec"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/migrations"
)

func TestMain(m *testing.M) { devtest.Main(m, nil) }

func tables(t *testing.T, url string) (n int) {
	t.Helper()
	db, err := sql.Open("postgres", url)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	require.NoError(t, db.QueryRowContext(t.Context(),
		`SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S') AND relname <> 'mass_migrations'`).Scan(&n))
	return n
}

func TestUpAndDownAndUpAgain(t *testing.T) {
	t.Parallel()
	ctx, url := t.Context(), devtest.EmptyDatabase(t)
	all, err := migrations.Status(ctx, url)
	require.NoError(t, err)
	require.NotEmpty(t, all)
	assert.Zero(t, tables(t, url), "asking for the status creates nothing")
	pending, err := migrations.Pending(ctx, url)
	require.NoError(t, err)
	assert.Len(t, all, pending)

	n, err := migrations.Up(ctx, url)
	require.NoError(t, err)
	assert.Len(t, all, n)
	made := tables(t, url)
	assert.Positive(t, made)
	pending, err = migrations.Pending(ctx, url)
	require.NoError(t, err)
	assert.Zero(t, pending)
	n, err = migrations.Up(ctx, url)
	require.NoError(t, err)
	assert.Zero(t, n)

	for range all { // one at a time, as an operator would
		n, err = migrations.Down(ctx, url, 1)
		require.NoError(t, err)
		assert.Equal(t, 1, n)
	}
	assert.Zero(t, tables(t, url), "down leaves nothing behind")
	_, err = migrations.Up(ctx, url)
	require.NoError(t, err)
	assert.Equal(t, made, tables(t, url))
}

// Reverting the schema leaves nothing behind that would change the next one, by
// what pg_dump says of it. Where there is no pg_dump of the server's version or
// a later one, TestUpAndDownAndUpAgain has to do.
func TestUpDownUpGivesTheSameSchema(t *testing.T) {
	t.Parallel()
	ctx, url := t.Context(), devtest.EmptyDatabase(t)
	_, err := migrations.Up(ctx, url)
	require.NoError(t, err)
	first := dumpSchema(t, url)
	all, err := migrations.Status(ctx, url)
	require.NoError(t, err)
	_, err = migrations.Down(ctx, url, len(all))
	require.NoError(t, err)
	assert.NotContains(t, dumpSchema(t, url), "mass_requests")
	_, err = migrations.Up(ctx, url)
	require.NoError(t, err)
	assert.Equal(t, first, dumpSchema(t, url))
}

func dumpSchema(t *testing.T, url string) string {
	t.Helper()
	dump := exec.CommandContext(t.Context(), "pg_dump", "--schema-only", "--no-owner", "--no-privileges", url)
	out, err := dump.Output()
	if err != nil {
		t.Skipf("pg_dump cannot be used here: %v", err)
	}
	// Newer releases of pg_dump write a random key into each dump.
	return regexp.MustCompile(`(?m)^\\(un)?restrict .*\n`).ReplaceAllString(string(out), "")
}

func TestADatabaseOfAnotherVersionIsRefusedWithAdvice(t *testing.T) {
	t.Parallel()
	ctx, url := t.Context(), devtest.EmptyDatabase(t)
	db, err := sql.Open("postgres", url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = migrations.Up(ctx, url)
	require.NoError(t, err)
	_, err = db.ExecContext(ctx, `INSERT INTO mass_migrations (id, applied_at) VALUES ('9999_from_the_future.sql', now())`)
	require.NoError(t, err)
	_, err = migrations.Up(ctx, url)
	require.ErrorContains(t, err, "9999_from_the_future.sql")
	require.ErrorContains(t, err, "run that version")

	_, err = db.ExecContext(ctx, `UPDATE mass_migrations SET id = '0001_mass_requests.sql' WHERE id LIKE '0001%'`)
	require.NoError(t, err)
	for _, migrate := range []func() (int, error){
		func() (int, error) { return migrations.Up(ctx, url) },
		func() (int, error) { return migrations.Down(ctx, url, 1) },
	} {
		_, err = migrate()
		require.ErrorIs(t, err, migrations.ErrUnreleasedSchema)
		require.ErrorContains(t, err, "remove the data folder")
	}
}

func TestSeveralAtOnce(t *testing.T) {
	t.Parallel()
	ctx, url := t.Context(), devtest.EmptyDatabase(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	total := 0
	for range 6 {
		wg.Go(func() {
			n, err := migrations.Up(ctx, url)
			assert.NoError(t, err)
			mu.Lock()
			defer mu.Unlock()
			total += n
		})
	}
	wg.Wait()
	all, err := migrations.Status(ctx, url)
	require.NoError(t, err)
	assert.Equal(t, len(all), total, "each migration was applied once")
}

// A migration that needs a table which others use gives way to them, and tries
// again until it gets the table.
func TestAMigrationDoesNotQueueBehindALongStatement(t *testing.T) {
	t.Parallel()
	ctx, url := t.Context(), devtest.EmptyDatabase(t)
	_, err := migrations.Up(ctx, url)
	require.NoError(t, err)
	db, err := sql.Open("postgres", url)
	require.NoError(t, err)
	defer db.Close()
	tx, err := db.BeginTx(ctx, nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(ctx, `SELECT count(*) FROM mass_workers`)
	require.NoError(t, err)

	reverted := make(chan error, 1)
	go func() { _, err := migrations.Down(ctx, url, 0); reverted <- err }() // which drops mass_workers in the end
	waiting := func() (n int) {
		require.NoError(t, db.QueryRowContext(ctx, `SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'mass_workers'::regclass`).Scan(&n))
		return n
	}
	require.Eventually(t, func() bool { return waiting() > 0 }, time.Minute, time.Millisecond)
	require.Eventually(t, func() bool { return waiting() == 0 }, time.Minute, time.Millisecond, "it gives way")
	require.NoError(t, tx.Rollback())
	require.NoError(t, <-reverted)
}

// Migrations of two installations in one database, each in its own schema, do not
// disturb each other.
func TestEachSchemaIsMigratedOnItsOwn(t *testing.T) {
	t.Parallel()
	ctx, url := t.Context(), devtest.EmptyDatabase(t)
	db, err := sql.Open("postgres", url)
	require.NoError(t, err)
	defer db.Close()
	_, err = db.ExecContext(ctx, `CREATE SCHEMA a; CREATE SCHEMA b`)
	require.NoError(t, err)
	tx, err := db.BeginTx(ctx, nil)
	require.NoError(t, err)
	defer tx.Rollback() //nolint:errcheck // it only ends the lock
	_, err = tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(x'6d617373'::int, hashtext('a'))`)
	require.NoError(t, err)
	n, err := migrations.Up(ctx, url+"&search_path=b")
	require.NoError(t, err, "a migration of the other schema is no obstacle")
	assert.Positive(t, n)
}

func TestWrongURLsAreNotShown(t *testing.T) {
	t.Parallel()
	for _, wrong := range []string{"postgres://u:hush@%zz/db", "mysql://u:hush@127.0.0.1/db", "host 127.0.0.1 password hush", ""} {
		_, err := migrations.Status(t.Context(), wrong)
		require.ErrorContains(t, err, "postgres://user:password@host:port/name")
		assert.NotContains(t, err.Error(), "hush")
	}
}

// ends returns the error of a call whose context ends while the server is silent
// or busy, or fails the test when the call goes on.
func ends(t *testing.T, call func(context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- call(ctx) }()
	select {
	case err := <-done:
		require.Fail(t, "the call did not wait", "%v", err)
	case <-time.After(300 * time.Millisecond):
	}
	cancel()
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		require.FailNow(t, "the call did not return")
		return nil
	}
}

func TestTheEndOfAContextEndsAMigration(t *testing.T) {
	t.Parallel()
	url := devtest.EmptyDatabase(t)
	_, err := migrations.Up(t.Context(), url)
	require.NoError(t, err)
	up := func(url string) func(context.Context) error {
		return func(ctx context.Context) error { _, err := migrations.Up(ctx, url); return err }
	}

	t.Run("frozen network", func(t *testing.T) {
		t.Parallel()
		proxy, through := devtest.NewProxy(t, url)
		proxy.Swallow()
		require.ErrorIs(t, ends(t, up(through)), context.Canceled)
		require.ErrorIs(t, ends(t, func(ctx context.Context) error { _, err := migrations.Status(ctx, through); return err }), context.Canceled)
	})
	for name, lock := range map[string]string{
		"wait for another migration":    `SELECT pg_advisory_xact_lock(x'6d617373'::int, hashtext(current_schema()))`,
		"statement without the context": `LOCK TABLE mass_migrations IN ACCESS EXCLUSIVE MODE`, // sql-migrate reads the table so
	} {
		t.Run(name, func(t *testing.T) {
			db, err := sql.Open("postgres", url)
			require.NoError(t, err)
			defer db.Close()
			tx, err := db.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			_, err = tx.ExecContext(t.Context(), lock)
			require.NoError(t, err)
			require.ErrorIs(t, ends(t, up(url)), context.Canceled)
			require.NoError(t, tx.Rollback())
			_, err = migrations.Up(t.Context(), url)
			require.NoError(t, err, "nothing of it is left")
		})
	}
}
