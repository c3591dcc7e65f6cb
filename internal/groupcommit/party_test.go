package groupcommit_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/groupcommit"
)

// sizes returns a committer that answers each item with itself, and the sizes of
// the groups that it flushed.
func sizes() (*groupcommit.Committer[int, int], *[]int) {
	var list []int
	return groupcommit.New(func(_ context.Context, in []int) ([]int, error) {
		list = append(list, len(in))
		return in, nil
	}, groupcommit.Options{}), &list
}

func TestAPartyIsFlushedWithItsLastItem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, flushed := sizes()
		p := c.Expect(4, time.Hour)
		for i := range 3 {
			go func() {
				time.Sleep(time.Duration(i) * time.Minute)
				out, err := p.Do(t.Context(), i)
				assert.NoError(t, err)
				assert.Equal(t, i, out)
			}()
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		assert.Empty(t, *flushed, "one is missing")
		p.Leave()
		synctest.Wait()
		assert.Equal(t, []int{3}, *flushed)
		require.NoError(t, c.Close(t.Context()))
	})
}

func TestAPartyWaitsOnlyAsLongAsItsPatience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, flushed := sizes()
		p := c.Expect(3, time.Second)
		start := time.Now()
		go func() { _, _ = p.Do(t.Context(), 1) }()
		synctest.Wait()
		_, err := p.Do(t.Context(), 2)
		require.NoError(t, err)
		assert.Equal(t, time.Second, time.Since(start))
		assert.Equal(t, []int{2}, *flushed)

		_, err = p.Do(t.Context(), 3) // the last one waits for nobody
		require.NoError(t, err)
		assert.Equal(t, time.Second, time.Since(start))
		_, err = p.Do(t.Context(), 4) // nor does one that nobody expected
		require.NoError(t, err)
		assert.Equal(t, []int{2, 1, 1}, *flushed)
		require.NoError(t, c.Close(t.Context()))
	})
}

func TestAnItemOfAPartyIsWithdrawn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, flushed := sizes()
		p := c.Expect(2, time.Hour)
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error)
		go func() {
			_, err := p.Do(ctx, 1)
			ended <- err
		}()
		synctest.Wait()
		enough := errors.New("enough")
		cancel(enough)
		require.ErrorIs(t, <-ended, enough)
		p.Leave()
		assert.Empty(t, *flushed)

		p = c.Expect(2, time.Hour)
		go func() {
			_, err := p.Do(t.Context(), 1)
			ended <- err
		}()
		synctest.Wait()
		require.NoError(t, c.Close(t.Context()))
		p.Leave()
		require.ErrorIs(t, <-ended, groupcommit.ErrClosed)
	})
}
