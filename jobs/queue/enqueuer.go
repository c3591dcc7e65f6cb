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

// Enqueuer puts batches, callbacks and recommendations into the Asynq queues.
type Enqueuer struct {
	redis     redis.UniversalClient
	client    *asynq.Client
	inspector *asynq.Inspector
	retention time.Duration
}

// NewEnqueuer returns an Enqueuer on a shared Redis client, which the caller
// must close. Finished tasks stay visible in Asynqmon for the retention.
func NewEnqueuer(rdb redis.UniversalClient, retention time.Duration) *Enqueuer {
	rdb.AddHook(ringer{rdb})
	return &Enqueuer{
		redis:     rdb,
		client:    asynq.NewClientFromRedisClient(rdb),
		inspector: asynq.NewInspectorFromRedisClient(rdb),
		retention: retention,
	}
}

// Enqueue ensures that a live task carries the batch, and wakes the workers
// when the batch is due immediately. Enqueueing the same batch again, in any
// process, changes nothing.
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

// putTask ensures that a live task with this id is in the queue. When now is
// true, it also ensures that the task is not scheduled for later, and rings for
// the workers.
func (e *Enqueuer) putTask(ctx context.Context, queue, id string, task *asynq.Task, now bool) error {
	if now {
		ctx = withRing(ctx, queue)
	}
	_, err := e.client.EnqueueContext(ctx, task)
	if !errors.Is(err, asynq.ErrTaskIDConflict) {
		return err
	}

	// An archived or a retained task keeps its id although no worker will run
	// it, so it must be removed first.
	info, err := e.inspector.GetTaskInfo(queue, id)
	switch {
	case errors.Is(err, asynq.ErrTaskNotFound): // the task vanished between the two calls
	case err != nil:
		return err
	case info.State == asynq.TaskStateRetry && (now || queue != jobs.WebhookQueue && queue != jobs.RecommendQueue), // postponed by Asynq, see WithoutTask
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
	if errors.Is(err, asynq.ErrTaskIDConflict) { // another process was faster
		return nil
	}
	return err
}
