package leader

import (
	"context"
	"errors"
	"time"

	"github.com/leomutto/pilot-in-a-box/store"
)

const (
	projectStep  = 500 // most events in one transaction
	projectShare = 4   // the projection may use 1/projectShare of an interval

	// While the trail grows by more than busyEvents a second, the projection uses
	// 1/busyShare of an interval instead, for at most giveWayFor: it gives way to
	// a peak, and does not fall behind a steady load. Three events are about one
	// request.
	busyEvents = 3000
	busyShare  = 20
	giveWayFor = time.Minute
)

// projectDuty makes the readings follow the audit trail, up to the event below
// which every transaction has ended. Submissions and workers do not wait for it.
type projectDuty struct {
	dutyBase
	trail    settledTrail
	position int64 // the readings follow the trail up to this event
	known    bool  // position was read in this leadership

	counted   int64     // settled event of the round before
	countedAt time.Time // when that was
	busySince time.Time // zero: not busy
}

func newProjectDuty(b dutyBase) Duty {
	return &projectDuty{dutyBase: b, trail: settledTrail{store: b.store}}
}

// Perform follows the trail step by step until its share of the interval is
// used up.
func (d *projectDuty) Perform(ctx context.Context, now time.Time) error {
	if err := d.trail.advance(ctx, now); err != nil {
		return err
	}
	if !d.known {
		position, err := d.store.ReadingsPosition(ctx)
		if err != nil {
			return err
		}
		d.position, d.known = position, true
	}
	share := d.share(now)
	for begun := time.Now(); d.position < d.trail.settled; {
		step, err := d.store.FollowTrail(ctx, d.position, d.trail.settled, projectStep, d.config.Recommend)
		if errors.Is(err, store.ErrConflict) { // an earlier leader has just moved it
			d.known = false
			return nil
		}
		if err != nil {
			return err
		}
		d.position = step.Upto
		if len(step.Skipped) > 0 {
			d.log.Warn("requests that ended done have no reading, because this version cannot read their payload, or their window is outside of the years 1970 to 9998", "requests", step.Skipped)
		}
		if time.Since(begun) >= share {
			return nil
		}
	}
	return nil
}

// share returns the time that this round's projection may use.
func (d *projectDuty) share(now time.Time) time.Duration {
	grown, elapsed := d.trail.settled-d.counted, now.Sub(d.countedAt)
	first := d.countedAt.IsZero()
	d.counted, d.countedAt = d.trail.settled, now
	if first || float64(grown) < busyEvents*elapsed.Seconds() {
		d.busySince = time.Time{}
	} else if d.busySince.IsZero() {
		d.busySince = now
	}
	if !d.busySince.IsZero() && now.Sub(d.busySince) < giveWayFor {
		return d.config.Interval / busyShare
	}
	return d.config.Interval / projectShare
}
