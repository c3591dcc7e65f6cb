package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// handleBatch claims the pending requests of a batch and attempts all of them
// at once, each on its own. An error, after which Asynq delivers the batch
// again, means only that Postgres was unavailable: the outcome of a request is
// in its row, never in the state of the task.
//
// The context of the delivery ends when Asynq loses its lease, for example when
// Redis is away. The claim is in Postgres and still valid then, so the attempts
// run under the worker's own context.
func (w *Worker) handleBatch(ctx context.Context, task *asynq.Task) error {
	p, err := jobs.ParseBatchPayload(task.Payload())
	if err != nil {
		return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
	}
	writers := w.committersOf(ctx)
	part, err := writers.claims.Do(w.work, p.Batch) //nolint:contextcheck // see above
	if err != nil {
		return fmt.Errorf("claim batch %d: %w", p.Batch, err)
	}
	if len(part.requests) == 0 && !part.more {
		return w.awaitDue(writers, p.Batch) //nolint:contextcheck // see above
	}
	summary, err := w.attemptParts(writers, p.Batch, part) //nolint:contextcheck // see above
	if err != nil {
		return err
	}

	if result, err := json.Marshal(summary); err == nil {
		// Only Asynqmon shows the summary, and without Redis it shows nothing.
		_, _ = task.ResultWriter().Write(result)
	}
	return nil
}

// attemptParts attempts the requests of a batch in parts, because their payloads
// together may be larger than the room of the worker. It claims the next part
// when the one before has ended. If the worker must end first, the leader
// enqueues the rest again.
func (w *Worker) attemptParts(writers committers, batch int64, part claimedPart) (sum jobs.BatchSummary, err error) {
	for {
		if len(part.requests) > 0 {
			sum.Add(w.attemptPart(writers, part.requests))
		}
		if !part.more || w.work.Err() != nil {
			return sum, nil
		}
		if part, err = writers.claims.Do(w.work, batch); err != nil {
			return sum, fmt.Errorf("claim the rest of batch %d: %w", batch, err)
		}
	}
}

// attemptPart attempts claimed requests, and gives the room of their payloads
// back.
func (w *Worker) attemptPart(writers committers, claimed []jobs.Claimed) jobs.BatchSummary {
	defer w.room.give(payloadBytes(claimed))
	return w.attemptAll(writers, claimed)
}

// committersOf chooses the committers by the queue of a delivery.
func (w *Worker) committersOf(ctx context.Context) committers {
	if queue, ok := asynq.GetQueueName(ctx); ok && jobs.IsCrowd(queue) {
		return w.overflow
	}
	return w.regular
}

// earlyBy is how early a delivery may come, because Asynq counts whole seconds.
const earlyBy = 2 * time.Second

// errEarly postpones a delivery that came more than earlyBy before its time,
// which means that the clock of a worker is wrong.
type errEarly struct{ wait time.Duration }

func (e errEarly) Error() string {
	return fmt.Sprintf("delivered %v too early: the clock of a worker is wrong", e.wait.Round(time.Millisecond))
}

// awaitDue finds out why a batch had nothing to claim. If its requests become
// due in a moment, awaitDue waits for them and claims them. No task is kept for
// that: if the worker dies while it waits, the leader finds the batch without a
// task.
func (w *Worker) awaitDue(writers committers, batch int64) error {
	wait, err := w.store.DueIn(w.work, batch)
	switch {
	case err != nil || wait <= 0: // in most cases a repeated delivery
		return err
	case wait > earlyBy:
		return errEarly{wait}
	}
	w.background.Go(func() {
		if err := w.claimWhenDue(writers, batch, wait); err != nil {
			w.log.Warn("a due batch was not claimed; the leader will enqueue it again", "batch", batch, "error", err)
		}
	})
	return nil
}

func (w *Worker) claimWhenDue(writers committers, batch int64, wait time.Duration) error {
	for wait > 0 && wait <= earlyBy {
		select {
		case <-w.work.Done():
			return context.Cause(w.work)
		case <-time.After(wait + time.Millisecond): // so that the batch is due by the clock of Postgres, too
		}
		part, err := writers.claims.Do(w.work, batch)
		if err != nil {
			return err
		}
		if len(part.requests) > 0 || part.more {
			_, err := w.attemptParts(writers, batch, part)
			return err
		}
		if wait, err = w.store.DueIn(w.work, batch); err != nil {
			return err
		}
	}
	return nil
}

// release hands claimed requests back without an outcome, and enqueues them for
// other workers.
func (w *Worker) release(ctx context.Context, leases []jobs.Lease, reason string) (released int) {
	ctx, cancel := context.WithTimeout(ctx, handBackTime)
	defer cancel()
	var list []jobs.Batch
	err := w.persist(ctx, "release requests", func() (err error) {
		list, err = w.store.ReleaseRequests(ctx, *w.me.Load(), leases, reason, w.config.BatchMax)
		return err
	})
	if err != nil {
		w.log.Error("requests could not be handed back; the leader will rescue them", "count", len(leases), "error", err)
		return 0
	}
	for _, b := range list {
		w.changes.Add(b.Requests...)
		released += len(b.Requests)
		w.enqueue(ctx, b)
	}
	return released
}

// flushClaims claims several batches in one statement, as far as their payloads
// fit into the room of the worker.
func (w *Worker) flushClaims(ctx context.Context, batches []int64) ([]claimedPart, error) {
	room, err := w.room.take(ctx)
	if err != nil {
		return nil, err
	}
	claimed, more, err := w.claim(ctx, batches, room)
	w.room.give(room - payloadBytes(claimed))
	if err != nil {
		return nil, err
	}
	place := make(map[int64]int, len(batches))
	for i, b := range batches { // if a batch is listed twice, the last place gets all its requests
		place[b] = i
	}
	out := make([]claimedPart, len(batches))
	changed := make([]int64, len(claimed))
	for i, c := range claimed {
		changed[i] = c.ID
		at := place[c.BatchID]
		out[at].requests = append(out[at].requests, c)
	}
	for i := range out {
		out[i].more = more
	}
	w.changes.Add(changed...)
	return out, nil
}

// flushOutcomes writes the outcomes of several requests in one statement, and
// announces them.
func (w *Worker) flushOutcomes(ctx context.Context, outcomes []jobs.Outcome) ([]store.OutcomeResult, error) {
	written, err := w.store.WriteOutcomes(ctx, *w.me.Load(), outcomes)
	var changed, ended []int64
	for i, s := range written {
		if s.Accepted {
			changed = append(changed, outcomes[i].ID)
			if s.Callback && outcomes[i].Action != jobs.Retry {
				ended = append(ended, outcomes[i].ID)
			}
		}
	}
	w.changes.Add(changed...)
	w.enqueueCallbacks(ended) //nolint:contextcheck // the group does not wait for it
	return written, err
}

// enqueueCallbacks enqueues the callbacks of requests that have ended, without
// delaying the caller. The leader finds the callbacks that are lost here.
func (w *Worker) enqueueCallbacks(requests []int64) {
	if len(requests) == 0 {
		return
	}
	w.background.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(w.work), enqueueTimeout)
		defer cancel()
		refs, err := w.store.NewDeliveries(ctx, requests)
		if err != nil {
			w.log.Warn("callbacks not enqueued; the leader will retry them", "error", err)
		}
		for _, ref := range refs {
			w.enqueueDelivery(ctx, ref)
		}
	})
}
