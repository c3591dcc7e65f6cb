package queue

import (
	"context"
	"encoding/json"
	"errors"
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

// postponedAtMost is how far ahead the task of a due attempt may lie. Couriers
// postpone an attempt by seconds. What lies further ahead was put there by a
// process with a wrong clock.
const postponedAtMost = time.Minute

// DeliveriesWithoutTask returns those of the due attempts that no live task
// carries (missing), and those whose task a worker has taken (taken). An attempt
// that stays due although its task is taken belongs to a worker that died. An
// attempt whose task is postponed for longer than any courier does is missing,
// too; by the clock of Redis.
func DeliveriesWithoutTask(ctx context.Context, rdb redis.UniversalClient, refs []jobs.DeliveryRef) (missing, taken []jobs.DeliveryRef, err error) {
	ids := make([]string, len(refs))
	for i, r := range refs {
		ids[i] = r.TaskID()
	}
	states, err := taskStates(ctx, rdb, func(i int) (string, string) { return jobs.WebhookQueue, ids[i] }, len(refs))
	if err != nil {
		return nil, nil, fmt.Errorf("look up the tasks of %d deliveries: %w", len(refs), err)
	}
	var postponed []int
	for i, r := range refs {
		switch {
		case states[i] == "active":
			taken = append(taken, r)
		case !isLive(states[i]):
			missing = append(missing, r)
		case states[i] == "scheduled" || states[i] == "retry":
			postponed = append(postponed, i)
		}
	}
	if len(postponed) == 0 {
		return missing, taken, nil
	}
	var clock *redis.TimeCmd
	at := make([]*redis.FloatCmd, len(postponed))
	_, err = rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		clock = p.Time(ctx)
		for k, i := range postponed {
			at[k] = p.ZScore(ctx, queueKey(jobs.WebhookQueue, states[i]), ids[i])
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) { // a task that has moved on since is live
		return nil, nil, fmt.Errorf("look up when %d deliveries are due: %w", len(postponed), err)
	}
	latest := float64(clock.Val().Add(postponedAtMost).Unix())
	for k, i := range postponed {
		if at[k].Val() > latest {
			missing = append(missing, refs[i])
		}
	}
	return missing, taken, nil
}
