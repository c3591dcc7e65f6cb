package leader

import (
	"context"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
)

// redeliverDuty finds batches with pending requests that have no task, because
// the enqueue failed or Redis lost the task, and enqueues them again. It walks
// the open batches by id, one step of them per statement.
type redeliverDuty struct {
	dutyBase
	marks  []watermark // newest last
	cursor int64       // the last batch examined
}

// watermark is the newest batch that existed at a point in time.
type watermark struct {
	batch int64
	at    time.Time
}

func newRedeliverDuty(b dutyBase) Duty { return &redeliverDuty{dutyBase: b} }

// Perform examines the next step of open batches. When at least half of a step
// had no task, as after a loss of Redis, it continues with the next step right
// away, for up to one interval; otherwise the next round does.
func (d *redeliverDuty) Perform(ctx context.Context, now time.Time) error {
	newest, err := d.store.BatchWatermark(ctx)
	if err != nil {
		return err
	}
	upTo := d.olderThanGrace(now, newest)
	for {
		refs, err := d.store.OpenBatches(ctx, d.cursor, upTo, d.config.Step)
		if err != nil {
			return err
		}
		if len(refs) == 0 {
			d.cursor = 0
			return nil
		}
		missing, err := queue.WithoutTask(ctx, d.redis, refs)
		if err != nil {
			return err
		}
		if err := d.redeliver(ctx, missing); err != nil {
			return err
		}
		d.cursor = refs[len(refs)-1].ID
		if 2*len(missing) < len(refs) || time.Since(now) >= d.config.Interval {
			return nil
		}
	}
}

func (d *redeliverDuty) redeliver(ctx context.Context, missing []jobs.BatchRef) error {
	if len(missing) == 0 {
		return nil
	}
	ids := make([]int64, len(missing))
	for i, ref := range missing {
		ids[i] = ref.ID
	}
	list, err := d.store.LoadBatches(ctx, ids)
	if err != nil {
		return err
	}
	if len(list) > 0 { // a batch that is not listed has been claimed since
		d.log.Info("enqueued batches that had no task", "batches", len(list), "first", list[0].ID, "last", list[len(list)-1].ID)
	}
	return d.enqueue(ctx, list)
}

// olderThanGrace records the newest batch of this round, and returns the newest
// batch that is known to be older than the grace period; 0 when there is none.
func (d *redeliverDuty) olderThanGrace(now time.Time, newest int64) int64 {
	d.marks = append(d.marks, watermark{batch: newest, at: now})
	old := 0
	for old < len(d.marks) && now.Sub(d.marks[old].at) >= d.config.Grace {
		old++
	}
	if old == 0 {
		return 0
	}
	d.marks = d.marks[old-1:]
	return d.marks[0].batch
}
