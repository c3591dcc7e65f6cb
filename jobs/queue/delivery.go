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
// a callback or to get a recommendation. The HTTP clients' own limits are much
// shorter.
const callbackTimeout = 10 * time.Minute

// EnqueueDelivery ensures that a live task carries this attempt.
func (e *Enqueuer) EnqueueDelivery(ctx context.Context, r jobs.DeliveryRef) error {
	err := e.putAttempt(ctx, jobs.WebhookQueue, jobs.TypeWebhook, r.TaskID(), jobs.WebhookPayload{Delivery: r.ID, Attempts: r.Attempts}, r.At)
	if err != nil {
		return fmt.Errorf("enqueue delivery %d: %w", r.ID, err)
	}
	return nil
}

// EnqueueRecommendation ensures that a live task carries this try.
func (e *Enqueuer) EnqueueRecommendation(ctx context.Context, r jobs.RecommendationRef) error {
	err := e.putAttempt(ctx, jobs.RecommendQueue, jobs.TypeRecommend, r.TaskID(), jobs.RecommendPayload{Recommendation: r.ID, Tries: r.Tries}, r.At)
	if err != nil {
		return fmt.Errorf("enqueue recommendation %d: %w", r.ID, err)
	}
	return nil
}

// putAttempt ensures that a live task with this id and payload is in the queue.
// It is not run before the given time; zero: immediately.
func (e *Enqueuer) putAttempt(ctx context.Context, queue, taskType, id string, payload any, at time.Time) error {
	p, err := json.Marshal(payload)
	if err != nil {
		return err
	}
	opts := []asynq.Option{
		asynq.Queue(queue), asynq.TaskID(id), asynq.MaxRetry(maxTaskRetries), asynq.Timeout(callbackTimeout), asynq.Retention(e.retention),
	}
	if !at.IsZero() {
		opts = append(opts, asynq.ProcessAt(at))
	}
	return e.putTask(ctx, queue, id, asynq.NewTask(taskType, p, opts...), at.IsZero())
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
	return attemptsWithoutTask(ctx, rdb, jobs.WebhookQueue, refs)
}

// RecommendationsWithoutTask is DeliveriesWithoutTask for tries to get a
// recommendation.
func RecommendationsWithoutTask(ctx context.Context, rdb redis.UniversalClient, refs []jobs.RecommendationRef) (missing, taken []jobs.RecommendationRef, err error) {
	return attemptsWithoutTask(ctx, rdb, jobs.RecommendQueue, refs)
}

func attemptsWithoutTask[R interface{ TaskID() string }](ctx context.Context, rdb redis.UniversalClient, queue string, refs []R) (missing, taken []R, err error) {
	ids := make([]string, len(refs))
	for i, r := range refs {
		ids[i] = r.TaskID()
	}
	states, err := taskStates(ctx, rdb, func(i int) (string, string) { return queue, ids[i] }, len(refs))
	if err != nil {
		return nil, nil, fmt.Errorf("look up %d tasks in the queue %s: %w", len(refs), queue, err)
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
			at[k] = p.ZScore(ctx, queueKey(queue, states[i]), ids[i])
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) { // a task that has moved on since is live
		return nil, nil, fmt.Errorf("look up when %d tasks in the queue %s are due: %w", len(postponed), queue, err)
	}
	latest := float64(clock.Val().Add(postponedAtMost).Unix())
	for k, i := range postponed {
		if at[k].Val() > latest {
			missing = append(missing, refs[i])
		}
	}
	return missing, taken, nil
}
