package intake_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/api/intake"
	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/migrations"
	"github.com/leomutto/pilot-in-a-box/store"
)

const patience = 3 * time.Minute // until a test that waits for something gives up

func TestMain(m *testing.M) {
	devtest.Main(m, func(ctx context.Context, url string) error {
		_, err := migrations.Up(ctx, url)
		return err
	})
}

// Postgres refuses a group of submissions as a whole; the submission that is to
// blame must fail alone, and the batches of all others must be enqueued.
func TestOneBadRowFailsAlone(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	url := devtest.Database(t)
	st, err := store.Open(store.Config{URL: url, MaxOpen: 4, MaxIdle: 4, StatementTimeout: patience})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	opt, err := queue.ParseRedisURL(devtest.Redis(t))
	require.NoError(t, err)
	rdb, err := queue.Dial(opt)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, rdb.Close()) })

	background := intake.NewBackground(log)
	handoff := intake.NewHandoff(background, st, queue.NewEnqueuer(rdb, time.Hour), rdb)
	in := intake.New(intake.Options{Store: st, Handoff: handoff, BatchMax: 4, Timeout: patience, Log: log})
	var clients sync.WaitGroup
	var mu sync.Mutex
	stored := map[int64]bool{}
	for i := range 40 {
		clients.Go(func() {
			payload := `{"n":1}`
			if i == 20 {
				payload = `not JSON`
			}
			row, err := in.Submit(t.Context(), store.NewRequest{
				Payload: []byte(payload), SchemaVersion: "1.0-simple", Priority: jobs.Default, Origin: store.Origin{Actor: "test"},
			})
			if i == 20 {
				assert.ErrorIs(t, err, store.ErrInvalid)
				return
			}
			if assert.NoError(t, err) {
				mu.Lock()
				defer mu.Unlock()
				stored[row.ID] = true
			}
		})
	}
	clients.Wait()
	require.NoError(t, in.Close(t.Context()))
	require.NoError(t, background.Close(t.Context()))
	require.Len(t, stored, 39)

	tasks, err := asynq.NewInspectorFromRedisClient(rdb).ListPendingTasks(string(jobs.Default), asynq.PageSize(100))
	require.NoError(t, err)
	db, err := sqlx.Connect("postgres", url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	enqueued := map[int64]bool{}
	for _, task := range tasks {
		p, err := jobs.ParseBatchPayload(task.Payload)
		require.NoError(t, err)
		var ids []int64
		require.NoError(t, db.SelectContext(t.Context(), &ids, `SELECT id FROM mass_requests WHERE batch_id = $1`, p.Batch))
		require.LessOrEqual(t, len(ids), 4)
		for _, id := range ids {
			enqueued[id] = true
		}
	}
	require.Equal(t, stored, enqueued)
}
