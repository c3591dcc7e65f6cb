package intake

import (
	"bytes"
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBackgroundNeverBlocks(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	b := NewBackground(slog.New(slog.NewJSONHandler(&log, nil)))
	stuck := make(chan struct{})
	var done atomic.Int64
	const tasks = backgroundQueue + 2*backgroundWorkers + 100
	for range tasks {
		b.Go("wait", func(context.Context) error {
			<-stuck
			done.Add(1)
			return nil
		})
	}
	close(stuck)
	require.NoError(t, b.Close(t.Context()))
	require.Less(t, done.Load(), int64(tasks), "more tasks than fit were dropped")
	require.GreaterOrEqual(t, done.Load(), int64(backgroundQueue))
	b.Go("late", func(context.Context) error { return nil })
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("\n")), "one line for many dropped tasks: %s", log.String())
	require.Contains(t, log.String(), "the reconciler will make up for it")
}

func TestCloseGivesUpOnTasksInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := NewBackground(slog.New(slog.DiscardHandler))
		for range 3 * backgroundWorkers {
			b.Go("wait", func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			})
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, b.Close(ctx), context.DeadlineExceeded)
		require.NoError(t, b.Close(t.Context()), "the remaining tasks are dropped at once")
	})
}
