package leader

import (
	"context"
	"time"
)

// LeadWithoutElection performs the duties as if this process led, whoever leads.
func (l *Leader) LeadWithoutElection(ctx context.Context) {
	duties := newDutyList(dutyTable, l.base)
	for ctx.Err() == nil {
		duties.round(ctx, time.Now())
	}
}
