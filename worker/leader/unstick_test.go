package leader_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

func TestADeliveredBatchThatIsNotClaimedIsReplaced(t *testing.T) {
	t.Parallel()
	s := setup(t)
	in := s.insert(1)
	require.NoError(t, s.enq.Enqueue(t.Context(), jobs.Batch{ID: in[0].BatchID, Priority: jobs.Default}))
	// A worker took the task from the queue and died before its claim: the task is
	// active, and Asynq would notice in two minutes at best.
	task := jobs.TaskID(in[0].BatchID)
	require.NoError(t, s.rdb.LMove(t.Context(), "asynq:{default}:pending", "asynq:{default}:active", "RIGHT", "LEFT").Err())
	require.NoError(t, s.rdb.HSet(t.Context(), "asynq:{default}:t:"+task, "state", "active").Err())
	s.start(quick())
	s.until(func() bool {
		r := s.request(in[0].ID)
		return r.BatchID != in[0].BatchID && s.queued(r.BatchID)
	}, "a new batch with a task")
}
