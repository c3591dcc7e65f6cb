package queue

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// NewBatchTask makes the task that carries the batch.
func NewBatchTask(b jobs.Batch, retention time.Duration) (*asynq.Task, error) {
	p, err := json.Marshal(b.Payload())
	if err != nil {
		return nil, fmt.Errorf("encode the payload of batch %d: %w", b.ID, err)
	}
	opts := []asynq.Option{
		asynq.Queue(b.Queue()),
		asynq.TaskID(jobs.TaskID(b.ID)),
		asynq.MaxRetry(deliveries),
		asynq.Timeout(deliveryTimeout),
		asynq.Retention(retention),
	}
	if !b.RunAt.IsZero() {
		opts = append(opts, asynq.ProcessAt(b.RunAt))
	}
	return asynq.NewTask(jobs.TypeBatch, p, opts...), nil
}

// A delivery fails only when Postgres cannot be asked for the batch. Asynq
// then tries again for some minutes; if it gives up and archives the task, the
// reconciler delivers the batch anew.
const deliveries = 25

// deliveryTimeout bounds a whole batch from Asynq's point of view. Each request
// has its own, much shorter timeout in the worker; this one only has to be
// longer than any of them.
const deliveryTimeout = 6 * time.Hour
