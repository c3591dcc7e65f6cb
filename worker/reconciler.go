package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// ReconcileConfig tunes the reconciler. Every field but Retention must be set.
type ReconcileConfig struct {
	Interval    time.Duration // between two looks
	Grace       time.Duration // how old a batch must be before a missing task counts
	SilentAfter time.Duration // how long a worker may go without a sign of life
	Step        int           // batches a look
	MaxRescues  int           // of one request, before it is taken for what kills its workers
	Retention   time.Duration // how long final requests are kept; 0 for ever
}

// reconcile stands for leader until ctx ends, and does the leader's work while
// it is the leader. Of all workers one leads.
func (w *Worker) reconcile(ctx context.Context) {
	tick := time.NewTicker(w.config.Reconcile.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		lead, err := w.store.TryLead(ctx)
		if err != nil {
			if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrUnavailable) && ctx.Err() == nil {
				w.log.Warn("cannot stand for leader", "error", err)
			}
			continue
		}
		w.log.Info("leads the reconciliation", "worker", w.id.Load())
		r := &reconciler{
			store: w.store, redis: w.redis, enqueuer: w.enqueuer, config: w.config.Reconcile, batchMax: w.config.BatchMax,
			holds: w.config.CallerMax > 0, log: w.log,
			seen: map[int64]sighting{}, stuck: map[int64]time.Time{}, takenNow: map[jobs.DeliveryRef]time.Time{},
		}
		err = r.lead(ctx, lead, tick.C)
		resignCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), beatTimeout)
		if rerr := lead.Resign(resignCtx); rerr != nil && err == nil {
			err = rerr
		}
		cancel()
		if err != nil && ctx.Err() == nil {
			w.log.Warn("lost the lead", "error", err)
		}
	}
}

// reconciler brings Redis and the workers' claims back in line with the rows. It
// trusts no clock but its own monotonic one: what is old, silent or stuck is so
// because it was watched for long enough.
type reconciler struct {
	store    *store.Store
	redis    redis.UniversalClient
	enqueuer *jobs.Enqueuer
	config   ReconcileConfig
	batchMax int
	holds    bool // callers have a limit, and what is held waits for it and not for a task
	log      *slog.Logger

	seen   map[int64]sighting  // workers, by id
	stuck  map[int64]time.Time // batches that are active and yet unclaimed, since when
	marks  []mark              // newest last
	cursor int64               // the last batch looked at

	retained retention
	due      store.DueDelivery // the last callback looked at

	// Tries of callbacks that are due and yet taken, since when: as the last whole
	// walk found them, and as this one does.
	taken, takenNow map[jobs.DeliveryRef]time.Time
	sealed          sealing
}

// sighting is the latest beat of a worker, and when it was first seen.
type sighting struct {
	beat  int64
	since time.Time
}

// mark is the newest batch there was at a time.
type mark struct {
	batch int64
	at    time.Time
}

