package leader

import (
	"context"
	"fmt"
	"time"

	"github.com/leomutto/pilot-in-a-box/store"
)

const (
	retainStep     = 1000                   // most rows examined in one statement
	retainStepMin  = 10                     // lower bound of retainStep while Postgres is slow
	retainSlow     = 200 * time.Millisecond // a statement that takes longer makes the next one smaller
	retainShare    = 10                     // retention may use 1/retainShare of the time
	retainPauseMax = time.Minute            // longest pause between two walks over the table
	retainTimeout  = 2 * time.Second        // of one statement, because the other duties wait for it
)

// retainDuty removes requests that have been final for longer than the
// retention. It walks over them from the oldest on, and pauses once it has
// reached one that is to be kept.
type retainDuty struct {
	dutyBase
	next        store.Position // after the last row examined
	pausedUntil time.Time      // zero: not paused
	step        int            // rows of the next statement
	removed     int            // requests, in this walk
}

func newRetainDuty(b dutyBase) Duty { return &retainDuty{dutyBase: b, step: retainStep} }

// Perform removes step by step until its share of the interval is used up.
func (d *retainDuty) Perform(ctx context.Context, now time.Time) error {
	age := d.config.Retention
	if age <= 0 || now.Before(d.pausedUntil) {
		return nil
	}
	for begun := time.Now(); time.Since(begun) < d.config.Interval/retainShare; {
		did, took, err := d.removeStep(ctx, age)
		switch {
		case took > retainSlow:
			d.step = max(d.step/2, retainStepMin)
		case err == nil:
			d.step = min(2*d.step, retainStep)
		}
		if err != nil {
			return err
		}
		d.removed += did.Removed
		if d.next = did.Next; d.next.ID == 0 {
			if d.removed > 0 {
				d.log.Info("old requests removed", "count", d.removed, "retention", age)
			}
			d.removed, d.pausedUntil = 0, now.Add(min(age/retainShare, retainPauseMax))
			return nil
		}
	}
	return nil
}

func (d *retainDuty) removeStep(ctx context.Context, age time.Duration) (did store.Retained, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, retainTimeout)
	defer cancel()
	begun := time.Now()
	did, err = d.store.RetainRequests(ctx, age, d.next, d.step)
	took = time.Since(begun)
	if err != nil {
		return did, took, fmt.Errorf("remove old requests, %d rows at once: %w", d.step, err)
	}
	d.log.Debug("examined old requests", "rows", d.step, "removed", did.Removed, "duration", took)
	return did, took, nil
}
