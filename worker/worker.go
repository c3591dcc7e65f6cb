// Package worker takes requests from the queue and processes them until they
// have an outcome. It owns the task servers, the attempts at requests, and the
// delivery of callbacks. Postgres decides everything; Redis only says what to
// look at. Package leader repairs what is lost on the way.
//
// The package must know neither HTTP nor what the pipeline does with a payload.
package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/internal/groupcommit"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/store"
	"github.com/leomutto/pilot-in-a-box/worker/leader"
)

// Pipeline turns payloads into results. In the product it is the value that
// pipeline.Default of package jobs/pipeline returns.
type Pipeline interface {
	// Run returns the result of a payload as a JSON object. If the payload was
	// in normal form, asSubmitted is true and the result leaves out its member
	// "normalized", which equals the payload. A payload.Faults error means that
	// the payload is invalid, so that another attempt cannot help. Any other
	// error justifies another attempt.
	Run(ctx context.Context, payload []byte) (result json.RawMessage, asSubmitted bool, err error)
}

// Config tunes a Worker. All fields but CallerMax, Webhooks and Recommend must be
// set.
type Config struct {
	Concurrency     int              // batches processed at once
	BatchMax        int              // most requests in a batch made by the worker itself
	PayloadBytes    int64            // most bytes of payloads that the worker holds at once; one larger payload is held alone
	Retry           jobs.RetryPolicy // of a request
	CallerMax       int              // running requests allowed per caller, on all workers together; 0: no limit
	RequestTimeout  time.Duration    // of one attempt at one request
	ShutdownTimeout time.Duration    // how long running requests may continue once Run has been asked to end
	PollInterval    time.Duration    // how often an idle worker looks at the queues when no doorbell rings
	Heartbeat       time.Duration    // between two heartbeats
	Leader          leader.Config
	Webhooks        WebhookConfig
	Recommend       RecommendConfig
	Version         string
}

// Worker is one worker process. Make it with New, run it once with Run.
type Worker struct {
	backends
	pipeline Pipeline
	config   Config

	me         *atomic.Pointer[store.WorkerIdentity] // changes when the worker returns after it was declared dead
	servers    []*taskServer                         // of batches, and of callbacks and recommendations if this worker cares for them
	adviser    *adviser                              // nil: this worker does not ask BioCore
	leader     *leader.Leader
	changes    *queue.Announcer
	running    *runningAttempts
	room       *payloadRoom
	regular    committers     // for lane 0
	overflow   committers     // for the other lanes, so that their groups do not delay lane 0
	ended      chan struct{}  // holds a value after a request ended, so that a parked one may start
	background sync.WaitGroup // work that belongs to no task

	work    context.Context // of the attempts; ends with errShutdown when they must be handed back
	abandon context.CancelCauseFunc
}

// backends are the connections of a worker. They are shared, and closed by the
// caller of New after Run.
type backends struct {
	store    *store.Store
	redis    redis.UniversalClient
	enqueuer *queue.Enqueuer
	log      *slog.Logger
}

// New returns a Worker on shared connections. No other worker may use the same
// Redis client, because New adds the doorbells of this worker to it.
func New(st *store.Store, rdb redis.UniversalClient, enq *queue.Enqueuer, p Pipeline, c Config, log *slog.Logger) *Worker {
	w := &Worker{
		backends: backends{store: st, redis: rdb, enqueuer: enq, log: log},
		pipeline: p, config: c,
		me:      &atomic.Pointer[store.WorkerIdentity]{},
		leader:  leader.New(st, rdb, enq, c.Leader, log),
		changes: queue.NewAnnouncer(rdb),
		running: newRunningAttempts(),
		room:    newPayloadRoom(c.PayloadBytes),
		ended:   make(chan struct{}, 1),
	}
	w.me.Store(&store.WorkerIdentity{}) // claims nothing before it is registered
	w.work, w.abandon = context.WithCancelCause(context.Background())
	w.regular, w.overflow = w.newCommitters(), w.newCommitters()
	w.servers = append(w.servers, newTaskServer(rdb, batchServer(c), w.handleBatch, log))
	if c.Webhooks.Client != nil {
		deliver := newCourier(w.work, w.backends, w.me, c.Webhooks)
		w.servers = append(w.servers, newTaskServer(rdb, callbackServer(c), deliver.handle, log))
	}
	if c.Recommend.Client != nil {
		w.adviser = newAdviser(w.work, w.backends, w.me, c.Recommend)
		w.servers = append(w.servers, newTaskServer(rdb, recommendServer(c), w.adviser.handle, log))
	}
	return w
}

// committers write claims and outcomes in groups.
type committers struct {
	claims   *groupcommit.Committer[int64, claimedPart]
	outcomes *groupcommit.Committer[jobs.Outcome, store.OutcomeResult]
}

const (
	claimMax    = 32  // most batches claimed in one statement
	outcomeMax  = 512 // most outcomes in one statement
	outcomeFill = 256 // waiting outcomes that justify a second statement: with fewer, the two only delay each other
)

