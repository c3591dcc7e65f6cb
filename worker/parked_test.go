package worker_test

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// submitBy stores and enqueues n requests of a caller, in batches of ten.
func (s *system) submitBy(caller string, lane jobs.Lane, n int) []int64 {
	s.t.Helper()
	items := make([]store.NewRequest, n)
	for i := range items {
		items[i] = store.NewRequest{
			Payload: json.RawMessage(`{"by":"` + caller + `"}`), SchemaVersion: "1.0-simple", Priority: jobs.Default, Lane: lane, CreatedBy: caller, Group: i / 10,
		}
	}
	rows, err := s.store.InsertRequests(s.t.Context(), items)
	require.NoError(s.t, err)
	ids := make([]int64, n)
	sent := map[int64]bool{}
	for i, r := range rows {
		ids[i] = r.ID
		if !sent[r.BatchID] {
			sent[r.BatchID] = true
			require.NoError(s.t, s.enq.Enqueue(s.t.Context(), jobs.Batch{ID: r.BatchID, Priority: jobs.Default, Lane: lane}))
		}
	}
	return ids
}

// Two workers together never run more requests of one caller than the limit.
// Meanwhile they run the requests of other callers, and they finish all
// requests.
func TestACallerRunsNoMoreThanItsLimit(t *testing.T) {
	t.Parallel()
	const limit = 3
	s := setup(t)
	var running, most atomic.Int64
	pipeline := func(_ context.Context, payload []byte) (json.RawMessage, error) {
		var p struct {
			By string `json:"by"`
		}
		if err := json.Unmarshal(payload, &p); err != nil || p.By != "flood" {
			return json.RawMessage(`{}`), err
		}
		now := running.Add(1)
		defer running.Add(-1)
		for seen := most.Load(); now > seen; seen = most.Load() {
			if most.CompareAndSwap(seen, now) {
				break
			}
		}
		time.Sleep(time.Millisecond) // long enough to overlap with other attempts
		return json.RawMessage(`{}`), nil
	}
	c := quick()
	c.CallerMax, c.Leader.CallerMax = limit, limit
	s.start(c, pipeline)
	s.start(c, pipeline)
	flood := s.submitBy("flood", jobs.CrowdLane("flood"), 120)
	small := s.submitBy("small", 0, 10)
	for _, id := range append(flood, small...) {
		r := s.untilStatus(id, jobs.StatusDone)
		assert.Equal(t, 1, r.Attempt, "waiting for a turn is not an attempt")
	}
	assert.LessOrEqual(t, most.Load(), int64(limit))
	assert.Greater(t, most.Load(), int64(1), "the limit is used")
}

// A worker without a limit runs requests that were parked under a limit.
func TestAWorkerWithoutALimitRunsHeldRequests(t *testing.T) {
	t.Parallel()
	s := setup(t)
	ids := s.submitBy("flood", 0, 20)
	first, err := s.store.Request(t.Context(), ids[0])
	require.NoError(t, err)
	last, err := s.store.Request(t.Context(), ids[19])
	require.NoError(t, err)
	claimed, _, err := s.store.ClaimBatchesUpTo(t.Context(), store.WorkerIdentity{ID: 4711}, []int64{first.BatchID, last.BatchID}, 1, 16<<20)
	require.NoError(t, err)
	require.Len(t, claimed, 1)
	s.start(quick(), func(context.Context, []byte) (json.RawMessage, error) { return json.RawMessage(`{}`), nil })
	for _, id := range ids { // the claimed one is rescued, because there is no worker 4711
		s.untilStatus(id, jobs.StatusDone)
	}
}
