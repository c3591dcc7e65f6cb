package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// Enqueuer puts batches into the Asynq queues.
type Enqueuer struct {
	redis     redis.UniversalClient
	client    *asynq.Client
	inspector *asynq.Inspector
	retention time.Duration
}

// NewEnqueuer returns an Enqueuer on a shared Redis client, which the caller
// closes. Finished tasks stay visible in Asynqmon for the retention.
func NewEnqueuer(rdb redis.UniversalClient, retention time.Duration) *Enqueuer {
	rdb.AddHook(ringer{rdb})
	return &Enqueuer{
		redis:     rdb,
		client:    asynq.NewClientFromRedisClient(rdb),
		inspector: asynq.NewInspectorFromRedisClient(rdb),
		retention: retention,
	}
}

// Enqueue makes sure that a live task carries the batch, and wakes the workers
// when it is due. Enqueueing the same batch again changes nothing, whichever
// process does it.
func (e *Enqueuer) Enqueue(ctx context.Context, b jobs.Batch) error {
	task, err := NewBatchTask(b, e.retention)
	if err != nil {
		return err
	}
	if err := e.putTask(ctx, b.Queue(), jobs.TaskID(b.ID), task, b.RunAt.IsZero()); err != nil {
		return fmt.Errorf("enqueue batch %d: %w", b.ID, err)
	}
	return nil
}

// putTask makes sure that a live task of this id is in the queue, and that it
// does not wait for its time when it is to run now; then the workers are rung for.
func (e *Enqueuer) putTask(ctx context.Context, queue, id string, task *asynq.Task, now bool) error {
	if now {
		ctx = withRing(ctx, queue)
	}
	_, err := e.client.EnqueueContext(ctx, task)
	if !errors.Is(err, asynq.ErrTaskIDConflict) {
		return err
	}

	// An archived or retained task keeps its id: it is in the way, not in the queue.
	info, err := e.inspector.GetTaskInfo(queue, id)
	switch {
	case errors.Is(err, asynq.ErrTaskNotFound): // it went away between the two calls
	case err != nil:
		return err
	case info.State == asynq.TaskStateRetry && queue != jobs.WebhookQueue, // put off, see WithoutTask
		info.State == asynq.TaskStateScheduled && now:
		if err := e.inspector.RunTask(queue, id); err != nil {
			return err
		}
		return ring(ctx, e.redis, queue)
	case info.State != asynq.TaskStateArchived && info.State != asynq.TaskStateCompleted:
		return nil
	default:
		err = e.inspector.DeleteTask(queue, id)
		if err != nil && !errors.Is(err, asynq.ErrTaskNotFound) {
			return err
		}
	}
	_, err = e.client.EnqueueContext(ctx, task)
	if errors.Is(err, asynq.ErrTaskIDConflict) { // somebody else was faster
		return nil
	}
	return err
}