func (w *Worker) newCommitters() committers {
	return committers{
		claims: groupcommit.New(w.flushClaims, groupcommit.Options{MaxGroup: claimMax}),
		outcomes: groupcommit.New(w.flushOutcomes, groupcommit.Options{
			MaxGroup: outcomeMax, Parallel: 2, Fill: outcomeFill,
			Split: func(err error) bool { return errors.Is(err, store.ErrInvalid) },
		}),
	}
}

func (c committers) close(ctx context.Context) error {
	return errors.Join(c.claims.Close(ctx), c.outcomes.Close(ctx))
}

// These errors are the reasons for stopping a running attempt.
var (
	errShutdown = errors.New("the worker is shutting down")
	errTaken    = errors.New("the request was cancelled, deleted or given to another worker")
	errTimeout  = errors.New("the attempt took longer than the request timeout")
)

// Run works until ctx ends. Then it takes no new batches, lets running requests
// finish for the shutdown timeout, hands the others back unprocessed, and
// returns. At the start it waits for Postgres; Redis may come and go at any
// time.
func (w *Worker) Run(ctx context.Context) error {
	if err := w.register(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if err := startAll(ctx, w.servers); err != nil {
		return err
	}
	w.log.Info("worker started", "worker", w.me.Load().ID, "concurrency", w.config.Concurrency)

	// The companions continue while requests are handed back: a worker that
	// shuts down slowly must not look dead.
	companions, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { w.beat(companions) })
	wg.Go(func() { w.inspectRedis(ctx) })
	if w.adviser != nil {
		wg.Go(func() { w.adviser.watch(companions) })
	}
	for _, s := range w.servers {
		wg.Go(func() { s.listen(companions) })
	}
	wg.Go(func() { queue.HearCancels(companions, w.redis, w.running.cancelRequest) })
	wg.Go(func() { w.changes.Run(companions) })
	wg.Go(func() { w.leader.Run(ctx, w.me) })
	var parked sync.WaitGroup
	parked.Go(func() { w.runParked(ctx) })

	<-ctx.Done()
	w.log.Info("worker is shutting down", "worker", w.me.Load().ID, "running", w.running.count())
	overdue := time.AfterFunc(w.config.ShutdownTimeout, func() { w.abandon(errShutdown) })
	shutdownAll(w.servers)
	parked.Wait()
	w.background.Wait()
	overdue.Stop()
	stop()
	wg.Wait()
	return w.close(context.WithoutCancel(ctx))
}

// inspectRedis reports at the start what does not suit MASS. The leader repeats
// the inspection from time to time.
func (w *Worker) inspectRedis(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, inspectTimeout)
	defer cancel()
	nodes, err := queue.InspectNodes(ctx, w.redis)
	if err != nil {
		w.log.Warn("the settings of Redis could not be checked at the start; the leader repeats the check", "error", err)
		return
	}
	nodes.Report(w.log, "")
}

// inspectTimeout bounds the inspection of a Redis that does not answer.
const inspectTimeout = 5 * time.Second

// handBackTime bounds how long it may take to hand the unfinished requests
// back.
const handBackTime = 10 * time.Second

func (w *Worker) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, handBackTime)
	defer cancel()
	err := errors.Join(w.regular.close(ctx), w.overflow.close(ctx), w.store.RemoveWorker(ctx, *w.me.Load()))
	w.log.Info("worker stopped", "worker", w.me.Load().ID)
	return err
}

// register waits for Postgres and gets the id under which the worker claims.
func (w *Worker) register(ctx context.Context) error {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("register the worker: %w", err)
	}
	return w.persist(ctx, "register the worker", func() error {
		me, err := w.store.RegisterWorker(ctx, host, os.Getpid(), w.config.Version)
		if err == nil {
			w.me.Store(&me)
		}
		return err
	})
}

// persist repeats act until it succeeds, fails for a reason other than an
// unavailable Postgres, or ctx ends. The wait between two calls grows to two
// seconds.
func (b *backends) persist(ctx context.Context, name string, act func() error) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := act()
		if err == nil || !errors.Is(err, store.ErrUnavailable) {
			return err
		}
		b.log.Warn("waiting for the database", "act", name, "error", err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		case <-time.After(wait/2 + rand.N(wait)):
		}
	}
}

// enqueueTimeout bounds one enqueue; the leader repeats an enqueue that timed
// out.
const enqueueTimeout = 5 * time.Second

// enqueue puts a batch into its queue. If Redis is away, the leader does it
// later.
func (b *backends) enqueue(ctx context.Context, batch jobs.Batch) {
	ctx, cancel := context.WithTimeout(ctx, enqueueTimeout)
	defer cancel()
	if err := b.enqueuer.Enqueue(ctx, batch); err != nil {
		b.log.Warn("batch not enqueued; the leader will retry it", "batch", batch.ID, "error", err)
	}
}

// enqueueDelivery puts a callback into its queue. If Redis is away, the leader
// does it later.
func (b *backends) enqueueDelivery(ctx context.Context, ref jobs.DeliveryRef) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), enqueueTimeout)
	defer cancel()
	if err := b.enqueuer.EnqueueDelivery(ctx, ref); err != nil {
		b.log.Warn("callback not enqueued; the leader will retry it", "delivery", ref.ID, "error", err)
	}
}
