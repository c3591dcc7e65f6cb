// Package leader does the work that one worker process does on behalf of all of
// them: it repairs the losses that can happen while a request is processed,
// cleans up, and seals the audit trail. It owns the election of the leader and
// the leader's duties.
//
// Each duty is one type in one file, and one entry in dutyTable. A duty trusts
// no clock except this process's own monotonic one: a batch counts as old, a
// worker as silent or a delivery as stuck once the leader has watched it for
// long enough.
//
// The package must not know how a request is processed: package worker, which
// runs the Leader, does that.
package leader

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/store"
)

// Config tunes a Leader. All fields but CallerMax, Recommend and the
// retentions must be set.
type Config struct {
	Interval          time.Duration // from the start of one round of duties to the next
	Grace             time.Duration // age of a batch from which a missing task counts
	SilentAfter       time.Duration // a worker silent for this long is presumed dead
	Step              int           // rows or batches that a duty handles in one statement
	MaxRescues        int           // rescues of one request before it fails
	Retention         time.Duration // how long final requests are kept; 0: forever
	ReadingsRetention time.Duration // how long readings are kept; 0: forever
	BatchMax          int           // most requests in a batch made by a rescue
	CallerMax         int           // running requests allowed per caller; 0: no limit
	Recommend         store.RecommendPolicy
}

// Leader is a candidate for the leadership, and performs the leader's duties
// while it holds it. Make it with New and run it once with Run.
type Leader struct {
	base dutyBase // of the duties; each adds its name to the logger
}

// New returns a Leader on shared connections, which the caller closes after
// Run.
func New(st *store.Store, rdb redis.UniversalClient, enq *queue.Enqueuer, c Config, log *slog.Logger) *Leader {
	return &Leader{base: dutyBase{store: st, redis: rdb, enqueuer: enq, config: c, log: log}}
}

const (
	keepInterval  = time.Second     // well below the silence that costs a leader the leadership
	resignTimeout = 3 * time.Second // bounds resigning when Postgres does not answer
)

// Run is a candidate for the leadership until ctx ends, and performs the duties
// whenever this process is the leader. The log names the process by its worker
// id, which may change while Run is under way.
func (l *Leader) Run(ctx context.Context, worker *atomic.Pointer[store.WorkerIdentity]) {
	tick := time.NewTicker(l.base.config.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		leadership, err := l.base.store.TryLead(ctx, *worker.Load())
		if err != nil {
			if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrUnavailable) && ctx.Err() == nil {
				l.base.log.Warn("leader election failed", "worker", worker.Load().ID, "error", err)
			}
			continue
		}
		l.base.log.Info("became leader", "worker", worker.Load().ID)
		err = l.lead(ctx, leadership, tick.C)
		if rerr := resign(ctx, leadership); err == nil {
			err = rerr
		}
		if err != nil && ctx.Err() == nil {
			l.base.log.Warn("lost the leadership", "worker", worker.Load().ID, "error", err)
		}
	}
}

func resign(ctx context.Context, leadership *store.Leadership) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resignTimeout)
	defer cancel()
	return leadership.Resign(ctx)
}

// lead performs a round of duties at once and at every tick, until ctx ends or
// the leadership is lost. The duties start with empty state.
func (l *Leader) lead(ctx context.Context, leadership *store.Leadership, tick <-chan time.Time) error {
	ctx, lose := context.WithCancelCause(ctx)
	var keeper sync.WaitGroup
	defer keeper.Wait()
	defer lose(nil)
	// A goroutine of its own keeps the leadership, because a round on a frozen
	// Redis takes longer than a leader may be silent.
	keeper.Go(func() { keep(ctx, leadership, lose) })
	duties := newDutyList(dutyTable, l.base)
	for {
		duties.round(ctx, time.Now())
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick:
		}
	}
}

// keep shows Postgres that the leader is alive. It calls lose once this process
// is no longer the leader.
func keep(ctx context.Context, leadership *store.Leadership, lose context.CancelCauseFunc) {
	tick := time.NewTicker(keepInterval)
	defer tick.Stop()
	for {
		if err := leadership.Check(ctx); err != nil {
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
