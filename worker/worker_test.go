package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jmoiron/sqlx"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/systemtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/jobs/pipeline"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/store"
	"github.com/leomutto/pilot-in-a-box/worker"
	"github.com/leomutto/pilot-in-a-box/worker/leader"
)

func TestMain(m *testing.M) { systemtest.Main(m) }

// system is a database, a Redis and as many workers as a test starts.
type system struct {
	t     *testing.T
	store *store.Store
	db    *sqlx.DB
	rdb   redis.UniversalClient
	opt   queue.Address
	enq   *queue.Enqueuer
}

func setup(t *testing.T) *system {
	t.Helper()
	return newSystem(t, systemtest.New(t))
}

func newSystem(t *testing.T, s *systemtest.System) *system {
	return &system{t: t, store: s.Store, db: s.DB, rdb: s.Redis, opt: s.RedisOptions, enq: s.Enqueuer}
}

// quick is a configuration in which what usually takes seconds takes less. What
// only a broken worker runs into takes as long as a slow machine may need.
func quick() worker.Config {
	return worker.Config{
		Concurrency: 8, BatchMax: 64, PayloadBytes: 16 << 20,
		Retry:          jobs.RetryPolicy{MaxTries: 3, Base: time.Millisecond, Max: time.Millisecond},
		RequestTimeout: systemtest.Patience, ShutdownTimeout: systemtest.Patience,
		PollInterval: 20 * time.Millisecond, Heartbeat: 100 * time.Millisecond,
		Leader: leader.Config{
			Interval: 50 * time.Millisecond, Grace: 200 * time.Millisecond, SilentAfter: systemtest.Patience, Step: 100, MaxRescues: 5, BatchMax: 64,
		},
		Version: "test",
	}
}

// rescuing is quick, for tests of workers that have fallen silent.
func rescuing() worker.Config {
	c := quick()
	c.Leader.SilentAfter = 10 * time.Second // so that a live worker on a slow machine is not declared dead
	return c
}

// pipelineFunc is a Pipeline whose results are complete.
type pipelineFunc func(ctx context.Context, raw []byte) (json.RawMessage, error)

func (f pipelineFunc) Run(ctx context.Context, raw []byte) (result json.RawMessage, asSubmitted bool, err error) {
	result, err = f(ctx, raw)
	return result, false, err
}

// start runs a worker until the test ends or the returned function is called, which
// returns once the worker has shut down.
func (s *system) start(c worker.Config, p pipelineFunc) (stop func()) { return s.startWith(c, p) }

func (s *system) startWith(c worker.Config, p worker.Pipeline) (stop func()) {
	s.t.Helper()
	rdb, err := queue.Dial(s.opt)
	require.NoError(s.t, err)
	w := worker.New(s.store, rdb, s.enq, p, c, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		assert.NoError(s.t, <-ended)
		assert.Zero(s.t, w.Running())
		assert.NoError(s.t, rdb.Close())
	})
	s.t.Cleanup(stop)
	return stop
}

// submit stores payloads as one batch, and enqueues it if the test says so.
func (s *system) submit(enqueue bool, payloads ...string) []int64 {
	s.t.Helper()
	var items []store.NewRequest
	for _, p := range payloads {
		items = append(items, store.NewRequest{Payload: json.RawMessage(p), SchemaVersion: "1.0-simple", Priority: jobs.Default})
	}
	in, err := s.store.InsertRequests(s.t.Context(), items)
	require.NoError(s.t, err)
	ids := make([]int64, len(in))
	for i := range in {
		ids[i] = in[i].ID
	}
	if enqueue {
		require.NoError(s.t, s.enq.Enqueue(s.t.Context(), jobs.Batch{ID: in[0].BatchID, Priority: jobs.Default, Requests: ids}))
	}
	return ids
}

// until waits for a request to satisfy ok. The bound only ends a broken test.
func (s *system) until(id int64, what string, ok func(jobs.Request) bool) jobs.Request {
	s.t.Helper()
	var r jobs.Request
	require.Eventually(s.t, func() bool {
		var err error
		r, err = s.store.Request(s.t.Context(), id)
		return err == nil && ok(r)
	}, systemtest.Patience, 5*time.Millisecond, "request %d: %s", id, what)
	return r
}

func (s *system) untilStatus(id int64, want jobs.Status) jobs.Request {
	s.t.Helper()
	return s.until(id, "wants "+string(want), func(r jobs.Request) bool { return r.Status == want })
}

