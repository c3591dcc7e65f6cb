package leader

import (
	"context"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs/queue"
)

// unstickDuty finds deliveries that a worker took from the queue and never
// claimed: the worker died in between, or Asynq lost the lease and will keep the
// task active forever. Their requests move to new batches.
type unstickDuty struct {
	dutyBase
	unclaimed map[int64]time.Time // since when a batch has been active without a claim
}

func newUnstickDuty(b dutyBase) Duty { return &unstickDuty{dutyBase: b} }

// Perform moves the requests of all batches that have been active and unclaimed
// for as long as a worker may be silent.
func (d *unstickDuty) Perform(ctx context.Context, now time.Time) error {
	active, err := queue.ActiveBatches(ctx, d.redis)
	if err != nil {
		return err
	}
	if len(active) > 0 {
		if active, err = d.store.PendingBatches(ctx, active); err != nil {
			return err
		}
	}
	unclaimed := make(map[int64]time.Time, len(active))
	var overdue []int64
	for _, id := range active {
		first, known := d.unclaimed[id]
		if !known {
			first = now
		}
		unclaimed[id] = first
		if now.Sub(first) >= d.config.SilentAfter {
			overdue = append(overdue, id)
		}
	}
	d.unclaimed = unclaimed
	if len(overdue) == 0 {
		return nil
	}
	list, err := d.store.RequeueBatches(ctx, overdue)
	if err != nil {
		return err
	}
	d.log.Warn("replaced batches that were delivered but not claimed", "batches", overdue)
	return d.enqueue(ctx, list)
}