// lead looks at every tick until ctx ends or the leadership is lost.
func (r *reconciler) lead(ctx context.Context, lead *store.Leadership, tick <-chan time.Time) error {
	ctx, lose := context.WithCancelCause(ctx)
	var keeper sync.WaitGroup
	defer keeper.Wait()
	defer lose(nil)
	// Beside the looks, because a look at a frozen Redis takes longer than a
	// leader may be silent.
	keeper.Go(func() { keep(ctx, lead, lose) })
	for {
		if err := r.look(ctx, time.Now()); err != nil && ctx.Err() == nil {
			r.log.Warn("reconciliation is incomplete", "error", err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick:
		}
	}
}

// keep shows Postgres that the leader lives, and calls lose when it does not
// lead anymore.
func keep(ctx context.Context, lead *store.Leadership, lose context.CancelCauseFunc) {
	tick := time.NewTicker(keepInterval)
	defer tick.Stop()
	for {
		if err := lead.Check(ctx); err != nil {
			lose(err)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

const (
	keepInterval = time.Second     // well below the silence after which a leader loses the lead
	dutyTimeout  = 3 * time.Second // so that a frozen Redis does not keep the leader from its other duties
)

// look does one round. The duties are independent: with Redis away, silent
// workers are still found.
func (r *reconciler) look(ctx context.Context, now time.Time) error {
	var errs []error
	for _, duty := range []func(context.Context, time.Time) error{
		r.rescueSilent, r.walk, r.unstick, r.tidy, r.publishQueues, r.retain, r.deliverAgain, r.seal,
	} {
		bounded, cancel := context.WithTimeout(ctx, dutyTimeout)
		errs = append(errs, duty(bounded, now))
		cancel()
	}
	return errors.Join(errs...)
}

func (r *reconciler) publishQueues(ctx context.Context, _ time.Time) error {
	return jobs.PublishQueues(ctx, r.redis)
}

// rescueSilent takes the requests of workers whose beat has not changed for
// SilentAfter, while Postgres was there to note it, and gives them to others.
func (r *reconciler) rescueSilent(ctx context.Context, now time.Time) error {
	workers, err := r.store.Workers(ctx)
	if err != nil {
		r.seen = map[int64]sighting{} // nobody can beat while Postgres is away: watch anew
		return err
	}
	seen := make(map[int64]sighting, len(workers))
	var errs []error
	for _, w := range workers {
		s, known := r.seen[w.ID]
		if !known || s.beat != w.Beat {
			s = sighting{beat: w.Beat, since: now}
		}
		seen[w.ID] = s
		if now.Sub(s.since) < r.config.SilentAfter {
			continue
		}
		r.log.Warn("a worker fell silent", "worker", w.ID, "host", w.Host, "pid", w.PID, "silent_for", now.Sub(s.since))
		if err := r.rescue(ctx, w.ID); err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, r.store.RemoveWorker(ctx, w.ID))
	}
	r.seen = seen

	// A claim of a worker may commit after the worker was removed.
	strays, err := r.store.StrayHolders(ctx)
	errs = append(errs, err)
	for _, id := range strays {
		errs = append(errs, r.rescue(ctx, id))
	}
	return errors.Join(errs...)
}

func (r *reconciler) rescue(ctx context.Context, worker int64) error {
	limits := store.RescueLimits{Step: r.config.Step, BatchSize: r.batchMax, MaxRescues: r.config.MaxRescues}
	for more := true; more; {
		var list []jobs.Batch
		var err error
		if list, more, err = r.store.RescueRequests(ctx, worker, limits); err != nil {
			return err
		}
		for _, b := range list {
			r.log.Info("requests rescued", "worker", worker, "batch", b.ID, "requests", len(b.Requests))
		}
		if err := r.enqueue(ctx, list); err != nil {
			return err
		}
	}
	return nil
}

// walk looks at the next step of open batches and enqueues those without a live
// task. When most of a step was missing, as after a loss of Redis, it goes
// straight on to the next, for an interval at a time; otherwise the next look does.
func (r *reconciler) walk(ctx context.Context, now time.Time) error {
	newest, err := r.store.BatchWatermark(ctx)
	if err != nil {
		return err
	}
	upTo := r.mark(now, newest)
	for {
		refs, err := r.store.OpenBatches(ctx, r.cursor, upTo, r.config.Step)
		if err != nil {
			return err
		}
		if len(refs) == 0 {
			r.cursor = 0
			return nil
		}
		missing, err := jobs.WithoutTask(ctx, r.redis, refs)
		if err != nil {
			return err
		}
		if err := r.redeliver(ctx, missing); err != nil {
			return err
		}
		r.cursor = refs[len(refs)-1].ID
		if 2*len(missing) < len(refs) || time.Since(now) >= r.config.Interval {
			return nil
		}
	}
}

// redeliver enqueues batches whose tasks are gone.
func (r *reconciler) redeliver(ctx context.Context, missing []jobs.BatchRef) error {
	if len(missing) == 0 {
		return nil
	}
	ids := make([]int64, len(missing))
	for i, ref := range missing {
		ids[i] = ref.ID
	}
	list, err := r.store.LoadBatches(ctx, ids)
	if err != nil {
		return err
	}
	if len(list) > 0 { // the others were claimed since
		r.log.Info("batches without a task enqueued again", "batches", len(list), "first", list[0].ID, "last", list[len(list)-1].ID)
	}
	return r.enqueue(ctx, list)
}

// mark notes the newest batch and returns the newest one that is older than the
// grace period.
func (r *reconciler) mark(now time.Time, newest int64) int64 {
	r.marks = append(r.marks, mark{batch: newest, at: now})
	old := 0
	for old < len(r.marks) && now.Sub(r.marks[old].at) >= r.config.Grace {
		old++
	}
	if old == 0 {
		return 0
	}
	r.marks = r.marks[old-1:]
	return r.marks[0].batch
}

// unstick finds deliveries that a worker took and never claimed: it died in
// between, or Asynq lost the lease and will hold the task active for ever. Their
// requests move to new batches.
func (r *reconciler) unstick(ctx context.Context, now time.Time) error {
	active, err := jobs.ActiveBatches(ctx, r.redis)
	if err != nil {
		return err
	}
	if len(active) > 0 {
		if active, err = r.store.PendingBatches(ctx, active); err != nil {
			return err
		}
	}
	since := make(map[int64]time.Time, len(active))
	var overdue []int64
	for _, id := range active {
		first, known := r.stuck[id]
		if !known {
			first = now
		}
		since[id] = first
		if now.Sub(first) >= r.config.SilentAfter {
			overdue = append(overdue, id)
		}
	}
	r.stuck = since
	if len(overdue) == 0 {
		return nil
	}
	list, err := r.store.RequeueBatches(ctx, overdue)
	if err != nil {
		return err
	}
	r.log.Warn("deliveries that nobody claimed are made anew", "batches", overdue)
	return r.enqueue(ctx, list)
}

// tidy fails requests whose time is over, forgets idempotency keys that are past
// theirs, and lets go of what a former limit held, a step a look.
func (r *reconciler) tidy(ctx context.Context, _ time.Time) error {
	late, err := r.store.ExpireRequests(ctx, r.config.Step)
	if len(late) > 0 {
		r.log.Info("requests expired", "count", len(late), "first", late[0])
	}
	_, kerr := r.store.RemoveExpiredKeys(ctx, r.config.Step)
	var herr error
	if !r.holds {
		_, herr = r.store.Unpark(ctx, r.config.Step)
	}
	return errors.Join(err, kerr, herr)
}

func (r *reconciler) enqueue(ctx context.Context, list []jobs.Batch) error {
	for _, b := range list {
		bounded, cancel := context.WithTimeout(ctx, enqueueTimeout)
		err := r.enqueuer.Enqueue(bounded, b)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}
