package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
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
func (e *Enqueuer) Enqueue(ctx context.Context, b Batch) error {
	if err := e.put(ctx, b); err != nil {
		return err
	}
	if !b.RunAt.IsZero() {
		return nil
	}
	return Ring(ctx, e.redis)
}

func (e *Enqueuer) put(ctx context.Context, b Batch) error {
	task, err := NewBatchTask(b, e.retention)
	if err != nil {
		return err
	}
	_, err = e.client.EnqueueContext(ctx, task)
	if !errors.Is(err, asynq.ErrTaskIDConflict) {
		return wrapEnqueue(b, err)
	}

	// An archived or retained task keeps its id: it is in the way, not in the queue.
	info, err := e.inspector.GetTaskInfo(b.Priority.Queue(), TaskID(b.ID))
	switch {
	case errors.Is(err, asynq.ErrTaskNotFound): // it went away between the two calls
	case err != nil:
		return wrapEnqueue(b, err)
	case info.State != asynq.TaskStateArchived && info.State != asynq.TaskStateCompleted:
		return nil
	default:
		err = e.inspector.DeleteTask(b.Priority.Queue(), TaskID(b.ID))
		if err != nil && !errors.Is(err, asynq.ErrTaskNotFound) {
			return wrapEnqueue(b, err)
		}
	}
	_, err = e.client.EnqueueContext(ctx, task)
	if errors.Is(err, asynq.ErrTaskIDConflict) { // somebody else was faster
		return nil
	}
	return wrapEnqueue(b, err)
}

func wrapEnqueue(b Batch, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("enqueue batch %d: %w", b.ID, err)
}
