package leader

import (
	"context"
	"time"
)

// forgetEvery is how often readings are looked through for months that have
// passed the retention of readings.
const forgetEvery = time.Minute

// forgetDuty removes the readings of whole months once the newest of them could
// be older than the retention of readings.
type forgetDuty struct{ dutyBase }

func newForgetDuty(b dutyBase) Duty { return &forgetDuty{b} }

// Perform removes at most one month, so that other duties do not wait for long.
func (d *forgetDuty) Perform(ctx context.Context, now time.Time) error {
	if d.config.ReadingsRetention <= 0 {
		return nil
	}
	month, removed, err := d.store.ForgetReadings(ctx, now.Add(-d.config.ReadingsRetention))
	if err == nil && !month.IsZero() {
		d.log.Info("old readings removed", "month", month.Format("2006-01"), "count", removed, "retention", d.config.ReadingsRetention)
	}
	return err
}
