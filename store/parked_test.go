package store_test

import (
	"encoding/json"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// of stores n requests of a caller, ten to a batch, and returns their batches.
func (b system) of(caller string, n int) []int64 {
	b.t.Helper()
	items := make([]store.NewRequest, n)
	for i := range items {
		items[i] = store.NewRequest{
			Payload: json.RawMessage(`{}`), SchemaVersion: "1.0-simple", Priority: jobs.Default, CreatedBy: caller, Group: i / 10,
		}
	}
	rows, err := b.InsertRequests(b.ctx, items)
	require.NoError(b.t, err)
	var list []int64
	for _, r := range rows {
		if len(list) == 0 || list[len(list)-1] != r.BatchID {
			list = append(list, r.BatchID)
		}
	}
	return list
}

func (b system) finish(worker store.WorkerIdentity, claimed []jobs.Claimed) {
	b.t.Helper()
	outcomes := make([]jobs.Outcome, len(claimed))
	for i, c := range claimed {
		outcomes[i] = jobs.Outcome{Lease: c.Lease, Action: jobs.Finish, Result: jobs.Result{JSON: json.RawMessage(`{}`)}}
	}
	settled, err := b.WriteOutcomes(b.ctx, worker, outcomes)
	require.NoError(b.t, err)
	for _, s := range settled {
		require.True(b.t, s.Accepted)
	}
}

func TestACallerIsHeldAtItsLimit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	flood, small, nobody := b.of("key:1", 30), b.of("user:2", 10), b.of("", 10)

	claimed, _, err := b.ClaimBatchesUpTo(b.ctx, store.WorkerIdentity{ID: 1}, append(append(flood, small...), nobody...), 12, 16<<20)
	require.NoError(t, err)
	assert.Len(t, claimed, 12+10+10, "the flood up to its limit, the small caller whole, and what belongs to nobody whole")
	n, err := b.CountPending(b.ctx, 1000)
	require.NoError(t, err)
	assert.Equal(t, 18, n)
	open, err := b.OpenBatches(b.ctx, 0, 1000, 100)
	require.NoError(t, err)
	assert.Empty(t, open, "a parked request needs no task")
	again, _, err := b.ClaimBatches(b.ctx, store.WorkerIdentity{ID: 1}, flood, 16<<20)
	require.NoError(t, err)
	assert.Empty(t, again, "a repeated delivery does not get around the limit")

	parked, err := b.ClaimParked(b.ctx, store.WorkerIdentity{ID: 1}, 12, 100, 16<<20)
	require.NoError(t, err)
	assert.Empty(t, parked, "nothing has ended")
	b.finish(store.WorkerIdentity{ID: 1}, claimed[:5])
	parked, err = b.ClaimParked(b.ctx, store.WorkerIdentity{ID: 2}, 12, 100, 16<<20)
	require.NoError(t, err)
	assert.Len(t, parked, 5, "as many as ended")
	for _, c := range parked {
		assert.Equal(t, 1, c.Attempt)
	}
	let, err := b.Unpark(b.ctx, 100)
	require.NoError(t, err)
	assert.EqualValues(t, 13, let)
	open, err = b.OpenBatches(b.ctx, 0, 1000, 100)
	require.NoError(t, err)
	assert.Len(t, open, 2, "without a limit they need tasks again")
}

// Many concurrent workers never run more requests of a caller than the limit.
func TestTheLimitHoldsAmongWorkers(t *testing.T) {
	t.Parallel()
	const limit = 7
	b := setup(t)
	batches := b.of("key:1", 200)
	var wg sync.WaitGroup
	for i := range batches {
		wg.Go(func() {
			worker := store.WorkerIdentity{ID: int64(i + 1)}
			claimed, _, err := b.ClaimBatchesUpTo(b.ctx, worker, batches[i:i+1], limit, 16<<20)
			assert.NoError(t, err)
			for range 40 {
				var running int
				assert.NoError(t, b.db.GetContext(b.ctx, &running, `SELECT count(*) FROM mass_requests WHERE status = 'processing'`))
				assert.LessOrEqual(t, running, limit)
				if len(claimed) > 0 {
					b.finish(worker, claimed)
				}
				claimed, err = b.ClaimParked(b.ctx, worker, limit, 3, 16<<20)
				assert.NoError(t, err)
			}
			if len(claimed) > 0 {
				b.finish(worker, claimed)
			}
		})
	}
	wg.Wait()
	left, err := b.ClaimParked(b.ctx, store.WorkerIdentity{ID: 1}, limit, 1000, 16<<20)
	require.NoError(t, err)
	assert.LessOrEqual(t, len(left), limit)
}

// Parked requests of one caller do not delay those of another.
func TestHeldCallersTakeTurns(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first, second := b.of("a", 20), b.of("b", 20)
	claimed, _, err := b.ClaimBatchesUpTo(b.ctx, store.WorkerIdentity{ID: 1}, append(first, second...), 2, 16<<20)
	require.NoError(t, err)
	require.Len(t, claimed, 4)
	b.finish(store.WorkerIdentity{ID: 1}, claimed)
	held, err := b.ClaimParked(b.ctx, store.WorkerIdentity{ID: 1}, 2, 100, 16<<20)
	require.NoError(t, err)
	by := map[string]int{}
	for _, c := range held {
		r, err := b.Request(b.ctx, c.ID)
		require.NoError(t, err)
		by[r.CreatedBy]++
	}
	assert.Equal(t, map[string]int{"a": 2, "b": 2}, by)
}
