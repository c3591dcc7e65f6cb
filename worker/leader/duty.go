package leader

import (
	"context"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/store"
)

// Duty is one task of the leader. A Duty lives as long as one leadership, so its
// state starts empty, and its methods are never called concurrently.
type Duty interface {
	// Perform does a piece of the duty's work and returns soon, because the
	// other duties wait for it. The next call continues with the rest. The time
	// is the start of the round.
	Perform(ctx context.Context, now time.Time) error
}

// dutyEntry registers a duty.
type dutyEntry struct {
	name  string              // names the duty in the log
	every time.Duration       // pause after a successful run; everyRound: none
	start func(dutyBase) Duty // makes the duty when a leadership begins
}

// everyRound is the interval of a duty that runs once per Config.Interval.
const everyRound time.Duration = 0

// dutyTable lists all duties in the order in which a round runs them.
var dutyTable = []dutyEntry{
	{"rescue", everyRound, newRescueDuty},
	{"redeliver", everyRound, newRedeliverDuty},
	{"unstick", everyRound, newUnstickDuty},
	{"tidy", everyRound, newTidyDuty},
	{"publish", everyRound, newPublishDuty},
	{"retain", everyRound, newRetainDuty},
	{"callbacks", everyRound, newCallbacksDuty},
	{"seal", everyRound, newSealDuty},
	{"project", everyRound, newProjectDuty},
	{"recommend", everyRound, newRecommendDuty},
	{"roll up", everyRound, newRollUpDuty},
	{"forget", forgetEvery, newForgetDuty},
	{"inspect", inspectEvery, newInspectDuty},
}

const (
	// dutyTimeout bounds one run of a duty, so that a frozen Redis does not keep
	// the leader from its other duties.
	dutyTimeout = 3 * time.Second

	// enqueueTimeout bounds one enqueue; a later round repeats it.
	enqueueTimeout = 5 * time.Second
)

// dutyBase is embedded by every duty: the connections, settings and logger that it
// works with.
type dutyBase struct {
	store    *store.Store
	redis    redis.UniversalClient
	enqueuer *queue.Enqueuer
	config   Config
	log      *slog.Logger // names the duty
}

// enqueue puts batches into their queues. It stops at the first failure.
func (b *dutyBase) enqueue(ctx context.Context, list []jobs.Batch) error {
	for _, batch := range list {
		bounded, cancel := context.WithTimeout(ctx, enqueueTimeout)
		err := b.enqueuer.Enqueue(bounded, batch)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// dutyList holds the duties of one leadership.
type dutyList []*scheduledDuty

type scheduledDuty struct {
	Duty
	every time.Duration
	next  time.Time // when the duty is due again; zero: in every round
	log   *slog.Logger
}

func newDutyList(table []dutyEntry, b dutyBase) dutyList {
	list := make(dutyList, len(table))
	log := b.log
	for i, e := range table {
		b.log = log.With("duty", e.name)
		list[i] = &scheduledDuty{Duty: e.start(b), every: e.every, log: b.log}
	}
	return list
}

// round runs the duties that are due, one after the other. The duties are
// independent: while Redis is away, silent workers are still found.
func (l dutyList) round(ctx context.Context, now time.Time) {
	for _, d := range l {
		if err := d.run(ctx, now); err != nil && ctx.Err() == nil {
			d.log.Warn("duty failed; the next round repeats it", "error", err)
		}
	}
}

// run performs the duty if it is due. A duty that failed remains due.
func (d *scheduledDuty) run(ctx context.Context, now time.Time) error {
	if now.Before(d.next) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, dutyTimeout)
	defer cancel()
	if err := d.Perform(ctx, now); err != nil {
		return err
	}
	if d.every > everyRound {
		d.next = now.Add(d.every)
	}
	return nil
}
