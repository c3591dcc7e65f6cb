package groupcommit_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/groupcommit"
)

// recorder doubles each item and keeps the groups. A flush waits at the gate.
type recorder struct {
	mu     sync.Mutex
	groups [][]int
	gate   chan struct{}
	fail   func([]int) error
}

func (r *recorder) flush(ctx context.Context, in []int) ([]int, error) {
	r.mu.Lock()
	r.groups = append(r.groups, slices.Clone(in))
	r.mu.Unlock()
	if r.gate != nil {
		select {
		case <-r.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if r.fail != nil {
		if err := r.fail(in); err != nil {
			return nil, err
		}
	}
	out := make([]int, len(in))
	for i, n := range in {
		out[i] = 2 * n
	}
	return out, nil
}

type result struct {
	out int
	err error
}

// submit starts a Do for each item in turn, so that they arrive in order.
func submit(ctx context.Context, c *groupcommit.Committer[int, int], items ...int) []chan result {
	var rs []chan result
	for _, n := range items {
		ch := make(chan result, 1)
		rs = append(rs, ch)
		go func() {
			out, err := c.Do(ctx, n)
			ch <- result{out, err}
		}()
		synctest.Wait()
	}
	return rs
}

func TestItemsGatherWhileAFlushIsUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{gate: make(chan struct{})}
		c := groupcommit.New(r.flush, groupcommit.Options{})
		rs := submit(t.Context(), c, 1, 2, 3, 4)
		close(r.gate)
		for i, ch := range rs {
			assert.Equal(t, result{out: 2 * (i + 1)}, <-ch)
		}
		assert.Equal(t, [][]int{{1}, {2, 3, 4}}, r.groups, "the first item is flushed at once, the others together and in order")
		require.NoError(t, c.Close(t.Context()))
	})
}

func TestASecondFlushWaitsUntilItIsJustified(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{gate: make(chan struct{})}
		c := groupcommit.New(r.flush, groupcommit.Options{Parallel: 2, Fill: 3})
		rs := submit(t.Context(), c, 1, 2, 3)
		assert.Equal(t, [][]int{{1}}, r.groups, "two waiting items do not justify a second flush")
		rs = append(rs, submit(t.Context(), c, 4, 5)...)
		assert.Equal(t, [][]int{{1}, {2, 3, 4}}, r.groups, "three do")
		r.gate <- struct{}{} // one of the two flushes ends
		synctest.Wait()
		assert.Len(t, r.groups, 2, "one item waits while the other flush is under way")
		close(r.gate)
		for i, ch := range rs {
			assert.Equal(t, result{out: 2 * (i + 1)}, <-ch)
		}
		assert.Equal(t, [][]int{{1}, {2, 3, 4}, {5}}, r.groups)
		require.NoError(t, c.Close(t.Context()))
	})
}

func TestGroupsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{gate: make(chan struct{})}
		c := groupcommit.New(r.flush, groupcommit.Options{MaxGroup: 2})
		rs := submit(t.Context(), c, 1, 2, 3, 4, 5, 6)
		close(r.gate)
		for _, ch := range rs {
			require.NoError(t, (<-ch).err)
		}
		assert.Equal(t, [][]int{{1}, {2, 3}, {4, 5}, {6}}, r.groups)
	})
}

func TestParallelFlushes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{gate: make(chan struct{})}
		c := groupcommit.New(r.flush, groupcommit.Options{Parallel: 2})
		rs := submit(t.Context(), c, 1, 2, 3)
		assert.Equal(t, [][]int{{1}, {2}}, r.groups, "two flushes at once, the third item waits")
		close(r.gate)
		for _, ch := range rs {
			require.NoError(t, (<-ch).err)
		}
	})
}

func TestAnErrorFailsItsGroupOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		r := &recorder{gate: make(chan struct{}), fail: func(in []int) error {
			if slices.Contains(in, 1) {
				return boom
			}
			return nil
		}}
		c := groupcommit.New(r.flush, groupcommit.Options{})
		rs := submit(t.Context(), c, 1, 2)
		close(r.gate)
		assert.ErrorIs(t, (<-rs[0]).err, boom)
		assert.Equal(t, result{out: 4}, <-rs[1])
	})
}

func TestABadItemFailsAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bad := errors.New("bad item")
		r := &recorder{gate: make(chan struct{}), fail: func(in []int) error {
			if slices.Contains(in, 4) {
				return bad
			}
			return nil
		}}
		c := groupcommit.New(r.flush, groupcommit.Options{Split: func(err error) bool { return errors.Is(err, bad) }})
		rs := submit(t.Context(), c, 1, 2, 3, 4, 5, 6)
		close(r.gate)
		for i, ch := range rs {
			got := <-ch
			if i+1 == 4 {
				assert.ErrorIs(t, got.err, bad)
				continue
			}
			assert.Equal(t, result{out: 2 * (i + 1)}, got, "item %d", i+1)
		}
	})
}

