package leader_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jmoiron/sqlx"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/internal/systemtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/migrations"
	"github.com/leomutto/pilot-in-a-box/store"
	"github.com/leomutto/pilot-in-a-box/worker/leader"
)

func TestMain(m *testing.M) {
	devtest.Main(m, func(ctx context.Context, url string) error {
		_, err := migrations.Up(ctx, url)
		return err
	})
}

// system is a database and a Redis, without workers.
type system struct {
	t     *testing.T
	store *store.Store
	db    *sqlx.DB
	rdb   redis.UniversalClient
	enq   *queue.Enqueuer
	log   lockedLog // of the leaders
}

// lockedLog is a log that a test reads while it is written.
type lockedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (l *lockedLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func setup(t *testing.T) *system {
	t.Helper()
	url := devtest.Database(t)
	st, err := store.Open(store.Config{URL: url, MaxOpen: 6, MaxIdle: 6, ConnectTimeout: 2 * time.Second, StatementTimeout: 20 * time.Second})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	db, err := sqlx.Open("postgres", url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	opt, err := queue.ParseRedisURL(devtest.Redis(t))
	require.NoError(t, err)
	rdb, err := queue.Dial(opt)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, rdb.Close()) })
	return &system{t: t, store: st, db: db, rdb: rdb, enq: queue.NewEnqueuer(rdb, time.Minute)}
}

// quick is a configuration in which everything that takes seconds takes less.
func quick() leader.Config {
	return leader.Config{
		Interval: 20 * time.Millisecond, Grace: 100 * time.Millisecond, SilentAfter: 200 * time.Millisecond,
		Step: 100, MaxRescues: 5, BatchMax: 64,
	}
}

// start runs a leader until the test ends or the returned function is called.
func (s *system) start(c leader.Config) (stop func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		me := &atomic.Pointer[store.WorkerIdentity]{}
		me.Store(&store.WorkerIdentity{})
		leader.New(s.store, s.rdb, s.enq, c, slog.New(slog.NewTextHandler(&s.log, nil))).Run(ctx, me)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-ended
	})
	s.t.Cleanup(stop)
	return stop
}

// insert stores n requests as one batch, without a task.
func (s *system) insert(n int) []store.Inserted {
	s.t.Helper()
	items := make([]store.NewRequest, n)
	for i := range items {
		items[i] = store.NewRequest{Payload: json.RawMessage(`{}`), SchemaVersion: "1.0-simple", Priority: jobs.Default}
	}
	in, err := s.store.InsertRequests(s.t.Context(), items)
	require.NoError(s.t, err)
	return in
}

// until waits for ok; the bound is only there to end a broken test.
func (s *system) until(ok func() bool, what string) {
	s.t.Helper()
	require.Eventually(s.t, ok, systemtest.Patience, 5*time.Millisecond, what)
}

func (s *system) request(id int64) jobs.Request {
	s.t.Helper()
	r, err := s.store.Request(s.t.Context(), id)
	require.NoError(s.t, err)
	return r
}

// queued reports whether a task that waits for a worker carries the batch.
func (s *system) queued(batch int64) bool {
	s.t.Helper()
	info, err := asynq.NewInspectorFromRedisClient(s.rdb).GetTaskInfo(string(jobs.Default), jobs.TaskID(batch))
	return err == nil && info.State == asynq.TaskStatePending
}
