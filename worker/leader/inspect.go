package leader

import (
	"context"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs/queue"
)

// inspectEvery is how often the servers of Redis are inspected. A setting of a
// replica takes effect when the replica is promoted, and settings change at run
// time.
const inspectEvery = time.Minute

// inspectDuty reports servers of Redis that do not suit MASS, each time the
// report changes.
type inspectDuty struct {
	dutyBase

	reported string
}

func newInspectDuty(b dutyBase) Duty { return &inspectDuty{dutyBase: b} }

// Perform implements Duty.
func (d *inspectDuty) Perform(ctx context.Context, _ time.Time) error {
	nodes, err := queue.InspectNodes(ctx, d.redis)
	if err != nil {
		return err
	}
	d.reported = nodes.Report(d.log, d.reported)
	return nil
}
