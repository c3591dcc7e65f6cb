package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/systemtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/store"
)

// summary waits until the task of a request's batch has ended, and returns its result.
func (s *system) summary(id int64) (sum jobs.BatchSummary) {
	s.t.Helper()
	batch := s.until(id, "is there", func(jobs.Request) bool { return true }).BatchID
	inspector := asynq.NewInspectorFromRedisClient(s.rdb)
	require.Eventually(s.t, func() bool {
		info, err := inspector.GetTaskInfo(string(jobs.Default), jobs.TaskID(batch))
		return err == nil && info.State == asynq.TaskStateCompleted && json.Unmarshal(info.Result, &sum) == nil
	}, systemtest.Patience, 5*time.Millisecond, "the task of batch %d", batch)
	return sum
}

// apart is a pipeline with a gate for each payload.
func apart(gates map[string]*gate) func(context.Context, []byte) (json.RawMessage, error) {
	return func(ctx context.Context, raw []byte) (json.RawMessage, error) {
		return gates[string(raw)].run(ctx, raw)
	}
}

func TestAnOutcomeDoesNotWaitForSlowNeighbors(t *testing.T) {
	t.Parallel()
	s := setup(t)
	quickOne, slow := newGate(), newGate()
	close(quickOne.open)
	s.start(quick(), apart(map[string]*gate{`{"n": 1}`: quickOne, `{"n": 2}`: slow, `{"n": 3}`: quickOne}))
	ids := s.submit(true, `{"n": 1}`, `{"n": 2}`, `{"n": 3}`)
	s.untilStatus(ids[0], jobs.StatusDone)
	s.untilStatus(ids[2], jobs.StatusDone)
	s.untilStatus(ids[1], jobs.StatusProcessing)
	close(slow.open)
	s.untilStatus(ids[1], jobs.StatusDone)
	assert.Equal(t, jobs.BatchSummary{Claimed: 3, Done: 3}, s.summary(ids[0]))
}

// One request of a batch is taken away. The batch does not wait for its pipeline and
// continues with the other request, whether the pipeline heeds its context or not.
func TestABatchContinuesWithoutACancelledRequest(t *testing.T) {
	t.Parallel()
	for name, listens := range map[string]bool{"listens": true, "deaf": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			c := quick()
			c.RequestTimeout = time.Hour
			gone, other := newGate(), newGate()
			ended := make(chan struct{})
			t.Cleanup(func() { close(gone.open) })
			s.start(c, func(ctx context.Context, raw []byte) (json.RawMessage, error) {
				if string(raw) != `{"n": 1}` {
					return other.run(ctx, raw)
				}
				if !listens {
					ctx = context.WithoutCancel(ctx)
				}
				defer close(ended)
				return gone.run(ctx, raw)
			})
			ids := s.submit(true, `{"n": 1}`, `{"n": 2}`)
			<-gone.started
			<-other.started
			_, err := s.store.MoveRequest(t.Context(), ids[0], jobs.StatusCancelled, store.Origin{Actor: "test"})
			require.NoError(t, err)
			require.NoError(t, queue.AnnounceCancel(t.Context(), s.rdb, ids[0]))
			if listens {
				<-ended
			}
			close(other.open)
			assert.Equal(t, jobs.BatchSummary{Claimed: 2, Done: 1, Cancelled: 1}, s.summary(ids[0]))
			assert.Equal(t, []string{"submit", "claim", "finish"}, s.actions(ids[1]))
			assert.Equal(t, []string{"submit", "claim", "cancel"}, s.actions(ids[0]))
		})
	}
}

