package migrations_test

import (
	"context"
	"database/sql"
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

// The migration that takes the indexes of lists out of mass_requests finds rows there.
func TestListsKnowTheRowsOfBefore(t *testing.T) {
	t.Parallel()
	ctx, url := t.Context(), devtest.EmptyDatabase(t)
	db, err := sql.Open("postgres", url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	count := func(query string) (n int) {
		t.Helper()
		require.NoError(t, db.QueryRowContext(ctx, query).Scan(&n))
		return n
	}
	_, err = migrations.Up(ctx, url)
	require.NoError(t, err)
	for count(`SELECT count(to_regclass('mass_submissions'))`) > 0 {
		_, err = migrations.Down(ctx, url, 1)
		require.NoError(t, err)
	}
	_, err = db.ExecContext(ctx, `INSERT INTO mass_requests (batch_id, payload, schema_version, site_id) SELECT n, '{}', '1.0-simple', 's' || n FROM generate_series(1, 5) n`)
	require.NoError(t, err)
	assert.Equal(t, 3, count(`SELECT count(*) FROM pg_indexes WHERE indexname IN ('mass_requests_created', 'mass_requests_site', 'mass_requests_cluster')`))
	_, err = migrations.Up(ctx, url)
	require.NoError(t, err)
	assert.Equal(t, 5, count(`SELECT count(*) FROM mass_requests JOIN mass_submissions ON (id, created_at, site_id) = (request_id, submitted_at, site)`))
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

func TestWrongURLsAreNotShown(t *testing.T) {
	t.Parallel()
	for _, wrong := range []string{"postgres://u:hush@%zz/db", "mysql://u:hush@127.0.0.1/db", "host=127.0.0.1 password=hush", ""} {
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
		"wait for another migration":    `SELECT pg_advisory_xact_lock(x'6d617373'::int)`,
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
