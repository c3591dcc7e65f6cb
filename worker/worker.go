// Package worker takes requests from the queue to their end: the Asynq server,
// the handler of batch tasks, and the reconciler that mends what was lost on the
// way. Postgres decides everything; Redis only says what to look at.
//
// It knows nothing of HTTP, and nothing of what the pipeline does with a payload.
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/internal/groupcommit"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// Pipeline turns a payload into a result. A payload.Faults error means that the
// payload is wrong and no other try can help; every other error is worth one.
type Pipeline func(ctx context.Context, payload []byte) (jobs.Result, error)

// Config tunes a Worker. Every field but CallerMax must be set.
type Config struct {
	Concurrency     int              // batches worked on at once
	BatchMax        int              // requests a batch that the worker makes itself, at most
	Retry           jobs.RetryPolicy // of a request
	CallerMax       int              // requests of one caller that run at once on all workers; 0: no limit
	RequestTimeout  time.Duration    // of one try of one request
	ShutdownTimeout time.Duration    // how long running requests may go on after the end was asked for
	PollInterval    time.Duration    // how often an idle worker looks at the queues when nobody rings
	Heartbeat       time.Duration    // between two signs of life
	Reconcile       ReconcileConfig
	Webhooks        WebhookConfig
	Version         string
}

// Worker is one worker process. Make it with New, run it once with Run.
type Worker struct {
	store    *store.Store
	redis    redis.UniversalClient
	enqueuer *jobs.Enqueuer
	pipeline Pipeline
	config   Config
	log      *slog.Logger

	id       atomic.Int64 // mass_workers.id; changes when the worker was declared dead and came back
	doorbell *jobs.Doorbell
	holdings *holdings
	front    line          // for lane 0
	crowd    line          // for all others, so that their groups hold up nobody in lane 0
	freed    chan struct{} // something ended, so that something held may begin
	changes  *jobs.Announcer
	courier  *courier       // nil when this worker delivers no callbacks
	handlers sync.WaitGroup // batches under way, also those that Asynq gave up

	running context.Context // of the requests; ends with errShutdown when they must be handed back
	abandon context.CancelCauseFunc

	runners runners
}

// New returns a Worker on shared connections, which the caller closes after Run.
// No other worker may use the same Redis client: it gets a doorbell of this one.
func New(st *store.Store, rdb redis.UniversalClient, enq *jobs.Enqueuer, p Pipeline, c Config, log *slog.Logger) *Worker {
	w := &Worker{store: st, redis: rdb, enqueuer: enq, pipeline: p, config: c, log: log, holdings: newHoldings(), freed: make(chan struct{}, 1), runners: newRunners()}
	w.doorbell = jobs.NewDoorbell(jobs.QueueWeights(), c.PollInterval)
	rdb.AddHook(w.doorbell)
	w.courier = newCourier(w, c.Webhooks)
	w.changes = jobs.NewAnnouncer(rdb)
	w.running, w.abandon = context.WithCancelCause(context.Background())
	w.front, w.crowd = w.newLine(), w.newLine()
	return w
}

// line is the way of requests through Postgres: claims and ends, each in groups.
type line struct {
	claims  *groupcommit.Committer[int64, []jobs.Claimed]
	settles *groupcommit.Committer[jobs.Outcome, store.OutcomeResult]
}

// A second statement beside one under way must be worth it: with less they only
// hold each other up, and each costs as much as several of its rows.
const (
	claimFill  = 12  // batches that wait to be claimed
	settleFill = 256 // ends that wait to be written
)

func (w *Worker) newLine() line {
	turns := &groupcommit.Track{}
	return line{
		claims: groupcommit.New(w.flushClaims, groupcommit.Options{MaxGroup: 32, Parallel: 1, Fill: claimFill, Track: turns}),
		settles: groupcommit.New(w.flushSettles, groupcommit.Options{
			MaxGroup: 512, Parallel: 2, Fill: settleFill, Track: turns,
			Split: func(err error) bool { return errors.Is(err, store.ErrInvalid) },
		}),
	}
}

func (l line) close(ctx context.Context) error {
	return errors.Join(l.claims.Close(ctx), l.settles.Close(ctx))
}

// errShutdown and errTaken are why a running request is told to stop.
var (
	errShutdown = errors.New("the worker shuts down")
	errTaken    = errors.New("the request was cancelled, deleted or given to another worker")
	errTimeout  = errors.New("the try took longer than the request timeout")
)

