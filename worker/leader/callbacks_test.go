package leader_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// A process with a wrong clock may leave the task of a callback hours ahead. The
// callback is due by the clock of PostgreSQL, so it is made now.
func TestACallbackPostponedForHoursIsMadeNow(t *testing.T) {
	t.Parallel()
	s := setup(t)
	ctx := t.Context()
	in, err := s.store.InsertRequests(ctx, []store.NewRequest{
		{Payload: json.RawMessage(`{}`), SchemaVersion: "1.0-simple", Priority: jobs.Default, CallbackURL: "https://example.com/a"},
		{Payload: json.RawMessage(`{}`), SchemaVersion: "1.0-simple", Priority: jobs.Default, CallbackURL: "https://example.com/b"},
	})
	require.NoError(t, err)
	var ids []int64
	for _, r := range in {
		_, err := s.store.MoveRequest(ctx, r.ID, jobs.StatusCancelled, store.Origin{Actor: "test"})
		require.NoError(t, err)
		ids = append(ids, r.ID)
	}
	refs, err := s.store.NewDeliveries(ctx, ids)
	require.NoError(t, err)
	require.Len(t, refs, 2)
	inspector := asynq.NewInspectorFromRedisClient(s.rdb)
	inState := func(i int, state asynq.TaskState) func() bool {
		return func() bool {
			info, err := inspector.GetTaskInfo(jobs.WebhookQueue, refs[i].TaskID())
			return err == nil && info.State == state
		}
	}

	require.NoError(t, s.enq.EnqueueDelivery(ctx, refs[0]))
	wrong := asynq.NewServerFromRedisClient(s.rdb, asynq.Config{
		Queues: map[string]int{jobs.WebhookQueue: 1}, TaskCheckInterval: time.Millisecond, LogLevel: asynq.FatalLevel,
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return 2 * time.Hour },
	})
	require.NoError(t, wrong.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return errors.New("the receiver is busy") })))
	s.until(inState(0, asynq.TaskStateRetry), "one is to be retried")
	wrong.Shutdown()
	ahead := refs[1]
	ahead.At = time.Now().Add(2 * time.Hour)
	require.NoError(t, s.enq.EnqueueDelivery(ctx, ahead))
	require.True(t, inState(1, asynq.TaskStateScheduled)())

	s.start(quick())
	s.until(inState(0, asynq.TaskStatePending), "the one to be retried is made now")
	s.until(inState(1, asynq.TaskStatePending), "the scheduled one is made now")
}