func (s *system) actions(id int64) (list []string) {
	s.t.Helper()
	events, err := s.store.Events(s.t.Context(), id, 0, 1000)
	require.NoError(s.t, err)
	for _, e := range events {
		list = append(list, e.Action)
	}
	return list
}

func echo(_ context.Context, raw []byte) (json.RawMessage, error) { return raw, nil }

func TestARequestIsDoneByTheRealPipeline(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.startWith(quick(), pipeline.Default())
	ids := s.submit(true, `{"Site Name": "  Oslo  "}`, `{"aB": 1, "a_b": 2}`, `{"site_name": "Oslo", "n": 1.50}`)
	done := s.untilStatus(ids[0], jobs.StatusDone)
	assert.JSONEq(t, `{"normalized": {"site_name": "Oslo"}, "warnings": []}`, string(done.Result))
	assert.Equal(t, 1, done.Attempt)
	assert.Equal(t, []string{"submit", "claim", "finish"}, s.actions(ids[0]))

	failed := s.untilStatus(ids[1], jobs.StatusFailed)
	assert.Contains(t, failed.Error, "a_b")
	assert.Equal(t, 1, failed.Attempt, "an invalid payload is not attempted again")
	var faults []payload.Fault
	require.NoError(t, json.Unmarshal(failed.Faults, &faults))
	assert.NotEmpty(t, faults)

	normal := s.untilStatus(ids[2], jobs.StatusDone)
	assert.Equal(t, `{"normalized":{"site_name": "Oslo", "n": 1.50},"warnings":[]}`, string(normal.Result), "complete, though its payload is stored once")
}

func TestAFailingRequestIsRetriedAloneAndGivenUp(t *testing.T) {
	t.Parallel()
	s := setup(t)
	var tries atomic.Int32
	s.start(quick(), func(_ context.Context, raw []byte) (json.RawMessage, error) {
		if string(raw) == `{"bad": true}` {
			return nil, fmt.Errorf("try %d went wrong", tries.Add(1))
		}
		return raw, nil
	})
	ids := s.submit(true, `{"good": 1}`, `{"bad": true}`, `{"good": 2}`)
	r := s.untilStatus(ids[1], jobs.StatusFailed)
	assert.EqualValues(t, 3, tries.Load())
	assert.Equal(t, "gave up after 3 tries: try 3 went wrong", r.Error)
	assert.Equal(t, 3, r.Failures)
	assert.Equal(t, []string{"submit", "claim", "retry", "claim", "retry", "claim", "fail"}, s.actions(ids[1]))
	for _, id := range []int64{ids[0], ids[2]} {
		assert.Equal(t, 1, s.untilStatus(id, jobs.StatusDone).Attempt, "the neighbors are not held back")
	}
}

func TestAPanicIsAFailedAttempt(t *testing.T) {
	t.Parallel()
	s := setup(t)
	var calls atomic.Int32
	s.start(quick(), func(_ context.Context, raw []byte) (json.RawMessage, error) {
		if calls.Add(1) == 1 {
			panic("a nil map, say")
		}
		return raw, nil
	})
	id := s.submit(true, `{}`)[0]
	r := s.untilStatus(id, jobs.StatusDone)
	assert.Equal(t, 1, r.Failures)
	assert.Empty(t, r.Error, "a done request bears no error")
	assert.Equal(t, []string{"submit", "claim", "retry", "claim", "finish"}, s.actions(id))
}

func TestAnAttemptIsBoundedEvenIfItIgnoresItsContext(t *testing.T) {
	t.Parallel()
	s := setup(t)
	c := quick()
	c.Retry.MaxTries = 1
	c.RequestTimeout = 30 * time.Millisecond
	deaf := make(chan struct{})
	t.Cleanup(func() { close(deaf) })
	s.start(c, func(context.Context, []byte) (json.RawMessage, error) {
		<-deaf
		return nil, errors.New("too late")
	})
	r := s.untilStatus(s.submit(true, `{}`)[0], jobs.StatusFailed)
	assert.Contains(t, r.Error, "longer than the request timeout")
}

