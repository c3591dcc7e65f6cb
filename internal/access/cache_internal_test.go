package access

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/store"
)

func TestCache(t *testing.T) {
	t.Parallel()
	var looks atomic.Int64
	var failing error
	now := time.Now()
	c := newCache(time.Minute, func(context.Context, int) (int64, error) { return looks.Add(1), failing })
	c.now = func() time.Time { return now }
	get := func(k int) (int64, error) { return c.get(t.Context(), k) }
	is := func(want int64, k int) {
		t.Helper()
		got, err := get(k)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	is(1, 0)
	is(1, 0)
	is(2, 1)
	now = now.Add(cacheFor)
	is(3, 0)
	c.forget(0)
	is(4, 0)

	failing = errors.New("away")
	_, err := get(2)
	require.ErrorIs(t, err, failing)
	_, err = get(2)
	require.ErrorIs(t, err, failing)
	require.EqualValues(t, 6, looks.Load(), "a fault is not remembered")
	failing = store.ErrNotFound
	_, err = get(2)
	require.ErrorIs(t, err, failing)
	_, err = get(2)
	require.ErrorIs(t, err, failing)
	require.EqualValues(t, 7, looks.Load(), "that there is nothing is")

	for k := range 2 * cacheMax {
		_, _ = get(k)
	}
	require.LessOrEqual(t, len(c.entries), cacheMax)
}

// Callers that ask at the same time share one lookup, a caller that stops
// waiting does not disturb the others, and a row that was forgotten during its
// lookup is not kept.
func TestCacheSharesLookups(t *testing.T) {
	t.Parallel()
	var looks atomic.Int64
	begun, finish := make(chan struct{}, 2), make(chan struct{})
	c := newCache(time.Minute, func(context.Context, int) (int64, error) {
		n := looks.Add(1)
		begun <- struct{}{}
		<-finish
		return n, nil
	})
	impatient, leave := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = c.get(impatient, 7) })
	<-begun
	for range 20 {
		wg.Go(func() {
			got, err := c.get(t.Context(), 7)
			if err != nil || got < 1 {
				t.Errorf("got %d, %v", got, err)
			}
		})
	}
	leave()
	_, err := c.get(impatient, 7)
	require.ErrorIs(t, err, context.Canceled)
	c.forget(7)
	var second int64
	wg.Go(func() { second, _ = c.get(t.Context(), 7) })
	close(finish)
	wg.Wait()
	require.LessOrEqual(t, looks.Load(), int64(2))
	got, err := c.get(t.Context(), 7)
	require.NoError(t, err)
	require.Equal(t, second, got)
}
