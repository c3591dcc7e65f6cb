package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/store"
)

// serverConfig says which tasks a taskServer takes, and how.
type serverConfig struct {
	taskType        string
	queues          map[string]int // weights by name
	concurrency     int
	pollInterval    time.Duration
	shutdownTimeout time.Duration
	retryDelay      asynq.RetryDelayFunc
	isFailure       func(error) bool // reports whether an error counts against a task
}

func batchServer(c Config) serverConfig {
	return serverConfig{
		taskType: jobs.TypeBatch, queues: jobs.QueueWeights(), concurrency: c.Concurrency,
		pollInterval: c.PollInterval, shutdownTimeout: c.ShutdownTimeout + handBackTime,
		retryDelay: batchRetryDelay, isFailure: isBatchFailure,
	}
}

func callbackServer(c Config) serverConfig {
	return serverConfig{
		taskType: jobs.TypeWebhook, queues: map[string]int{jobs.WebhookQueue: 1}, concurrency: c.Webhooks.Concurrency,
		pollInterval: c.PollInterval, shutdownTimeout: c.ShutdownTimeout + handBackTime,
		retryDelay: callbackRetryDelay, isFailure: isCallbackFailure,
	}
}

func recommendServer(c Config) serverConfig {
	return serverConfig{
		taskType: jobs.TypeRecommend, queues: map[string]int{jobs.RecommendQueue: 1}, concurrency: c.Recommend.Concurrency,
		pollInterval: c.PollInterval, shutdownTimeout: c.ShutdownTimeout + handBackTime,
		retryDelay: recommendRetryDelay, isFailure: isRecommendFailure,
	}
}

// taskServer takes the tasks of one type from their queues: an Asynq server,
// and the doorbell that wakes it up when a task arrives.
type taskServer struct {
	config   serverConfig
	redis    redis.UniversalClient
	doorbell *queue.Doorbell
	mux      *asynq.ServeMux
	log      *slog.Logger
	server   *asynq.Server  // set by start
	handlers sync.WaitGroup // calls under way, including those that Asynq has given up on
}

// newTaskServer adds its doorbell to the Redis client.
func newTaskServer(rdb redis.UniversalClient, c serverConfig, handle asynq.HandlerFunc, log *slog.Logger) *taskServer {
	s := &taskServer{config: c, redis: rdb, doorbell: queue.NewDoorbell(c.queues, c.pollInterval), mux: asynq.NewServeMux(), log: log}
	s.mux.HandleFunc(c.taskType, func(ctx context.Context, t *asynq.Task) error {
		s.handlers.Add(1)
		defer s.handlers.Done()
		return handle(ctx, t)
	})
	rdb.AddHook(s.doorbell)
	return s
}

// start takes tasks until shutdown. The handlers outlive ctx.
func (s *taskServer) start(ctx context.Context) error {
	s.server = asynq.NewServerFromRedisClient(s.redis, asynq.Config{
		Concurrency:              s.config.concurrency,
		Queues:                   s.config.queues,
		TaskCheckInterval:        time.Millisecond, // after finding no task; the doorbell holds the next look back
		DelayedTaskCheckInterval: time.Second,
		ShutdownTimeout:          s.config.shutdownTimeout,
		RetryDelayFunc:           s.config.retryDelay,
		IsFailure:                s.config.isFailure,
		BaseContext:              func() context.Context { return context.WithoutCancel(ctx) },
		Logger:                   asynqLogger{s.log},
		LogLevel:                 asynq.WarnLevel,
	})
	if err := s.server.Start(s.mux); err != nil {
		return fmt.Errorf("start the server of %s tasks: %w", s.config.taskType, err)
	}
	return nil
}

// listen waits for the doorbell to ring until ctx ends.
func (s *taskServer) listen(ctx context.Context) { s.doorbell.Listen(ctx, s.redis) }

// startAll starts all servers, or none.
func startAll(ctx context.Context, servers []*taskServer) error {
	for i, s := range servers {
		if err := s.start(ctx); err != nil {
			shutdownAll(servers[:i])
			return err
		}
	}
	return nil
}

// shutdown takes no more tasks and waits until all handlers have returned.
func (s *taskServer) shutdown() {
	s.server.Shutdown()
	s.handlers.Wait()
}

// shutdownAll shuts all servers down at the same time.
func shutdownAll(servers []*taskServer) {
	var wg sync.WaitGroup
	for _, s := range servers {
		wg.Go(s.shutdown)
	}
	wg.Wait()
}

// isBatchFailure reports whether an error counts against a delivery. An error
// that would affect any other delivery as well does not count.
func isBatchFailure(err error) bool {
	_, early := errors.AsType[errEarly](err)
	return !early && !errors.Is(err, store.ErrUnavailable)
}

// batchRetryDelay is the wait before Asynq delivers a batch again. Asynq does
// so only if the batch came too early, Postgres was unavailable, or a worker
// died.
func batchRetryDelay(n int, err error, _ *asynq.Task) time.Duration {
	if errors.Is(err, asynq.ErrLeaseExpired) {
		return 0
	}
	if early, ok := errors.AsType[errEarly](err); ok {
		return early.wait
	}
	return min(time.Second<<min(n, 5), 30*time.Second)
}

// isCallbackFailure is isBatchFailure for callbacks.
func isCallbackFailure(err error) bool {
	return !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, errReceiverBusy)
}

// callbackRetryDelay is the wait before Asynq delivers a callback's task again.
func callbackRetryDelay(n int, err error, t *asynq.Task) time.Duration {
	if errors.Is(err, errReceiverBusy) {
		return receiverWait + rand.N(4*receiverWait)
	}
	return batchRetryDelay(n, err, t)
}

// isRecommendFailure is isBatchFailure for recommendations.
func isRecommendFailure(err error) bool {
	_, away := errors.AsType[errBioCoreAway](err)
	return !away && !errors.Is(err, store.ErrUnavailable)
}

// recommendRetryDelay is the wait before Asynq delivers a recommendation's task
// again.
func recommendRetryDelay(n int, err error, t *asynq.Task) time.Duration {
	if away, ok := errors.AsType[errBioCoreAway](err); ok {
		return away.wait + rand.N(time.Second)
	}
	return batchRetryDelay(n, err, t)
}
