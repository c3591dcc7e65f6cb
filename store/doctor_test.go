package store_test

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// The doctor may be asked of a system with very many rows.
func TestTheDoctorNeverReadsTheWholeTable(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.many(50_000, jobs.StatusDone, 20*time.Hour)
	for _, s := range []jobs.Status{jobs.StatusPending, jobs.StatusProcessing, jobs.StatusFailed, jobs.StatusCancelled} {
		b.many(50, s, time.Hour)
	}
	_, err := b.db.ExecContext(b.ctx, `ANALYZE mass_requests`)
	require.NoError(t, err)
	for query, args := range map[string][]any{
		store.BacklogQuery:  {1000},
		store.StaleQuery:    {pq.Int64Array{1, 2, 3}, 10.0},
		store.OverdueQuery:  {10.0, 1000},
		store.FailuresQuery: {3600.0, 1000},
	} {
		assert.NotContains(t, b.explain(query, args...), "Seq Scan on mass_requests", query)
	}

	counts, err := b.Backlog(b.ctx, 30)
	require.NoError(t, err)
	require.Len(t, counts, 4)
	for _, c := range counts {
		assert.Equal(t, 30, c.Count, "it stops counting")
	}
	late, err := b.Overdue(b.ctx, time.Minute, 10)
	require.NoError(t, err)
	assert.Empty(t, late, "none of them has begun")
	f, err := b.FailuresSince(b.ctx, 2*time.Hour, 20)
	require.NoError(t, err)
	assert.Equal(t, store.Failures{Count: 20}, f)
}

func TestTheDoctorSeesLeaderAndPrivileges(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.Leader(b.ctx)
	require.ErrorIs(t, err, store.ErrNotFound)
	w := b.worker()
	lead, err := b.TryLead(b.ctx, w)
	require.NoError(t, err)
	l, err := b.Leader(b.ctx)
	require.NoError(t, err)
	assert.True(t, l.Registered)
	assert.Equal(t, w.ID, l.Worker)
	assert.Equal(t, "host", l.Host)
	require.NoError(t, b.RemoveWorker(b.ctx, w))
	l, err = b.Leader(b.ctx)
	require.NoError(t, err)
	assert.False(t, l.Registered)
	require.NoError(t, lead.Resign(b.ctx))

	s, err := b.Server(b.ctx)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, s.VersionNumber, 13_0000)
	assert.False(t, s.ReadOnly)
	missing, err := b.MissingPrivileges(b.ctx)
	require.NoError(t, err)
	assert.Empty(t, missing)
}

func TestTheDoctorNamesMissingPrivileges(t *testing.T) {
	t.Parallel()
	database := devtest.Database(t)
	db, err := sqlx.Open("postgres", database)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), `CREATE ROLE doctor_stranger; GRANT SELECT, INSERT, UPDATE ON mass_requests TO doctor_stranger`)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := db.ExecContext(context.Background(), `DROP OWNED BY doctor_stranger; DROP ROLE doctor_stranger`)
		require.NoError(t, errors.Join(err, db.Close()))
	})
	u, err := url.Parse(database)
	require.NoError(t, err)
	q := u.Query()
	q.Set("options", "-c role=doctor_stranger")
	u.RawQuery = q.Encode()
	st, err := store.Open(store.Config{URL: u.String(), MaxOpen: 2})
	require.NoError(t, err)
	defer func() { require.NoError(t, st.Close()) }()
	missing, err := st.MissingPrivileges(t.Context())
	require.NoError(t, err)
	assert.Contains(t, missing, "DELETE on mass_requests")
	assert.Contains(t, missing, "INSERT on audit_events")
	assert.Contains(t, missing, "USAGE on mass_batches")
	assert.NotContains(t, missing, "UPDATE on mass_requests")
}
