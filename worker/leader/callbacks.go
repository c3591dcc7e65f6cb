package leader

import (
	"context"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/store"
)

// callbacksDuty enqueues callbacks that are due and have no task: Redis lost
// the task, or a worker died before it enqueued the callback or during an
// attempt.
type callbacksDuty struct {
	dutyBase
	last  store.DueDelivery // the last callback examined
	taken takenWatch[jobs.DeliveryRef]
}

func newCallbacksDuty(b dutyBase) Duty { return &callbacksDuty{dutyBase: b} }

// Perform examines the next step of due callbacks, and further steps under the
// same condition as redeliverDuty.
func (d *callbacksDuty) Perform(ctx context.Context, now time.Time) error {
	for {
		due, err := d.store.DueDeliveries(ctx, d.last, d.config.Grace, d.config.Step)
		if err != nil {
			return err
		}
		if len(due) == 0 {
			d.last = store.DueDelivery{}
			d.taken.walked()
			return nil
		}
		refs := make([]jobs.DeliveryRef, len(due))
		for i, one := range due {
			refs[i] = one.DeliveryRef
		}
		missing, taken, err := queue.DeliveriesWithoutTask(ctx, d.redis, refs)
		if err != nil {
			return err
		}
		for _, ref := range d.taken.overdue(taken, now, d.config.SilentAfter) {
			ref.Again = int(now.Unix())
			missing = append(missing, ref)
		}
		if err := d.redeliver(ctx, missing); err != nil {
			return err
		}
		d.last = due[len(due)-1]
		if 2*len(missing) < len(due) || time.Since(now) >= d.config.Interval {
			return nil
		}
	}
}

func (d *callbacksDuty) redeliver(ctx context.Context, missing []jobs.DeliveryRef) error {
	if len(missing) > 0 {
		d.log.Info("enqueued callbacks that had no task", "deliveries", len(missing), "first", missing[0].ID)
	}
	for _, ref := range missing {
		bounded, cancel := context.WithTimeout(ctx, enqueueTimeout)
		err := d.enqueuer.EnqueueDelivery(bounded, ref)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// takenWatch knows attempts that are due although a worker took them, and the
// time since which they have been: as the last complete walk found them, and as
// the present walk finds them.
type takenWatch[R comparable] struct{ before, present map[R]time.Time }

// walked notes that the walk over all due attempts is complete.
func (w *takenWatch[R]) walked() { w.before, w.present = w.present, nil }

// overdue returns the attempts that have been due, and taken by a worker that
// does not begin them, for as long as a worker may be silent. Each gets another
// task; if two workers begin the same attempt, Postgres lets one of them go on.
func (w *takenWatch[R]) overdue(taken []R, now time.Time, silentAfter time.Duration) []R {
	if w.present == nil {
		w.present = map[R]time.Time{}
	}
	var list []R
	for _, ref := range taken {
		first, known := w.before[ref]
		if !known {
			first = now
		}
		if w.present[ref] = first; now.Sub(first) < silentAfter {
			continue
		}
		w.present[ref] = now
		list = append(list, ref)
	}
	return list
}
