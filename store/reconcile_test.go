package store_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/systemtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

func TestOpenBatchesWalksInSteps(t *testing.T) {
	t.Parallel()
	b := setup(t)
	mark, err := b.BatchWatermark(b.ctx)
	require.NoError(t, err)
	assert.Zero(t, mark, "a new database has no batches")
	var ids []int64
	for range 5 {
		ids = append(ids, b.submit(`{"n": 1}`, `{"n": 2}`)[0].BatchID)
	}
	b.claim(b.worker(), ids[1])
	mark, err = b.BatchWatermark(b.ctx)
	require.NoError(t, err)
	assert.Equal(t, ids[4], mark)

	walk := func(after, upTo int64, limit int) (list []int64) {
		refs, err := b.OpenBatches(b.ctx, after, upTo, limit)
		require.NoError(t, err)
		for _, r := range refs {
			assert.Equal(t, jobs.Default, r.Priority)
			list = append(list, r.ID)
		}
		return list
	}
	assert.Equal(t, []int64{ids[0], ids[2]}, walk(0, mark, 2))
	assert.Equal(t, []int64{ids[3], ids[4]}, walk(ids[2], mark, 2))
	assert.Empty(t, walk(ids[4], mark, 2))
	assert.Equal(t, []int64{ids[0], ids[2], ids[3]}, walk(0, ids[3], 10), "not beyond the mark")

	loaded, err := b.LoadBatches(b.ctx, ids[:2])
	require.NoError(t, err)
	require.Len(t, loaded, 1, "the claimed one is gone")
	assert.Len(t, loaded[0].Requests, 2)
	assert.Zero(t, loaded[0].RunAt)

	open, err := b.PendingBatches(b.ctx, ids)
	require.NoError(t, err)
	assert.ElementsMatch(t, []int64{ids[0], ids[2], ids[3], ids[4]}, open)
}

func TestRequeueMovesWhatIsPending(t *testing.T) {
	t.Parallel()
	b := setup(t)
	in := b.submit(`{"n": 1}`, `{"n": 2}`)
	list, err := b.RequeueBatches(b.ctx, []int64{in[0].BatchID})
	require.NoError(t, err)
	require.Len(t, list, 1)
	assert.Len(t, list[0].Requests, 2)
	assert.NotEqual(t, in[0].BatchID, list[0].ID)
	w := b.worker()
	assert.Empty(t, b.claim(w, in[0].BatchID), "the late delivery finds nothing")
	assert.Len(t, b.claim(w, list[0].ID), 2)
}

func TestOneLeader(t *testing.T) {
	t.Parallel()
	b := setup(t)
	lead, err := b.TryLead(b.ctx, store.WorkerIdentity{})
	require.NoError(t, err)
	_, err = b.TryLead(b.ctx, store.WorkerIdentity{})
	require.ErrorIs(t, err, store.ErrConflict)
	require.NoError(t, lead.Check(b.ctx))
	require.NoError(t, lead.Resign(b.ctx))
	again, err := b.TryLead(b.ctx, store.WorkerIdentity{})
	require.NoError(t, err)

	// When the session of a leader ends, as that of a process that was killed,
	// another process need not wait for the end of the lease.
	var third *store.Leadership
	require.Eventually(t, func() bool {
		_, err = b.db.ExecContext(b.ctx, `SELECT pg_terminate_backend(backend) FROM mass_leader`)
		require.NoError(t, err)
		third, err = b.TryLead(b.ctx, store.WorkerIdentity{})
		return err == nil
	}, systemtest.Patience, time.Millisecond)
	require.ErrorIs(t, again.Check(b.ctx), store.ErrConflict)
	require.ErrorIs(t, again.Resign(b.ctx), store.ErrConflict, "it cannot resign for another process")
	require.NoError(t, third.Check(b.ctx))
	require.NoError(t, third.Resign(b.ctx))
	require.Error(t, third.Check(b.ctx))
}

func TestASilentLeaderLosesTheLead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	frozen, err := b.TryLead(b.ctx, store.WorkerIdentity{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		next, err := b.TryLead(b.ctx, store.WorkerIdentity{})
		if err != nil {
			return false
		}
		require.NoError(t, next.Resign(b.ctx))
		return true
	}, systemtest.Patience, 100*time.Millisecond)
	require.Error(t, frozen.Check(b.ctx))
	_ = frozen.Resign(b.ctx) // there is nothing left to resign
}

func TestBeatTellsWhatTheWorkerHolds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.worker()
	held, err := b.Beat(b.ctx, w)
	require.NoError(t, err)
	assert.Empty(t, held)
	in := b.submit(`{"n": 1}`)
	c := b.claim(w, in[0].BatchID)
	held, err = b.Beat(b.ctx, w)
	require.NoError(t, err)
	assert.Equal(t, []jobs.Lease{c[0].Lease}, held)
	b.settle(w, jobs.Outcome{Lease: c[0].Lease, Action: jobs.Finish, Result: jobs.Result{JSON: json.RawMessage(`{}`)}})
	held, err = b.Beat(b.ctx, w)
	require.NoError(t, err)
	assert.Empty(t, held)
	workers, err := b.Workers(b.ctx)
	require.NoError(t, err)
	assert.EqualValues(t, 3, workers[0].Beat)
	_, err = b.Beat(b.ctx, store.WorkerIdentity{ID: w.ID + 1, Token: w.Token})
	assert.ErrorIs(t, err, store.ErrNotFound)
}

func TestStrayHolders(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.worker()
	b.claim(w, b.submit(`{}`)[0].BatchID)
	b.claim(store.WorkerIdentity{ID: w.ID + 10}, b.submit(`{}`)[0].BatchID)
	b.claim(store.WorkerIdentity{ID: w.ID + 20}, b.submit(`{}`)[0].BatchID)
	b.claim(store.WorkerIdentity{ID: w.ID + 20}, b.submit(`{}`)[0].BatchID)
	strays, err := b.StrayHolders(b.ctx)
	require.NoError(t, err)
	assert.Equal(t, []int64{w.ID + 10, w.ID + 20}, strays)
}
