package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// callbackTimeout is the time limit that Asynq sets for one attempt to deliver
// a callback. The HTTP client's own limit is much shorter.
const callbackTimeout = 10 * time.Minute

// EnqueueDelivery ensures that a live task carries this attempt.
func (e *Enqueuer) EnqueueDelivery(ctx context.Context, r jobs.DeliveryRef) error {
	p, err := json.Marshal(jobs.WebhookPayload{Delivery: r.ID, Attempts: r.Attempts})
	if err != nil {
		return fmt.Errorf("encode the payload of delivery %d: %w", r.ID, err)
	}
	opts := []asynq.Option{
		asynq.Queue(jobs.WebhookQueue), asynq.TaskID(r.TaskID()), asynq.MaxRetry(maxTaskRetries),
		asynq.Timeout(callbackTimeout), asynq.Retention(e.retention),
	}
	if !r.At.IsZero() {
		opts = append(opts, asynq.ProcessAt(r.At))
	}
	if err := e.putTask(ctx, jobs.WebhookQueue, r.TaskID(), asynq.NewTask(jobs.TypeWebhook, p, opts...), r.At.IsZero()); err != nil {
		return fmt.Errorf("enqueue delivery %d: %w", r.ID, err)
	}
	return nil
}

// DeliveriesWithoutTask returns the attempts that no live task carries
// (missing), and those whose task a worker has taken (taken). An attempt that
// stays due although its task is taken belongs to a worker that died.
func DeliveriesWithoutTask(ctx context.Context, rdb redis.UniversalClient, refs []jobs.DeliveryRef) (missing, taken []jobs.DeliveryRef, err error) {
	ids := make([]string, len(refs))
	for i, r := range refs {
		ids[i] = r.TaskID()
	}
	states, err := taskStates(ctx, rdb, func(i int) (string, string) { return jobs.WebhookQueue, ids[i] }, len(refs))
	if err != nil {
		return nil, nil, fmt.Errorf("look up the tasks of %d deliveries: %w", len(refs), err)
	}
	for i, r := range refs {
		switch {
		case states[i] == "active":
			taken = append(taken, r)
		case !isLive(states[i]):
			missing = append(missing, r)
		}
	}
	return missing, taken, nil
}
