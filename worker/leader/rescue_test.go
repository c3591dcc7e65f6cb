package leader_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

func TestASilentWorkersRequestsMoveToANewBatch(t *testing.T) {
	t.Parallel()
	s := setup(t)
	in := s.insert(2)
	silent, err := s.store.RegisterWorker(t.Context(), "elsewhere", 1, "test") // it claims, and never beats
	require.NoError(t, err)
	_, _, err = s.store.ClaimBatches(t.Context(), silent, []int64{in[0].BatchID}, 16<<20)
	require.NoError(t, err)
	s.start(quick())
	s.until(func() bool {
		r := s.request(in[1].ID)
		return r.Status == jobs.StatusPending && r.Rescues == 1 && r.BatchID != in[1].BatchID && s.queued(r.BatchID)
	}, "a new batch with a task")
	s.until(func() bool {
		workers, err := s.store.Workers(t.Context())
		return err == nil && len(workers) == 0
	}, "the silent worker is removed")
}

func TestAWorkerThatBeatsKeepsItsRequests(t *testing.T) {
	t.Parallel()
	s := setup(t)
	in := s.insert(1)
	alive, err := s.store.RegisterWorker(t.Context(), "elsewhere", 1, "test")
	require.NoError(t, err)
	_, _, err = s.store.ClaimBatches(t.Context(), alive, []int64{in[0].BatchID}, 16<<20)
	require.NoError(t, err)
	silent, err := s.store.RegisterWorker(t.Context(), "elsewhere", 2, "test")
	require.NoError(t, err)
	c := quick()
	c.SilentAfter = 3 * time.Second // longer than this test may stall between two beats
	s.start(c)
	s.until(func() bool {
		_, err := s.store.Beat(t.Context(), alive)
		require.NoError(t, err)
		workers, err := s.store.Workers(t.Context())
		return err == nil && len(workers) == 1 && workers[0].ID != silent.ID
	}, "the silent worker is removed, and the other one is not")
	assert.Equal(t, jobs.StatusProcessing, s.request(in[0].ID).Status)
}

func TestAClaimOfARemovedWorkerIsRescued(t *testing.T) {
	t.Parallel()
	s := setup(t)
	in := s.insert(1)
	_, _, err := s.store.ClaimBatches(t.Context(), store.WorkerIdentity{ID: 4711}, []int64{in[0].BatchID}, 16<<20) // no such worker
	require.NoError(t, err)
	s.start(quick())
	s.until(func() bool { return s.request(in[0].ID).Status == jobs.StatusPending }, "the request is pending again")
}
