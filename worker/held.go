package worker

import (
	"context"
	"errors"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// heldInterval is how often a worker looks for what is held without having ended
// something itself: another worker did, or died.
const heldInterval = time.Second

func (w *Worker) claim(ctx context.Context, batches []int64) ([]jobs.Claimed, error) {
	defer w.holdings.claiming()()
	if w.config.CallerMax <= 0 {
		return w.store.ClaimBatches(ctx, w.id.Load(), batches)
	}
	return w.store.ClaimBatchesUpTo(ctx, w.id.Load(), batches, w.config.CallerMax)
}

// free says that a request ended.
func (w *Worker) free() {
	select {
	case w.freed <- struct{}{}:
	default: // one word is enough
	}
}

// runHeld takes what is held of callers who are below their limit, until ctx
// ends. Ends that come while it asks Postgres are answered together by the next
// question.
func (w *Worker) runHeld(ctx context.Context) {
	if w.config.CallerMax <= 0 {
		return
	}
	tick := time.NewTicker(heldInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.freed:
		case <-tick.C:
		}
		if err := w.claimHeld(ctx); err != nil && !errors.Is(err, store.ErrUnavailable) && ctx.Err() == nil {
			w.log.Warn("cannot claim what is held", "error", err)
		}
	}
}

func (w *Worker) claimHeld(ctx context.Context) error {
	for ctx.Err() == nil {
		room := w.config.Concurrency*w.config.BatchMax - w.holdings.count()
		if room <= 0 {
			return nil
		}
		answered := w.holdings.claiming()
		claimed, err := w.store.ClaimParked(ctx, w.id.Load(), w.config.CallerMax, min(room, w.config.BatchMax))
		answered()
		if err != nil || len(claimed) == 0 {
			return err
		}
		changed := make([]int64, len(claimed))
		for i, c := range claimed {
			changed[i] = c.ID
		}
		w.changes.Add(changed...)
		w.handlers.Go(func() { w.tryAll(w.crowd, claimed) }) //nolint:contextcheck // a try outlives the asking for work
	}
	return nil
}