func TestAPanicIsAnError(t *testing.T) {
	t.Parallel()
	c := groupcommit.New(func(context.Context, []int) ([]int, error) { panic("oh no") }, groupcommit.Options{})
	for range 2 { // the second shows that the Committer goes on
		_, err := c.Do(t.Context(), 1)
		assert.ErrorContains(t, err, "oh no")
	}
	require.NoError(t, c.Close(t.Context()))
}

func TestAWrongNumberOfResultsIsAnError(t *testing.T) {
	t.Parallel()
	c := groupcommit.New(func(context.Context, []int) ([]int, error) { return nil, nil }, groupcommit.Options{})
	_, err := c.Do(t.Context(), 1)
	assert.ErrorContains(t, err, "0 results")
}

func TestAWaitingItemIsWithdrawn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{gate: make(chan struct{})}
		c := groupcommit.New(r.flush, groupcommit.Options{})
		first := submit(t.Context(), c, 1)
		ctx, cancel := context.WithCancel(t.Context())
		second := submit(ctx, c, 2)
		cancel()
		assert.ErrorIs(t, (<-second[0]).err, context.Canceled)
		close(r.gate)
		assert.Equal(t, result{out: 2}, <-first[0])
		require.NoError(t, c.Close(t.Context()))
		assert.Equal(t, [][]int{{1}}, r.groups, "the withdrawn item was never written")
	})
}

func TestAnItemInFlightIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{gate: make(chan struct{})}
		c := groupcommit.New(r.flush, groupcommit.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		rs := submit(ctx, c, 1)
		cancel()
		synctest.Wait()
		close(r.gate)
		assert.Equal(t, result{out: 2}, <-rs[0], "it was written, so its caller gets the result")
	})
}

func TestCloseFlushesWhatWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{gate: make(chan struct{})}
		c := groupcommit.New(r.flush, groupcommit.Options{})
		rs := submit(t.Context(), c, 1, 2, 3)
		closed := make(chan error, 1)
		go func() { closed <- c.Close(t.Context()) }()
		synctest.Wait()
		_, err := c.Do(t.Context(), 4)
		assert.ErrorIs(t, err, groupcommit.ErrClosed)
		close(r.gate)
		require.NoError(t, <-closed)
		for _, ch := range rs {
			require.NoError(t, (<-ch).err)
		}
		require.NoError(t, c.Close(t.Context()), "closing twice is harmless")
	})
}

func TestCloseGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{gate: make(chan struct{})} // never opened
		c := groupcommit.New(r.flush, groupcommit.Options{})
		rs := submit(t.Context(), c, 1, 2)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		assert.ErrorIs(t, c.Close(ctx), context.Canceled)
		assert.ErrorIs(t, (<-rs[0]).err, context.Canceled)
		assert.ErrorIs(t, (<-rs[1]).err, groupcommit.ErrClosed)
	})
}

func TestManyAtOnceShareFlushesAndFailAlone(t *testing.T) {
	t.Parallel()
	bad := errors.New("bad")
	var mu sync.Mutex
	flushes := 0
	c := groupcommit.New(func(_ context.Context, items []int) ([]int, error) {
		mu.Lock()
		defer mu.Unlock()
		flushes++
		out := make([]int, len(items))
		for i, n := range items {
			if n == 7 {
				return nil, bad
			}
			out[i] = n * 10
		}
		return out, nil
	}, groupcommit.Options{MaxGroup: 64, Split: func(err error) bool { return errors.Is(err, bad) }})
	in := make([]int, 100)
	for i := range in {
		in[i] = i
	}
	for i, r := range c.DoAll(t.Context(), in) {
		if i == 7 {
			require.ErrorIs(t, r.Err, bad)
			continue
		}
		require.NoError(t, r.Err)
		require.Equal(t, i*10, r.Out)
	}
	require.Less(t, flushes, 20)
	require.Empty(t, c.DoAll(t.Context(), nil))
	require.NoError(t, c.Close(t.Context()))
	for _, r := range c.DoAll(t.Context(), in[:2]) {
		require.ErrorIs(t, r.Err, groupcommit.ErrClosed)
	}
}

func TestAnImpatientItemDoesNotWaitForItsFlush(t *testing.T) {
	t.Parallel()
	begun, release := make(chan struct{}), make(chan struct{})
	c := groupcommit.New(func(_ context.Context, items []int) ([]int, error) {
		close(begun)
		<-release
		return items, nil
	}, groupcommit.Options{Impatient: true})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	_, err := c.Do(ctx, 1)
	require.ErrorIs(t, err, context.Canceled)
	close(release)
	require.NoError(t, c.Close(t.Context()))
}
