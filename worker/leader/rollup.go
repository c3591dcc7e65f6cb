package leader

import (
	"context"
	"time"
)

// rollUpShare is the part of an interval that rolling up may use, 1/rollUpShare.
const rollUpShare = 4

// rollUpDuty computes the rollups again whose readings have changed.
type rollUpDuty struct{ dutyBase }

func newRollUpDuty(b dutyBase) Duty { return &rollUpDuty{b} }

// Perform rolls up step by step until nothing is dirty or its share of the
// interval is used up.
func (d *rollUpDuty) Perform(ctx context.Context, _ time.Time) error {
	for begun := time.Now(); time.Since(begun) < d.config.Interval/rollUpShare; {
		hours, err := d.store.RollUp(ctx)
		if err != nil || hours == 0 {
			return err
		}
	}
	return nil
}
