package worker

import (
	"context"
	"errors"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// parkedInterval is how often a worker looks for parked requests when none of
// its own requests has ended, because a request of another worker may have
// ended.
const parkedInterval = time.Second

// claim claims batches whose payloads have up to the number of bytes together.
func (w *Worker) claim(ctx context.Context, batches []int64, bytes int64) (list []jobs.Claimed, more bool, err error) {
	claim := w.running.beginClaim()
	defer w.running.endClaim(claim)
	if w.config.CallerMax <= 0 {
		return w.store.ClaimBatches(ctx, *w.me.Load(), batches, bytes)
	}
	return w.store.ClaimBatchesUpTo(ctx, *w.me.Load(), batches, w.config.CallerMax, bytes)
}

// wakeParked tells runParked that a request ended, so that a parked one may
// start.
func (w *Worker) wakeParked() {
	select {
	case w.ended <- struct{}{}:
	default: // runParked will look anyway
	}
}

// runParked claims and attempts parked requests of callers below their limit,
// until ctx ends. Requests that end while it queries Postgres are covered
// together by the next query.
func (w *Worker) runParked(ctx context.Context) {
	if w.config.CallerMax <= 0 {
		return
	}
	tick := time.NewTicker(parkedInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.ended:
		case <-tick.C:
		}
		if err := w.claimParked(ctx); err != nil && !errors.Is(err, store.ErrUnavailable) && ctx.Err() == nil {
			w.log.Warn("cannot claim parked requests", "error", err)
		}
	}
}

// claimParked claims parked requests until there are none to claim, or this
// worker runs as many requests as its settings allow.
func (w *Worker) claimParked(ctx context.Context) error {
	for ctx.Err() == nil {
		room := w.config.Concurrency*w.config.BatchMax - w.running.count()
		if room <= 0 {
			return nil
		}
		bytes, err := w.room.take(ctx)
		if err != nil {
			return err
		}
		claim := w.running.beginClaim()
		claimed, err := w.store.ClaimParked(ctx, *w.me.Load(), w.config.CallerMax, min(room, w.config.BatchMax), bytes)
		w.running.endClaim(claim)
		w.room.give(bytes - payloadBytes(claimed))
		if err != nil || len(claimed) == 0 {
			return err
		}
		changed := make([]int64, len(claimed))
		for i, c := range claimed {
			changed[i] = c.ID
		}
		w.changes.Add(changed...)
		w.background.Go(func() { w.attemptPart(w.overflow, claimed) }) //nolint:contextcheck // an attempt outlives the search for work
	}
	return nil
}
