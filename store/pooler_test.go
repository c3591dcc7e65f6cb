package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack"
	"github.com/leomutto/pilot-in-a-box/internal/devstack/devfault"
	"github.com/leomutto/pilot-in-a-box/internal/pgconn"
	"github.com/leomutto/pilot-in-a-box/internal/systemtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/migrations"
	"github.com/leomutto/pilot-in-a-box/store"
)

// startFolder makes a folder for private servers of one test.
func startFolder(t *testing.T) *devstack.Folder {
	t.Helper()
	f, err := devstack.NewFolder(t.Context(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), systemtest.Patience)
		defer cancel()
		require.NoError(t, f.Close(ctx))
	})
	return f
}

// startPooler starts a PgBouncer in front of a private PostgreSQL, whose
// database is migrated, and returns the URLs through the pooler and around it.
func startPooler(t *testing.T, mode string, settings ...string) (pooled, direct string) {
	t.Helper()
	f := startFolder(t)
	dir, err := f.MakeDir("postgres")
	require.NoError(t, err)
	data := filepath.Join(dir, "data")
	require.NoError(t, f.InitPostgres(t.Context(), data))
	server, err := f.StartPostgres(t.Context(), "postgres", data, 0)
	require.NoError(t, err)
	pooler, err := devfault.StartPgBouncer(t.Context(), f, devfault.PgBouncerOptions{Target: server.Addr(), Mode: mode, Settings: settings})
	if errors.Is(err, devfault.ErrNoPgBouncer) {
		t.Skip(err)
	}
	require.NoError(t, err)
	direct = f.PostgresURL(server.Addr())
	_, err = migrations.Up(t.Context(), direct)
	require.NoError(t, err)
	return pooler.DatabaseURL(), direct
}

// Through a PgBouncer in session mode, with the settings that it has by default,
// the settings of the sessions hold, and every event names the process that wrote
// it, although the processes use the same few sessions in turn.
func TestSessionPooling(t *testing.T) {
	t.Parallel()
	pooled, direct := startPooler(t, "session", "default_pool_size = 3")
	kinds := []string{"first", "second"}
	var processes sync.WaitGroup
	for i, kind := range kinds {
		st, err := store.Open(store.Config{
			URL: pooled, MaxOpen: 1, MaxIdle: 0, // so that each statement gets another session
			StatementTimeout: time.Duration(i+10) * time.Second, Application: kind,
			Source: store.Source{Kind: kind, Version: "v", Commit: "c", Host: "h", PID: i},
		})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, st.Close()) })
		require.NoError(t, st.CheckPooler(t.Context()))
		processes.Go(func() {
			for range 20 {
				_, err := st.InsertRequests(t.Context(), []store.NewRequest{{
					Payload: json.RawMessage(`{}`), SchemaVersion: "1.0-simple", Priority: jobs.Default, Origin: store.Origin{Actor: kind},
				}})
				assert.NoError(t, err)
				var timeout, isolation, cost string
				row := store.Raw(st).QueryRowxContext(t.Context(),
					`SELECT current_setting('statement_timeout'), current_setting('default_transaction_isolation'), current_setting('random_page_cost')`)
				assert.NoError(t, row.Scan(&timeout, &isolation, &cost))
				assert.Equal(t, []string{(time.Duration(i+10) * time.Second).String(), "read committed", "1.1"}, []string{timeout, isolation, cost})
			}
		})
	}
	processes.Wait()
	db := sqlx.MustConnect("postgres", direct)
	defer db.Close()
	var list []struct{ Actor, Kind string }
	require.NoError(t, db.SelectContext(t.Context(), &list, `SELECT e.actor, coalesce(s.kind, '') AS kind FROM audit_events e LEFT JOIN audit_sources s ON s.id = e.source_id`))
	require.Len(t, list, 40)
	for _, e := range list {
		assert.Equal(t, e.Actor, e.Kind, "the source of the event")
	}
}

// A process without a source of its own must not write in the name of the
// process that used the session before, even if the pooler resets nothing.
func TestAPooledSessionHasNoSourceOfAnotherProcess(t *testing.T) {
	t.Parallel()
	pooled, direct := startPooler(t, "session", "default_pool_size = 1", "server_reset_query =")
	insert := func(source store.Source) {
		st, err := store.Open(store.Config{URL: pooled, MaxOpen: 1, MaxIdle: 1, Source: source})
		require.NoError(t, err)
		_, err = st.InsertRequests(t.Context(), []store.NewRequest{{Payload: json.RawMessage(`{}`), SchemaVersion: "1.0-simple", Priority: jobs.Default}})
		require.NoError(t, err, "also a prepared statement of the process before is no obstacle")
		require.NoError(t, st.Close())
	}
	insert(store.Source{Kind: "api", Version: "v", Commit: "c", Host: "h", PID: 1})
	insert(store.Source{})
	db := sqlx.MustConnect("postgres", direct)
	defer db.Close()
	var sources []string
	require.NoError(t, db.SelectContext(t.Context(), &sources, `SELECT coalesce(source_id::text, 'none') FROM audit_events ORDER BY id`))
	assert.Equal(t, []string{"1", "none"}, sources)
}

// Transaction pooling is noticed also while the pooler has a single session, or
// many idle ones, and whether its clients are busy or not.
func TestTransactionPoolingIsRefused(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string][]string{
		"one session":   {"default_pool_size = 1"},
		"many sessions": {"default_pool_size = 20", "min_pool_size = 10"},
		"in turns":      {"default_pool_size = 2", "min_pool_size = 2", "server_round_robin = 1"},
		"statements":    {"pool_mode = statement"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pooled, direct := startPooler(t, "transaction", settings...)
			st, err := store.Open(store.Config{URL: pooled, MaxOpen: 4, MaxIdle: 4})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, st.Close()) })
			for range 5 {
				require.ErrorIs(t, st.CheckPooler(t.Context()), pgconn.ErrTransactionPooling)
				_, err = st.TryLead(t.Context(), store.WorkerIdentity{})
				require.ErrorIs(t, err, store.ErrUnavailable)
				require.ErrorContains(t, err, "session pooling")
			}

			mixed, err := store.Open(store.Config{URL: direct, DirectURL: pooled, MaxOpen: 4, MaxIdle: 4})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, mixed.Close()) })
			require.ErrorIs(t, mixed.CheckPooler(t.Context()), pgconn.ErrTransactionPooling, "on the way of the leadership")
		})
	}
}
