package intake

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/store"
)

// Handoff tells Redis, and through it the other processes, what was committed.
// Every method returns at once. A message that is lost costs time and never
// truth, because the rows in Postgres decide.
type Handoff struct {
	background *Background
	store      *store.Store
	queue      *queue.Enqueuer
	redis      redis.UniversalClient
}

// NewHandoff returns a Handoff that sends its messages in the background.
func NewHandoff(b *Background, st *store.Store, queue *queue.Enqueuer, rdb redis.UniversalClient) *Handoff {
	return &Handoff{background: b, store: st, queue: queue, redis: rdb}
}

// Batch enqueues a committed batch. If the message is lost, the reconciler
// enqueues the batch.
func (h *Handoff) Batch(b jobs.Batch) {
	h.background.Go("enqueue a batch", func(ctx context.Context) error {
		failBeforeEnqueue()
		return h.queue.Enqueue(ctx, b)
	})
}

// Changed wakes the callers that wait for these requests, in every process. If
// the message is lost, they find the change at their next regular look.
func (h *Handoff) Changed(ids ...int64) {
	h.background.Go("announce a change", func(ctx context.Context) error {
		return queue.AnnounceChanges(ctx, h.redis, ids...)
	})
}

// Cancelled stops the workers that may be running these requests. If the message
// is lost, a worker stops at its next heartbeat, and its writes are refused.
func (h *Handoff) Cancelled(ids ...int64) {
	h.background.Go("announce a cancellation", func(ctx context.Context) error {
		return queue.AnnounceCancel(ctx, h.redis, ids...)
	})
}

// CallbacksOf enqueues the callbacks of requests that a person ended. If the
// message is lost, the reconciler enqueues them.
func (h *Handoff) CallbacksOf(ids ...int64) {
	h.background.Go("enqueue callbacks", func(ctx context.Context) error {
		refs, err := h.store.NewDeliveries(ctx, ids)
		for _, ref := range refs {
			err = errors.Join(err, h.queue.EnqueueDelivery(ctx, ref))
		}
		return err
	})
}

// Callback enqueues one delivery of a callback. If the message is lost, the
// reconciler enqueues it.
func (h *Handoff) Callback(ref jobs.DeliveryRef) {
	h.background.Go("enqueue a callback", func(ctx context.Context) error {
		return h.queue.EnqueueDelivery(ctx, ref)
	})
}
