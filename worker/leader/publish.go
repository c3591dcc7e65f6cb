package leader

import (
	"context"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs/queue"
)

// publishDuty lists the queues in Redis, so that Asynqmon shows them also after
// a loss of Redis.
type publishDuty struct{ dutyBase }

func newPublishDuty(b dutyBase) Duty { return &publishDuty{b} }

// Perform lists all queues.
func (d *publishDuty) Perform(ctx context.Context, _ time.Time) error {
	return queue.PublishQueues(ctx, d.redis)
}