// Run works until ctx ends. Then it takes nothing new, lets running requests
// finish for the shutdown timeout, hands the others back untried, and returns.
// It waits for Postgres at the start; Redis may come and go at any time.
func (w *Worker) Run(ctx context.Context) error {
	if err := w.register(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	server := asynq.NewServerFromRedisClient(w.redis, asynq.Config{
		Concurrency:              w.config.Concurrency,
		Queues:                   jobs.QueueWeights(),
		TaskCheckInterval:        time.Millisecond, // after an empty look; the doorbell does the waiting
		DelayedTaskCheckInterval: time.Second,
		ShutdownTimeout:          w.config.ShutdownTimeout + handBackTime,
		RetryDelayFunc:           redeliveryDelay,
		IsFailure:                isFailure,
		BaseContext:              func() context.Context { return context.WithoutCancel(ctx) },
		Logger:                   asynqLogger{w.log},
		LogLevel:                 asynq.WarnLevel,
	})
	mux := asynq.NewServeMux()
	mux.HandleFunc(jobs.TypeBatch, w.handleBatch)
	if err := server.Start(mux); err != nil {
		return fmt.Errorf("start the task server: %w", err)
	}
	if err := w.courier.start(ctx); err != nil {
		server.Shutdown()
		return err
	}
	if err := jobs.CheckRedis(ctx, w.redis); err != nil {
		w.log.Error("this Redis is not fit for its task", "error", err)
	}
	w.log.Info("worker started", "worker", w.id.Load(), "concurrency", w.config.Concurrency)

	// The companions go on while requests are handed back: a worker that shuts
	// down slowly must not look dead.
	companions, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { w.beat(companions) })
	wg.Go(func() { w.doorbell.Listen(companions, w.redis) })
	wg.Go(func() { jobs.HearCancels(companions, w.redis, w.holdings.cancelRequest) })
	wg.Go(func() { w.changes.Run(companions) })
	wg.Go(func() { w.courier.listen(companions) })
	wg.Go(func() { w.reconcile(ctx) })
	var held sync.WaitGroup
	held.Go(func() { w.runHeld(ctx) })

	<-ctx.Done()
	w.log.Info("worker stops", "worker", w.id.Load(), "running", w.holdings.count())
	overdue := time.AfterFunc(w.config.ShutdownTimeout, func() { w.abandon(errShutdown) })
	var servers sync.WaitGroup
	servers.Go(server.Shutdown)
	servers.Go(w.courier.shutdown)
	servers.Wait()
	held.Wait()
	w.handlers.Wait()
	overdue.Stop()
	stop()
	wg.Wait()
	w.runners.stop()
	return w.close(context.WithoutCancel(ctx))
}

// handBackTime is how long handing the unfinished requests back may take.
const handBackTime = 10 * time.Second

func (w *Worker) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, handBackTime)
	defer cancel()
	err := errors.Join(w.front.close(ctx), w.crowd.close(ctx), w.store.RemoveWorker(ctx, w.id.Load()))
	w.log.Info("worker stopped", "worker", w.id.Load())
	return err
}

// register waits for Postgres and gets the id under which the worker claims.
func (w *Worker) register(ctx context.Context) error {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("register the worker: %w", err)
	}
	return w.persist(ctx, "register the worker", func() error {
		id, err := w.store.RegisterWorker(ctx, host, os.Getpid(), w.config.Version)
		if err == nil {
			w.id.Store(id)
		}
		return err
	})
}

// persist repeats act until it succeeds, fails for another reason than an
// absent Postgres, or ctx ends. The wait grows to two seconds.
func (w *Worker) persist(ctx context.Context, name string, act func() error) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := act()
		if err == nil || !errors.Is(err, store.ErrUnavailable) {
			return err
		}
		w.log.Warn("waiting for the database", "act", name, "error", err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		case <-time.After(wait/2 + rand.N(wait)):
		}
	}
}

// isFailure tells what counts against a delivery from what would be the same for any.
func isFailure(err error) bool {
	_, early := errors.AsType[errEarly](err)
	return !early && !errors.Is(err, store.ErrUnavailable)
}

// redeliveryDelay is the wait before Asynq delivers a batch again, which happens
// only when it came too early, when Postgres could not be asked for it, or when a
// worker died.
func redeliveryDelay(n int, err error, _ *asynq.Task) time.Duration {
	if errors.Is(err, asynq.ErrLeaseExpired) {
		return 0
	}
	if early, ok := errors.AsType[errEarly](err); ok {
		return early.wait
	}
	return min(time.Second<<min(n, 5), 30*time.Second)
}
