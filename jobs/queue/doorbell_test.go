package queue_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
)

// counter counts the scripts that are really sent to Redis.
type counter struct {
	redis.Hook
	sent chan struct{}
}

func (c counter) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (c counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "evalsha" && len(cmd.Args()) > 3 && cmd.Args()[3] == "asynq:{low}:pending" {
			c.sent <- struct{}{}
		}
		return next(ctx, cmd)
	}
}

// trips counts the round trips to Redis, each of one command or several.
type trips struct{ *atomic.Int64 }

func (c trips) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { c.Add(1); return next(ctx, cmds) }
}
func (c trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { c.Add(1); return next(ctx, cmd) }
}

// With a patience of an hour, only a ring lets the server take a task, and the
// server sends no queries in between.
func TestTheDoorbellWakesAnIdleServer(t *testing.T) {
	t.Parallel()
	opt, err := queue.ParseRedisURL(devtest.Redis(t))
	require.NoError(t, err)
	rdb, err := queue.Dial(opt)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, rdb.Close()) })
	looks := counter{sent: make(chan struct{}, 10000)}
	bell := queue.NewDoorbell(jobs.QueueWeights(), time.Hour)
	own, err := queue.Dial(opt)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, own.Close()) })
	own.AddHook(bell)
	own.AddHook(looks) // behind the doorbell
	go bell.Listen(t.Context(), own)

	handled := make(chan int64, 100)
	srv := asynq.NewServerFromRedisClient(own, asynq.Config{Queues: jobs.QueueWeights(), TaskCheckInterval: time.Millisecond, LogLevel: asynq.FatalLevel})
	require.NoError(t, srv.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		p, err := jobs.ParseBatchPayload(task.Payload())
		handled <- p.Batch
		return err
	})))
	enq := queue.NewEnqueuer(rdb, 0)
	for id := int64(1); id <= 50; id++ {
		require.NoError(t, enq.Enqueue(t.Context(), jobs.Batch{ID: id, Priority: jobs.Priorities()[id%3], Lane: jobs.Lane(id % 5)}))
		assert.Equal(t, id, <-handled)
	}
	trips := trips{new(atomic.Int64)}
	rdb.AddHook(trips)
	require.NoError(t, enq.Enqueue(t.Context(), jobs.Batch{ID: 51, Priority: jobs.Default}))
	assert.EqualValues(t, 51, <-handled)
	assert.EqualValues(t, 1, trips.Load(), "the task and its ring travel together")

	// Each ring costs one or two queries, and the rings of other tests are
	// heard as well. A polling server would have sent thousands of queries.
	assert.Less(t, len(looks.sent), 1000)
	ended := make(chan struct{})
	go func() {
		srv.Shutdown()
		close(ended)
	}()
	require.Eventually(t, func() bool { // the server's loop waits for a ring before it sees the shutdown
		require.NoError(t, queue.Ring(t.Context(), rdb, "default"))
		select {
		case <-ended:
			return true
		default:
			return false
		}
	}, 10*time.Minute, 5*time.Millisecond)
}
