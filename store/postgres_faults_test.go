package store_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/internal/systemtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/migrations"
	"github.com/leomutto/pilot-in-a-box/store"
)

func submission() []store.NewRequest {
	return []store.NewRequest{{Payload: json.RawMessage(`{}`), SchemaVersion: "1.0-simple", Priority: jobs.Default}}
}

// A connection that answered that the server is read-only is not used again, and
// neither are the other idle connections to the same server.
func TestConnectionsToAReadOnlyServerAreDiscarded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	db := store.Raw(b.Store)
	var held []*sqlx.Conn
	for range 4 {
		conn, err := db.Connx(b.ctx)
		require.NoError(t, err)
		held = append(held, conn)
	}
	before := map[int]bool{}
	for _, conn := range held {
		var pid int
		require.NoError(t, conn.GetContext(b.ctx, &pid, `SELECT pg_backend_pid()`))
		before[pid] = true
	}
	_, err := held[0].ExecContext(b.ctx, `SET default_transaction_read_only = on`) // what a demoted server does to all
	require.NoError(t, err)
	_, err = held[0].ExecContext(b.ctx, `UPDATE mass_leader SET term = term`)
	require.ErrorContains(t, err, "25006")
	for _, conn := range held {
		require.NoError(t, conn.Close())
	}
	for range 8 {
		var pid int
		require.NoError(t, db.GetContext(b.ctx, &pid, `SELECT pg_backend_pid()`))
		assert.False(t, before[pid], "an old connection is used")
		_, err := b.InsertRequests(b.ctx, submission())
		require.NoError(t, err)
	}
}

// Errors that pass are ErrUnavailable, whatever their class, so that clients try
// again.
func TestPassingErrorsAreUnavailable(t *testing.T) {
	t.Parallel()
	t.Run("lock timeout", func(t *testing.T) {
		t.Parallel()
		database := devtest.Database(t)
		st, err := store.Open(store.Config{URL: database + "&lock_timeout=50", MaxOpen: 4})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, st.Close()) })
		db := sqlx.MustConnect("postgres", database)
		defer db.Close()
		tx := db.MustBegin()
		tx.MustExec(`LOCK TABLE mass_requests IN ACCESS EXCLUSIVE MODE`)
		_, err = st.InsertRequests(t.Context(), submission())
		require.ErrorIs(t, err, store.ErrUnavailable)
		_, err = st.Request(t.Context(), 1)
		require.ErrorIs(t, err, store.ErrUnavailable)
		require.NoError(t, tx.Rollback())
		_, err = st.InsertRequests(t.Context(), submission())
		require.NoError(t, err)
	})
	t.Run("connecting", func(t *testing.T) {
		t.Parallel()
		database, err := url.Parse(devtest.Database(t))
		require.NoError(t, err)
		renamed, refused := *database, *database
		renamed.Path = "/no_such_database"
		refused.User = url.UserPassword("no_such_role", "wrong")
		for name, u := range map[string]string{
			"unknown database": renamed.String(), "wrong role": refused.String(),
			"read-only":       database.String() + "&options=-c%20default_transaction_read_only%3Don",
			"unknown setting": database.String() + "&no_such_setting=1",
		} {
			st, err := store.Open(store.Config{URL: u, MaxOpen: 4})
			require.NoError(t, err)
			_, err = st.InsertRequests(t.Context(), submission())
			require.ErrorIs(t, err, store.ErrUnavailable, name)
			require.NoError(t, st.Close())
		}
	})
}

// MASS works whatever isolation level the database has by default.
func TestTheIsolationLevelOfTheDatabaseDoesNotMatter(t *testing.T) {
	t.Parallel()
	database := devtest.Database(t)
	db := sqlx.MustConnect("postgres", database)
	defer db.Close()
	db.MustExec(`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = serializable', current_database()); END $$`)
	st, err := store.Open(store.Config{URL: database, MaxOpen: 8, MaxIdle: 8})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	me, err := st.RegisterWorker(t.Context(), "h", 1, "v")
	require.NoError(t, err)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				in, err := st.InsertRequests(t.Context(), submission())
				if assert.NoError(t, err) {
					_, _, err = st.ClaimBatches(t.Context(), me, []int64{in[0].BatchID}, 1<<20)
					assert.NoError(t, err)
				}
				_, err = st.Beat(t.Context(), me)
				assert.NoError(t, err)
			}
		})
	}
	all.Wait()
	var level string
	require.NoError(t, store.Raw(st).GetContext(t.Context(), &level, `SHOW transaction_isolation`))
	assert.Equal(t, "read committed", level)
}