func TestAnOutcomeThatComesTooLateIsNotCounted(t *testing.T) {
	t.Parallel()
	s := setup(t)
	c := quick()
	c.Heartbeat = time.Hour // so that the attempt is not told to stop
	g := newGate()
	s.start(c, g.run)
	ids := s.submit(true, `{"n": 1}`, `{"n": 2}`)
	<-g.started
	<-g.started
	_, err := s.store.MoveRequest(t.Context(), ids[1], jobs.StatusCancelled, store.Origin{Actor: "test"})
	require.NoError(t, err)
	close(g.open)
	assert.Equal(t, jobs.BatchSummary{Claimed: 2, Done: 1, Cancelled: 1}, s.summary(ids[0]))
	s.untilStatus(ids[1], jobs.StatusCancelled)
}

// An attempt that heeds the shutdown ends with an error of its own, which does not
// count as a failure.
func TestShutdownHandsBackInterruptedAttempts(t *testing.T) {
	t.Parallel()
	s := setup(t)
	c := quick()
	c.ShutdownTimeout = time.Millisecond
	started := make(chan struct{}, 32)
	stop := s.start(c, func(ctx context.Context, _ []byte) (json.RawMessage, error) {
		started <- struct{}{}
		<-ctx.Done()
		return nil, errors.New("interrupted")
	})
	ids := s.submit(true, slices.Repeat([]string{`{}`}, 32)...)
	for range ids {
		<-started
	}
	stop()
	for _, id := range ids {
		assert.Zero(t, s.untilStatus(id, jobs.StatusPending).Failures)
		assert.Equal(t, []string{"submit", "claim", "release"}, s.actions(id))
	}
}

func TestARetryDoesNotWaitForTheLeader(t *testing.T) {
	t.Parallel()
	s := setup(t)
	c := quick()
	c.Leader.Grace = time.Hour
	var failed bool
	s.start(c, func(_ context.Context, raw []byte) (json.RawMessage, error) {
		if string(raw) == `{"n": 1}` && !failed {
			failed = true
			return nil, errors.New("not yet")
		}
		return raw, nil
	})
	ids := s.submit(true, `{"n": 1}`, `{"n": 2}`)
	s.untilStatus(ids[0], jobs.StatusDone)
	assert.Equal(t, []string{"submit", "claim", "retry", "claim", "finish"}, s.actions(ids[0]))
}

// While the connections of its statements die, an outcome is written again and again,
// and its request is not attempted again. An outcome that Postgres refuses in the
// middle of a group is replaced by a failure.
func TestOutcomesAreWrittenAgainUntilTheyAreStored(t *testing.T) {
	t.Parallel()
	s := setup(t)
	g := newGate()
	s.start(quick(), func(ctx context.Context, raw []byte) (json.RawMessage, error) {
		if _, err := g.run(ctx, raw); err != nil {
			return nil, err
		}
		if string(raw) == `{"n": 2}` {
			return json.RawMessage(`{"text": "\u0000"}`), nil
		}
		return raw, nil
	})
	payloads := slices.Repeat([]string{`{"n": 1}`}, 16)
	payloads[8] = `{"n": 2}`
	ids := s.submit(true, payloads...)
	for range ids {
		<-g.started
	}
	tx, err := s.db.BeginTxx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	_, err = tx.ExecContext(t.Context(), `LOCK TABLE mass_requests IN EXCLUSIVE MODE`)
	require.NoError(t, err)
	close(g.open)
	cut := 0
	require.Eventually(t, func() bool {
		var n int
		err := s.db.GetContext(t.Context(), &n, `
            SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%as_submitted%'`)
		cut += n
		return err == nil && cut >= 12 // the driver repeats some of them itself
	}, systemtest.Patience, 5*time.Millisecond, "statements that end requests")
	require.NoError(t, tx.Rollback())

	for i, id := range ids {
		end := "finish"
		if i == 8 {
			assert.Contains(t, s.untilStatus(id, jobs.StatusFailed).Error, "could not be stored")
			end = "fail"
		}
		s.until(id, "is final", func(r jobs.Request) bool { return r.Status.Final() })
		assert.Equal(t, []string{"submit", "claim", end}, s.actions(id))
	}
	assert.Equal(t, jobs.BatchSummary{Claimed: 16, Done: 15, Failed: 1}, s.summary(ids[0]))
}
