package leader_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

func TestABatchWithoutATaskIsEnqueued(t *testing.T) {
	t.Parallel()
	s := setup(t)
	batch := s.insert(2)[0].BatchID // the API died between commit and enqueue
	s.start(quick())
	s.until(func() bool { return s.queued(batch) }, "a task for the batch")
}

// After a loss of Redis whole steps have no task. Then the leader does not wait for
// the next round after each step.
func TestMissingStepsAreEnqueuedAtFullSpeed(t *testing.T) {
	t.Parallel()
	s := setup(t)
	c := quick()
	c.Step, c.Grace, c.Interval = 2, 0, 2*time.Second
	const batches = 25
	for range batches {
		s.insert(1)
	}
	s.start(c)
	pending := func() int64 { return s.rdb.LLen(t.Context(), "asynq:{default}:pending").Val() }
	s.until(func() bool { return pending() > 0 }, "the first step")
	first := time.Now()
	s.until(func() bool { return pending() == batches }, "all steps")
	// At one step per round, 12 more rounds would take 24 seconds.
	assert.Less(t, time.Since(first), 12*c.Interval)
}

func TestABatchWithATaskIsLeftAlone(t *testing.T) {
	t.Parallel()
	s := setup(t)
	in := s.insert(1)
	require.NoError(t, s.enq.Enqueue(t.Context(), jobs.Batch{ID: in[0].BatchID, Priority: jobs.Default, Requests: []int64{in[0].ID}}))
	s.start(quick())
	other := s.insert(1)
	s.until(func() bool { return s.queued(other[0].BatchID) }, "a later batch was enqueued")
	assert.Equal(t, in[0].BatchID, s.request(in[0].ID).BatchID)
	assert.EqualValues(t, 2, s.rdb.LLen(t.Context(), "asynq:{default}:pending").Val())
}
