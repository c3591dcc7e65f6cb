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

// handleBatch claims what is pending of a batch and tries all of it at once,
// each request on its own. An error, after which Asynq delivers the batch
// again, means only that Postgres could not be asked: what happens to a request
// is in its row, never in the fate of the task.
//
// The context of the delivery ends when Asynq loses its lease, as when Redis is
// away. The claim is in Postgres and still good then, so the requests go on.
func (w *Worker) handleBatch(ctx context.Context, task *asynq.Task) error {
	w.handlers.Add(1)
	defer w.handlers.Done()

	p, err := jobs.ParseBatchPayload(task.Payload())
	if err != nil {
		return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
	}
	l := w.lineOf(ctx)
	claimed, err := l.claims.Do(w.running, p.Batch) //nolint:contextcheck // see above
	if err != nil {
		return fmt.Errorf("claim batch %d: %w", p.Batch, err)
	}
	if len(claimed) == 0 {
		return w.awaitDue(l, p.Batch) //nolint:contextcheck // see above
	}
	summary := w.tryAll(l, claimed) //nolint:contextcheck // see above

	if result, err := json.Marshal(summary); err == nil {
		// For people who look at Asynqmon; without Redis there is nobody to look.
		_, _ = task.ResultWriter().Write(result)
	}
	return nil
}

// lineOf tells by the queue of a delivery which line it takes.
func (w *Worker) lineOf(ctx context.Context) line {
	if queue, ok := asynq.GetQueueName(ctx); ok && jobs.IsCrowd(queue) {
		return w.crowd
	}
	return w.front
}

// earlyBy is how early a delivery may come because Asynq counts whole seconds.
const earlyBy = 2 * time.Second

// errEarly puts a delivery off: it came before its time by more than that, so
// the clock of a worker is wrong.
type errEarly struct{ wait time.Duration }

func (e errEarly) Error() string {
	return fmt.Sprintf("delivered %v too early: the clock of a worker is wrong", e.wait.Round(time.Millisecond))
}

// awaitDue looks why nothing was claimed of a batch. What is due in a moment is
// claimed then, without a task to hold its place: should the worker die before,
// the reconciler finds the batch without one.
func (w *Worker) awaitDue(l line, batch int64) error {
	wait, err := w.store.DueIn(w.running, batch)
	switch {
	case err != nil || wait <= 0: // a repeated delivery, mostly
		return err
	case wait > earlyBy:
		return errEarly{wait}
	}
	w.handlers.Go(func() {
		if err := w.claimWhenDue(l, batch, wait); err != nil {
			w.log.Warn("a batch that became due was not claimed; the reconciler will see to it", "batch", batch, "error", err)
		}
	})
	return nil
}

func (w *Worker) claimWhenDue(l line, batch int64, wait time.Duration) error {
	for wait > 0 && wait <= earlyBy {
		select {
		case <-w.running.Done():
			return context.Cause(w.running)
		case <-time.After(wait + time.Millisecond): // so that two clocks that go alike agree
		}
		claimed, err := l.claims.Do(w.running, batch)
		if err != nil {
			return err
		}
		if len(claimed) > 0 {
			w.tryAll(l, claimed)
			return nil
		}
		if wait, err = w.store.DueIn(w.running, batch); err != nil {
			return err
		}
	}
	return nil
}

// release hands claimed requests back untried and enqueues them for others.
func (w *Worker) release(ctx context.Context, leases []jobs.Lease, reason string) (released int) {
	ctx, cancel := context.WithTimeout(ctx, handBackTime)
	defer cancel()
	var list []jobs.Batch
	err := w.persist(ctx, "release requests", func() (err error) {
		list, err = w.store.ReleaseRequests(ctx, leases, reason, w.config.BatchMax)
		return err
	})
	if err != nil {
		w.log.Error("requests could not be handed back; they will be rescued", "count", len(leases), "error", err)
		return 0
	}
	for _, b := range list {
		w.changes.Add(b.Requests...)
		released += len(b.Requests)
		w.enqueue(ctx, b)
	}
	return released
}

// enqueue delivers a batch. When Redis is away the reconciler does it later.
func (w *Worker) enqueue(ctx context.Context, b jobs.Batch) {
	ctx, cancel := context.WithTimeout(ctx, enqueueTimeout)
	defer cancel()
	if err := w.enqueuer.Enqueue(ctx, b); err != nil {
		w.log.Warn("batch not enqueued; the reconciler will do it", "batch", b.ID, "error", err)
	}
}

// flushClaims claims several batches in one statement.
func (w *Worker) flushClaims(ctx context.Context, batches []int64) ([][]jobs.Claimed, error) {
	claimed, err := w.claim(ctx, batches)
	if err != nil {
		return nil, err
	}
	place := make(map[int64]int, len(batches))
	for i, b := range batches { // of two deliveries of a batch one gets everything
		place[b] = i
	}
	out := make([][]jobs.Claimed, len(batches))
	changed := make([]int64, len(claimed))
	for i, c := range claimed {
		changed[i] = c.ID
		at := place[c.BatchID]
		out[at] = append(out[at], c)
	}
	w.changes.Add(changed...)
	return out, nil
}

func (w *Worker) flushSettles(ctx context.Context, outcomes []jobs.Outcome) ([]store.OutcomeResult, error) {
	settled, err := w.store.WriteOutcomes(ctx, w.id.Load(), outcomes)
	var changed, ended []int64
	for i, s := range settled {
		if s.Accepted {
			changed = append(changed, outcomes[i].ID)
			if s.Callback && outcomes[i].Action != jobs.Retry {
				ended = append(ended, outcomes[i].ID)
			}
		}
	}
	w.changes.Add(changed...)
	w.callBack(ended) //nolint:contextcheck // the group does not wait for it
	return settled, err
}
