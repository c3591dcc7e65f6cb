package leader

import (
	"context"
	"errors"
	"time"
)

// tidyDuty fails requests that have expired, removes idempotency keys that have
// expired, and releases parked requests when callers have no limit anymore.
type tidyDuty struct{ dutyBase }

func newTidyDuty(b dutyBase) Duty { return &tidyDuty{b} }

// Perform does one step of each.
func (d *tidyDuty) Perform(ctx context.Context, _ time.Time) error {
	expired, err := d.store.ExpireRequests(ctx, d.config.Step)
	if len(expired) > 0 {
		d.log.Info("requests expired", "count", len(expired), "first", expired[0])
	}
	_, keysErr := d.store.RemoveExpiredKeys(ctx, d.config.Step)
	var parkedErr error
	if d.config.CallerMax <= 0 {
		_, parkedErr = d.store.Unpark(ctx, d.config.Step)
	}
	return errors.Join(err, keysErr, parkedErr)
}
