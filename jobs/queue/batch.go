package queue

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// NewBatchTask returns the task that carries the batch.
func NewBatchTask(b jobs.Batch, retention time.Duration) (*asynq.Task, error) {
	p, err := json.Marshal(b.Payload())
	if err != nil {
		return nil, fmt.Errorf("encode the payload of batch %d: %w", b.ID, err)
	}
	opts := []asynq.Option{
		asynq.Queue(b.Queue()),
		asynq.TaskID(jobs.TaskID(b.ID)),
		asynq.MaxRetry(maxTaskRetries),
		asynq.Timeout(batchTimeout),
		asynq.Retention(retention),
	}
	if !b.RunAt.IsZero() {
		opts = append(opts, asynq.ProcessAt(b.RunAt))
	}
	return asynq.NewTask(jobs.TypeBatch, p, opts...), nil
}

// maxTaskRetries is how often Asynq delivers a task again. A delivery fails
// only when the worker cannot read the batch from Postgres. Asynq then tries
// again for some minutes. If it gives up and archives the task, the reconciler
// enqueues the batch again.
const maxTaskRetries = 25

// batchTimeout is the time limit that Asynq sets for a whole batch. Each
// request has its own, much shorter limit in the worker; this one only has to
// be longer.
const batchTimeout = 6 * time.Hour