// Two workers with the same id, which an asynchronous failover can make, are told
// apart by their tokens: the one whose registration was lost can do nothing under
// the id.
func TestAWorkerIsNamedByItsToken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	lost := b.worker()
	in := b.submit(`{"n": 1}`, `{"n": 2}`)
	_, err := b.db.ExecContext(b.ctx, `UPDATE mass_workers SET token = gen_random_uuid() WHERE id = $1`, lost.ID) // the other worker registers
	require.NoError(t, err)
	var other store.WorkerIdentity
	require.NoError(t, b.db.GetContext(b.ctx, &other, `SELECT id, token::text FROM mass_workers WHERE id = $1`, lost.ID))

	assert.Empty(t, b.claim(lost, in[0].BatchID))
	limited, _, err := b.ClaimBatchesUpTo(b.ctx, lost, []int64{in[0].BatchID}, 5, 1<<20)
	require.NoError(t, err)
	assert.Empty(t, limited)
	claimed := b.claim(other, in[0].BatchID)
	require.Len(t, claimed, 2)
	_, err = b.Beat(b.ctx, lost)
	require.ErrorIs(t, err, store.ErrNotFound, "it registers again")
	finish := jobs.Outcome{Lease: claimed[0].Lease, Action: jobs.Finish, Result: jobs.Result{JSON: json.RawMessage(`{}`)}}
	assert.False(t, b.settle(lost, finish).Accepted)
	back, err := b.ReleaseRequests(b.ctx, lost, []jobs.Lease{claimed[0].Lease, claimed[1].Lease}, "test", 64)
	require.NoError(t, err)
	assert.Empty(t, back)
	assert.True(t, b.settle(other, finish).Accepted)
	back, err = b.ReleaseRequests(b.ctx, other, []jobs.Lease{claimed[1].Lease}, "test", 64)
	require.NoError(t, err)
	assert.Len(t, back, 1)
	require.NoError(t, b.RemoveWorker(b.ctx, lost))
	_, err = b.Beat(b.ctx, other)
	require.NoError(t, err, "the other worker was not removed")
}

// A role without any right on the tables, which may connect and take every
// advisory lock, keeps nobody from leading, or from claims that take turns.
func TestNoStrangerHoldsTheLead(t *testing.T) {
	t.Parallel()
	database := devtest.Database(t)
	db := sqlx.MustConnect("postgres", database)
	defer db.Close()
	db.MustExec(`DO $$ BEGIN CREATE ROLE stranger_lead LOGIN PASSWORD 'x'; EXCEPTION WHEN duplicate_object THEN NULL; END $$`)
	u, err := url.Parse(database)
	require.NoError(t, err)
	u.User = url.UserPassword("stranger_lead", "x")
	stranger := sqlx.MustConnect("postgres", u.String())
	defer stranger.Close()
	conn, err := stranger.Connx(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.ExecContext(t.Context(), `SELECT pg_advisory_lock(x'6c656164'::int), pg_advisory_lock(x'636c616d'::int)`)
	require.NoError(t, err)
	for _, statement := range []string{
		`LOCK TABLE mass_leader IN ACCESS SHARE MODE`, `LOCK TABLE mass_leader IN SHARE UPDATE EXCLUSIVE MODE`, `SELECT FROM mass_leader FOR UPDATE`, `UPDATE mass_leader SET worker_id = 1`,
	} {
		_, err = conn.ExecContext(t.Context(), `BEGIN; `+statement)
		require.ErrorContains(t, err, "permission denied", statement)
		_, err = conn.ExecContext(t.Context(), `ROLLBACK`)
		require.NoError(t, err)
	}
	st, err := store.Open(store.Config{URL: database, MaxOpen: 4})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	lead, err := st.TryLead(t.Context(), store.WorkerIdentity{})
	require.NoError(t, err)
	require.NoError(t, lead.Check(t.Context()))

	in, err := st.InsertRequests(t.Context(), []store.NewRequest{{Payload: json.RawMessage(`{}`), SchemaVersion: "1.0-simple", Priority: jobs.Default}})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // a lock of the stranger would be waited for
	defer cancel()
	claimed, _, err := st.ClaimBatchesUpTo(ctx, store.WorkerIdentity{}, []int64{in[0].BatchID}, 1, 1<<20)
	require.NoError(t, err)
	assert.Len(t, claimed, 1)
}

// Two installations in one database, a schema each, have a leader each.
func TestEachSchemaHasALeader(t *testing.T) {
	t.Parallel()
	database := devtest.EmptyDatabase(t)
	db := sqlx.MustConnect("postgres", database)
	defer db.Close()
	for i, schema := range []string{"a", "b"} {
		db.MustExec(`CREATE SCHEMA ` + schema)
		u := database + "&search_path=" + schema
		_, err := migrations.Up(t.Context(), u)
		require.NoError(t, err)
		st, err := store.Open(store.Config{URL: u, MaxOpen: 4})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, st.Close()) })
		me, err := st.RegisterWorker(t.Context(), fmt.Sprintf("host-%s", schema), i, "v")
		require.NoError(t, err)
		_, err = st.Leader(t.Context())
		require.ErrorIs(t, err, store.ErrNotFound, schema)
		_, err = st.TryLead(t.Context(), me)
		require.NoError(t, err, schema)
		l, err := st.Leader(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "host-"+schema, l.Host)
	}
}

// A renewal that the clock of another server wrote must not keep everybody from
// leading after a failover.
func TestALeaseFromTheFutureIsOver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	old, err := b.TryLead(b.ctx, store.WorkerIdentity{})
	require.NoError(t, err)
	_, err = b.db.ExecContext(b.ctx, `UPDATE mass_leader SET renewed_at = now() + interval '2 hours'`)
	require.NoError(t, err)
	_, err = b.TryLead(b.ctx, store.WorkerIdentity{})
	require.NoError(t, err)
	require.ErrorIs(t, old.Check(b.ctx), store.ErrConflict)
}

// A lead whose renewal is not answered is given up before another process may
// take it.
func TestALeaderBehindASilentNetworkGivesUpInTime(t *testing.T) {
	t.Parallel()
	r := setupRemote(t, time.Hour)
	lead, err := r.TryLead(t.Context(), store.WorkerIdentity{})
	require.NoError(t, err)
	r.proxy.Swallow()
	begun := time.Now()
	require.ErrorIs(t, within(t, func() error { return lead.Check(context.Background()) }), store.ErrUnavailable)
	t.Logf("the leader gave up after %v", time.Since(begun))
	assert.Less(t, time.Since(begun), systemtest.Patience)
}
