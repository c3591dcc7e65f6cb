package limit_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/internal/limit"
)

func TestMain(m *testing.M) {
	devtest.Main(m, func(context.Context, string) error { return nil })
}

func dial(t *testing.T, url string) redis.UniversalClient {
	t.Helper()
	opt, err := redis.ParseURL(url)
	require.NoError(t, err)
	rdb := redis.NewClient(opt)
	t.Cleanup(func() { require.NoError(t, rdb.Close()) })
	return rdb
}

func TestABurstAndNoMore(t *testing.T) {
	t.Parallel()
	l := limit.New(dial(t, devtest.Redis(t)), "t:", 1, 5, slog.New(slog.DiscardHandler))
	started := time.Now()
	grown := func() int { return int(time.Since(started).Seconds()) + 1 } // at one a second, rounded up
	got, state := l.Take(t.Context(), "a", 3)
	assert.Equal(t, 3, got)
	assert.Equal(t, 1, state.Limit)
	assert.Zero(t, state.RetryAfter)
	got, state = l.Take(t.Context(), "a", 10)
	assert.GreaterOrEqual(t, got, 2, "what is left")
	assert.LessOrEqual(t, got, 2+grown(), "what is left and what has grown back")
	assert.Positive(t, state.RetryAfter)
	assert.LessOrEqual(t, state.RetryAfter, time.Second)
	more, _ := l.Take(t.Context(), "a", 10)
	assert.LessOrEqual(t, got+more, 2+grown(), "nothing is left but what has grown back")
	got, _ = l.Take(t.Context(), "b", 5)
	assert.Equal(t, 5, got, "another key has its own")
}

// Several processes share one limit: together they get the burst and what grew
// back meanwhile.
func TestProcessesShareALimit(t *testing.T) {
	t.Parallel()
	const burst = 500
	url := devtest.Redis(t)
	var granted atomic.Int64
	var wg sync.WaitGroup
	started := time.Now()
	for range 4 {
		l := limit.New(dial(t, url), "t:", 40, burst, slog.New(slog.DiscardHandler))
		for range 4 {
			wg.Go(func() {
				for range 100 {
					n, _ := l.Take(t.Context(), "a", 1)
					granted.Add(int64(n))
				}
			})
		}
	}
	wg.Wait()
	grown := int64(time.Since(started).Seconds()*40) + 1
	assert.LessOrEqual(t, granted.Load(), burst+grown)
	assert.GreaterOrEqual(t, granted.Load(), int64(burst-4*2), "but for what is leased and not used")
}

func TestWithoutRedisTheProcessCountsAlone(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	var log bytes.Buffer
	l := limit.New(rdb, "t:", 1, 5, slog.New(slog.NewTextHandler(&log, nil)))
	total, started := 0, time.Now()
	for range 20 {
		n, _ := l.Take(t.Context(), "a", 1)
		total += n
	}
	assert.GreaterOrEqual(t, total, 5)
	assert.LessOrEqual(t, total, 5+int(time.Since(started).Seconds())+1, "the burst and what has grown back")
	_, state := l.Take(t.Context(), "a", 10)
	assert.Positive(t, state.RetryAfter)
	assert.Contains(t, log.String(), "each process counts its limits alone")
}

// Installations that share a Redis by database numbers share no limit.
func TestEachDatabaseOfARedisHasItsOwnLimits(t *testing.T) {
	t.Parallel()
	for range 2 {
		l := limit.New(dial(t, devtest.Redis(t)), "t:", 1, 5, slog.New(slog.DiscardHandler))
		got, _ := l.Take(t.Context(), "a", 5)
		assert.Equal(t, 5, got)
	}
}
