package leader

import (
	"context"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/store"
)

// recommendDuty enqueues recommendations that are due and have no task, which
// projectDuty has made or whose task is lost, and ends those that nobody needs
// anymore or whose time is over. Without BioCore it does nothing.
type recommendDuty struct {
	dutyBase
	last  store.DueRecommendation // the last recommendation examined
	taken takenWatch[jobs.RecommendationRef]
}

func newRecommendDuty(b dutyBase) Duty { return &recommendDuty{dutyBase: b} }

// Perform ends what is to be ended, and examines the next step of due
// recommendations, and further steps under the same condition as redeliverDuty.
func (d *recommendDuty) Perform(ctx context.Context, now time.Time) error {
	if !d.config.Recommend.On() {
		return nil
	}
	if _, err := d.store.SkipRecommendations(ctx, d.config.Step); err != nil {
		return err
	}
	expired, err := d.store.ExpireRecommendations(ctx, d.config.Step)
	if expired > 0 {
		d.log.Warn("BioCore did not answer in time; the requests have no recommendations", "recommendations", expired)
	}
	if err != nil {
		return err
	}
	for {
		due, err := d.store.DueRecommendations(ctx, d.last, d.config.Step)
		if err != nil {
			return err
		}
		if len(due) == 0 {
			d.last = store.DueRecommendation{}
			d.taken.walked()
			return nil
		}
		refs := make([]jobs.RecommendationRef, len(due))
		for i, one := range due {
			refs[i] = one.RecommendationRef
		}
		missing, taken, err := queue.RecommendationsWithoutTask(ctx, d.redis, refs)
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

func (d *recommendDuty) redeliver(ctx context.Context, missing []jobs.RecommendationRef) error {
	for _, ref := range missing {
		bounded, cancel := context.WithTimeout(ctx, enqueueTimeout)
		err := d.enqueuer.EnqueueRecommendation(bounded, ref)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}
