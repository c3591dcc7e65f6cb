package worker_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/systemtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

func TestAWipedRedisLosesNothing(t *testing.T) {
	t.Parallel()
	s := setup(t)
	var ids []int64
	for range 250 { // more than two steps of the walk
		ids = append(ids, s.submit(true, `{}`)...)
	}
	require.NoError(t, s.rdb.FlushDB(t.Context()).Err())
	s.start(quick(), echo)
	for _, id := range ids {
		s.untilStatus(id, jobs.StatusDone)
		assert.Equal(t, []string{"submit", "claim", "finish"}, s.actions(id), "once")
	}
	queues, err := asynq.NewInspectorFromRedisClient(s.rdb).Queues()
	require.NoError(t, err)
	assert.ElementsMatch(t, append(jobs.Queues(), jobs.WebhookQueue, jobs.RecommendQueue), queues, "Asynqmon sees the queues again")
}

func TestAsynqmonsActionsAreSafe(t *testing.T) {
	t.Parallel()
	for name, act := range map[string]func(i *asynq.Inspector, task string) error{
		"archive": func(i *asynq.Inspector, task string) error { return i.ArchiveTask("default", task) },
		"delete":  func(i *asynq.Inspector, task string) error { return i.DeleteTask("default", task) },
		"delete all": func(i *asynq.Inspector, _ string) error {
			_, err := i.DeleteAllPendingTasks("default")
			return err
		},
		"delete the queue": func(i *asynq.Inspector, _ string) error { return i.DeleteQueue("default", true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			id := s.submit(true, `{}`)[0]
			r := s.until(id, "is there", func(jobs.Request) bool { return true })
			require.NoError(t, act(asynq.NewInspectorFromRedisClient(s.rdb), jobs.TaskID(r.BatchID)))
			s.start(quick(), echo)
			s.untilStatus(id, jobs.StatusDone)
			assert.Equal(t, []string{"submit", "claim", "finish"}, s.actions(id))
		})
	}
}

func TestASilentWorkersRequestsGoToOthers(t *testing.T) {
	t.Parallel()
	s := setup(t)
	ids := s.submit(false, `{"n": 1}`, `{"n": 2}`)
	r := s.until(ids[0], "is there", func(jobs.Request) bool { return true })
	dead, err := s.store.RegisterWorker(t.Context(), "elsewhere", 1, "test") // it claims, and never beats
	require.NoError(t, err)
	claimed, _, err := s.store.ClaimBatches(t.Context(), dead, []int64{r.BatchID}, 16<<20)
	require.NoError(t, err)
	require.Len(t, claimed, 2)

	s.start(rescuing(), echo)
	for _, id := range ids {
		done := s.untilStatus(id, jobs.StatusDone)
		assert.Zero(t, done.Failures, "no retry is used up")
		assert.Equal(t, 2, done.Attempt)
		assert.Equal(t, []string{"submit", "claim", "rescue", "claim", "finish"}, s.actions(id))
	}
	settled, err := s.store.WriteOutcomes(t.Context(), dead, []jobs.Outcome{{Lease: claimed[0].Lease, Action: jobs.Finish, Result: jobs.Result{JSON: json.RawMessage(`{"zombie": true}`)}}})
	require.NoError(t, err)
	assert.False(t, settled[0].Accepted, "the zombie's outcome is refused")
	require.Eventually(t, func() bool {
		workers, err := s.store.Workers(t.Context())
		return err == nil && len(workers) == 1
	}, systemtest.Patience, 5*time.Millisecond, "the dead worker is forgotten")
}

func TestAWorkerDeclaredDeadRegistersAgain(t *testing.T) {
	t.Parallel()
	s := setup(t)
	g := newGate()
	s.start(quick(), g.run)
	first := s.submit(true, `{}`)[0]
	<-g.started
	_, err := s.db.ExecContext(t.Context(), `DELETE FROM mass_workers`) // what the leader does to a silent one
	require.NoError(t, err)
	assert.ErrorContains(t, <-g.ended, "given to another worker")
	<-g.started // it was rescued as a stray claim and runs again, under the new id
	close(g.open)
	done := s.untilStatus(first, jobs.StatusDone)
	assert.GreaterOrEqual(t, done.Attempt, 2)
	assert.Equal(t, done.Attempt-1, done.Rescues, "once, or again if it was claimed under the old id meanwhile")
}

func TestAClaimWhoseAnswerGotLostIsHandedBack(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.start(quick(), echo)
	warm := s.submit(true, `{}`)[0]
	s.untilStatus(warm, jobs.StatusDone)
	workers, err := s.store.Workers(t.Context())
	require.NoError(t, err)
	require.Len(t, workers, 1)

	id := s.submit(false, `{}`)[0]
	r := s.until(id, "is there", func(jobs.Request) bool { return true })
	_, _, err = s.store.ClaimBatches(t.Context(), workers[0].Identity(), []int64{r.BatchID}, 16<<20) // behind the worker's back
	require.NoError(t, err)
	s.untilStatus(id, jobs.StatusDone)
	assert.Contains(t, s.actions(id), "release")
}

func TestARetryThatWaitsIsLeftAlone(t *testing.T) {
	t.Parallel()
	s := setup(t)
	c := quick()
	c.Retry = jobs.RetryPolicy{MaxTries: 2, Base: time.Hour, Max: time.Hour}
	s.start(c, func(context.Context, []byte) (json.RawMessage, error) { return nil, assert.AnError })
	id := s.submit(true, `{}`)[0]
	r := s.until(id, "failed once", func(r jobs.Request) bool { return r.Failures == 1 })
	require.NoError(t, s.rdb.FlushDB(t.Context()).Err())
	require.Eventually(t, func() bool {
		info, err := asynq.NewInspectorFromRedisClient(s.rdb).GetTaskInfo("default", jobs.TaskID(r.BatchID))
		return err == nil && info.State == asynq.TaskStateScheduled
	}, systemtest.Patience, 5*time.Millisecond, "scheduled again, for its time")
	assert.Equal(t, r, s.until(id, "is there", func(jobs.Request) bool { return true }))
}

// A worker whose clock is hours ahead and that cannot reach Postgres postpones its
// delivery by hours.
func TestADeliveryPostponedForHoursIsMadeNow(t *testing.T) {
	t.Parallel()
	s := setup(t)
	id := s.submit(true, `{}`)[0]
	r := s.until(id, "is there", func(jobs.Request) bool { return true })
	wrong := asynq.NewServerFromRedisClient(s.rdb, asynq.Config{
		Queues: jobs.QueueWeights(), TaskCheckInterval: time.Millisecond, LogLevel: asynq.FatalLevel,
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return 2 * time.Hour },
	})
	require.NoError(t, wrong.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return store.ErrUnavailable })))
	inspector := asynq.NewInspectorFromRedisClient(s.rdb)
	require.Eventually(t, func() bool {
		info, err := inspector.GetTaskInfo("default", jobs.TaskID(r.BatchID))
		return err == nil && info.State == asynq.TaskStateRetry
	}, systemtest.Patience, 5*time.Millisecond)
	wrong.Shutdown()

	s.start(quick(), echo)
	s.untilStatus(id, jobs.StatusDone)
}