func TestAResultThatCannotBeStoredFailsItsRequestOnly(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.start(quick(), func(_ context.Context, raw []byte) (json.RawMessage, error) {
		if string(raw) == `{"n": 2}` {
			return json.RawMessage(`{"text": "\u0000"}`), nil
		}
		return raw, nil
	})
	ids := s.submit(true, `{"n": 1}`, `{"n": 2}`, `{"n": 3}`)
	assert.Contains(t, s.untilStatus(ids[1], jobs.StatusFailed).Error, "could not be stored")
	s.untilStatus(ids[0], jobs.StatusDone)
	s.untilStatus(ids[2], jobs.StatusDone)
}

// gate is a pipeline that waits. It sends to started for each attempt, and all
// attempts end once open is closed.
type gate struct {
	started chan struct{}
	open    chan struct{}
	ended   chan error // why each attempt was told to stop
}

func newGate() *gate {
	return &gate{started: make(chan struct{}, 1000), open: make(chan struct{}), ended: make(chan error, 1000)}
}

func (g *gate) run(ctx context.Context, raw []byte) (json.RawMessage, error) {
	g.started <- struct{}{}
	select {
	case <-g.open:
		return raw, nil
	case <-ctx.Done():
		g.ended <- context.Cause(ctx)
		return nil, ctx.Err()
	}
}

func TestACancelledRequestEndsTheContextOfItsAttempt(t *testing.T) {
	t.Parallel()
	for _, announced := range []bool{true, false} {
		t.Run(fmt.Sprintf("announced=%t", announced), func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			g := newGate()
			s.start(quick(), g.run)
			id := s.submit(true, `{}`)[0]
			<-g.started
			_, err := s.store.MoveRequest(t.Context(), id, jobs.StatusCancelled, store.Origin{Actor: "test"})
			require.NoError(t, err)
			if announced {
				require.NoError(t, queue.AnnounceCancel(t.Context(), s.rdb, id))
			} // else the heartbeat finds it
			assert.ErrorContains(t, <-g.ended, "cancelled")
			assert.Equal(t, jobs.StatusCancelled, s.untilStatus(id, jobs.StatusCancelled).Status)
			assert.Equal(t, []string{"submit", "claim", "cancel"}, s.actions(id))
		})
	}
}

func TestShutdownFinishesQuickRequests(t *testing.T) {
	t.Parallel()
	s := setup(t)
	g := newGate()
	stop := s.start(quick(), g.run)
	id := s.submit(true, `{}`)[0]
	<-g.started
	go close(g.open)
	stop()
	assert.Equal(t, jobs.StatusDone, s.untilStatus(id, jobs.StatusDone).Status)
	workers, err := s.store.Workers(t.Context())
	require.NoError(t, err)
	assert.Empty(t, workers, "a worker that ends removes itself")
}

func TestShutdownHandsBackSlowRequests(t *testing.T) {
	t.Parallel()
	s := setup(t)
	g := newGate()
	c := quick()
	c.ShutdownTimeout = 20 * time.Millisecond
	stop := s.start(c, g.run)
	ids := s.submit(true, `{"n": 1}`, `{"n": 2}`)
	<-g.started
	<-g.started
	stop()
	for _, id := range ids {
		r := s.untilStatus(id, jobs.StatusPending)
		assert.Zero(t, r.Failures, "no retry is used up")
	}
	s.start(quick(), echo)
	for _, id := range ids {
		s.untilStatus(id, jobs.StatusDone)
		assert.Equal(t, []string{"submit", "claim", "release", "claim", "finish"}, s.actions(id))
	}
}

func TestPrioritiesUseTheirQueues(t *testing.T) {
	t.Parallel()
	s := setup(t)
	var items []store.NewRequest
	for i, p := range jobs.Priorities() {
		items = append(items, store.NewRequest{Payload: json.RawMessage(`{}`), SchemaVersion: "1.0-simple", Priority: p, Group: i})
	}
	in, err := s.store.InsertRequests(t.Context(), items)
	require.NoError(t, err)
	inspector := asynq.NewInspectorFromRedisClient(s.rdb)
	for i, p := range jobs.Priorities() {
		require.NoError(t, s.enq.Enqueue(t.Context(), jobs.Batch{ID: in[i].BatchID, Priority: p, Requests: []int64{in[i].ID}}))
		info, err := inspector.GetTaskInfo(string(p), jobs.TaskID(in[i].BatchID))
		require.NoError(t, err)
		assert.Equal(t, asynq.TaskStatePending, info.State)
	}
	s.start(quick(), echo)
	for i := range in {
		s.untilStatus(in[i].ID, jobs.StatusDone)
	}
}
