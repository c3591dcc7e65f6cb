package leader

import (
	"context"
	"errors"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// rescueDuty takes the requests of workers that fell silent, moves them to new
// batches and enqueues those for other workers.
type rescueDuty struct {
	dutyBase
	seen map[int64]lastBeat // by worker id
}

// lastBeat is the latest heartbeat of a worker, and when it was first seen.
type lastBeat struct {
	beat  int64
	since time.Time
}

func newRescueDuty(b dutyBase) Duty {
	return &rescueDuty{dutyBase: b, seen: map[int64]lastBeat{}}
}

// Perform rescues from each worker whose heartbeat has not changed for
// SilentAfter. Time in which Postgres could not record heartbeats does not count.
func (d *rescueDuty) Perform(ctx context.Context, now time.Time) error {
	workers, err := d.store.Workers(ctx)
	if err != nil {
		d.seen = map[int64]lastBeat{} // no worker can beat while Postgres is away: start over
		return err
	}
	seen := make(map[int64]lastBeat, len(workers))
	var errs []error
	for _, w := range workers {
		last, known := d.seen[w.ID]
		if !known || last.beat != w.Beat {
			last = lastBeat{beat: w.Beat, since: now}
		}
		seen[w.ID] = last
		if now.Sub(last.since) < d.config.SilentAfter {
			continue
		}
		d.log.Warn("a worker fell silent", "worker", w.ID, "host", w.Host, "pid", w.PID, "silent_for", now.Sub(last.since))
		if err := d.rescue(ctx, w.ID); err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, d.store.RemoveWorker(ctx, w.Identity()))
	}
	d.seen = seen

	// A claim of a worker may commit after the worker was removed.
	strays, err := d.store.StrayHolders(ctx)
	errs = append(errs, err)
	for _, id := range strays {
		errs = append(errs, d.rescue(ctx, id))
	}
	return errors.Join(errs...)
}

func (d *rescueDuty) rescue(ctx context.Context, worker int64) error {
	limits := store.RescueLimits{Step: d.config.Step, BatchSize: d.config.BatchMax, MaxRescues: d.config.MaxRescues}
	for more := true; more; {
		var list []jobs.Batch
		var err error
		if list, more, err = d.store.RescueRequests(ctx, worker, limits); err != nil {
			return err
		}
		for _, b := range list {
			d.log.Info("requests rescued", "worker", worker, "batch", b.ID, "requests", len(b.Requests))
		}
		if err := d.enqueue(ctx, list); err != nil {
			return err
		}
	}
	return nil
}
