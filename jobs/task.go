package jobs

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// TypeBatch is the Asynq type of the tasks that carry batches of requests. It
// is short because Redis stores a task in half the memory as long as Asynq's
// message has at most 64 bytes (hash-max-listpack-value).
const TypeBatch = "batch"

// Batch is a group of requests that travel in one Asynq task. Their rows hold
// the id of the batch, and so does the task.
type Batch struct {
	ID       int64
	Priority Priority
	Lane     Lane
	Requests []int64
	RunAt    time.Time // zero: immediately
}

// Queue names the Asynq queue that carries the batch.
func (b Batch) Queue() string { return QueueName(b.Priority, b.Lane) }

// BatchRef names a batch and the queue its task is in.
type BatchRef struct {
	ID       int64
	Priority Priority
	Lane     Lane
	Due      bool // for seconds already, so its task must not be scheduled for later
}

// Queue names the Asynq queue that carries the batch.
func (b BatchRef) Queue() string { return QueueName(b.Priority, b.Lane) }

// BatchPayload is the payload of a TypeBatch task, as JSON. The worker claims
// the rows that name the batch, so a task needs to know nothing else.
type BatchPayload struct {
	Batch int64 `json:"batch"`
}

// Payload describes the batch in a task.
func (b Batch) Payload() BatchPayload { return BatchPayload{Batch: b.ID} }

// BatchSummary is the result of a TypeBatch task, as JSON: the number of
// requests for each kind of end.
type BatchSummary struct {
	Claimed   int `json:"claimed"`
	Done      int `json:"done,omitempty"`
	Failed    int `json:"failed,omitempty"`
	Retried   int `json:"retried,omitempty"`
	Released  int `json:"released,omitempty"`
	Cancelled int `json:"cancelled_or_outdated,omitempty"`
}

// Add adds the counts of a further part of the batch.
func (s *BatchSummary) Add(part BatchSummary) {
	s.Claimed += part.Claimed
	s.Done += part.Done
	s.Failed += part.Failed
	s.Retried += part.Retried
	s.Released += part.Released
	s.Cancelled += part.Cancelled
}

// The prefix has no dash, because Asynqmon cuts an id at its first dash.
const taskIDPrefix = "batch_"

// TaskID derives the Asynq task id from a batch id, so that enqueueing a batch
// twice makes one task.
func TaskID(batch int64) string { return taskIDPrefix + strconv.FormatInt(batch, 10) }

// ParseTaskID returns the batch that a task id was derived from, or false when
// the task is not one of TypeBatch.
func ParseTaskID(id string) (batch int64, ok bool) {
	digits, ok := strings.CutPrefix(id, taskIDPrefix)
	if !ok {
		return 0, false
	}
	batch, err := strconv.ParseInt(digits, 10, 64)
	return batch, err == nil && batch > 0
}

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
