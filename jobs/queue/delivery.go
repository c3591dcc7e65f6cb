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

// webhookTaskTimeout bounds a try from Asynq's point of view; the client's own
// timeout is much shorter.
const webhookTaskTimeout = 10 * time.Minute

// EnqueueDelivery makes sure that a live task carries this try.
func (e *Enqueuer) EnqueueDelivery(ctx context.Context, r jobs.DeliveryRef) error {
	p, err := json.Marshal(jobs.WebhookPayload{Delivery: r.ID, Attempts: r.Attempts})
	if err != nil {
		return fmt.Errorf("encode the payload of delivery %d: %w", r.ID, err)
	}
	opts := []asynq.Option{
		asynq.Queue(jobs.WebhookQueue), asynq.TaskID(r.TaskID()), asynq.MaxRetry(deliveries),
		asynq.Timeout(webhookTaskTimeout), asynq.Retention(e.retention),
	}
	if !r.At.IsZero() {
		opts = append(opts, asynq.ProcessAt(r.At))
	}
	if err := e.putTask(ctx, jobs.WebhookQueue, r.TaskID(), asynq.NewTask(jobs.TypeWebhook, p, opts...), r.At.IsZero()); err != nil {
		return fmt.Errorf("enqueue delivery %d: %w", r.ID, err)
	}
	return nil
}

// DeliveriesWithoutTask returns those of the tries that no live task carries,
// and those whose task a worker has taken: one of them that goes on to be due
// was taken by a worker that died.
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
		case !live(states[i]):
			missing = append(missing, r)
		}
	}
	return missing, taken, nil
}
