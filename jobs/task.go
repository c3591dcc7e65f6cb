package jobs

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hibiken/asynq"
)

// TypeBatch is the kind of the task that carries a batch of requests.
const TypeBatch = "mass:batch"

// Batch is one delivery: the requests that travel in one Asynq task. The rows
// name their batch; the task carries the batch's id.
type Batch struct {
	ID       int64
	Priority Priority
	Lane     Lane
	Requests []int64
	RunAt    time.Time // zero: at once
}

// Queue names the Asynq queue that carries the batch.
func (b Batch) Queue() string { return QueueName(b.Priority, b.Lane) }

// BatchPayload is the payload of a TypeBatch task, as JSON. Batch decides;
// Requests is there for people who look at Asynqmon.
type BatchPayload struct {
	Batch    int64 `json:"batch"`
	Requests IDs   `json:"requests,omitempty"`
}

// BatchSummary is the result of a TypeBatch task, as JSON: how many of its
// requests ended in which way.
type BatchSummary struct {
	Claimed   int `json:"claimed"`
	Done      int `json:"done,omitempty"`
	Failed    int `json:"failed,omitempty"`
	Retried   int `json:"retried,omitempty"`
	Released  int `json:"released,omitempty"`
	Cancelled int `json:"cancelled_or_outdated,omitempty"`
}

// No dash: Asynqmon cuts an id at its first one.
const taskIDPrefix = "batch_"

// TaskID derives the Asynq task id from a batch id, so that enqueueing a batch
// twice makes one task.
func TaskID(batch int64) string { return taskIDPrefix + strconv.FormatInt(batch, 10) }

// ParseTaskID returns the batch that a task id was derived from; false when it
// is another's.
func ParseTaskID(id string) (batch int64, ok bool) {
	digits, ok := strings.CutPrefix(id, taskIDPrefix)
	if !ok {
		return 0, false
	}
	batch, err := strconv.ParseInt(digits, 10, 64)
	return batch, err == nil && batch > 0
}

// NewBatchTask makes the task that carries the batch.
func NewBatchTask(b Batch, retention time.Duration) (*asynq.Task, error) {
	p, err := json.Marshal(BatchPayload{Batch: b.ID, Requests: b.Requests})
	if err != nil {
		return nil, fmt.Errorf("encode the payload of batch %d: %w", b.ID, err)
	}
	opts := []asynq.Option{
		asynq.Queue(b.Queue()),
		asynq.TaskID(TaskID(b.ID)),
		asynq.MaxRetry(deliveries),
		asynq.Timeout(deliveryTimeout),
		asynq.Retention(retention),
	}
	if !b.RunAt.IsZero() {
		opts = append(opts, asynq.ProcessAt(b.RunAt))
	}
	return asynq.NewTask(TypeBatch, p, opts...), nil
}

// A delivery fails only when Postgres cannot be asked for the batch. Asynq
// then tries again for some minutes; if it gives up and archives the task, the
// reconciler delivers the batch anew.
const deliveries = 25

// deliveryTimeout bounds a whole batch from Asynq's point of view. Each request
// has its own, much shorter timeout in the worker; this one only has to be
// longer than any of them.
const deliveryTimeout = 6 * time.Hour

// ParseBatchPayload decodes the payload of a TypeBatch task.
func ParseBatchPayload(raw []byte) (BatchPayload, error) {
	var p BatchPayload
	if err := json.Unmarshal(raw, &p); err != nil {
		return p, fmt.Errorf("decode a batch payload: %w", err)
	}
	if p.Batch <= 0 {
		return p, errors.New("decode a batch payload: no batch id")
	}
	return p, nil
}
