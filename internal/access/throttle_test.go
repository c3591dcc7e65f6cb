package access

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/internal/limit"
)

func TestMain(m *testing.M) { devtest.Main(m, nil) }

// slow limits give no attempt back while a test runs.
var slow = ThrottleConfig{Account: limit.Rate{Burst: 3, Every: time.Hour}, Address: limit.Rate{Burst: 5, Every: time.Hour}}

func throttles(t *testing.T) map[string]*throttle {
	t.Helper()
	opt, err := redis.ParseURL(devtest.Redis(t))
	require.NoError(t, err)
	there := redis.NewClient(opt)
	away := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	t.Cleanup(func() { require.NoError(t, there.Close()); require.NoError(t, away.Close()) })
	return map[string]*throttle{
		"redis": newThrottle(there, slow, slog.New(slog.DiscardHandler)),
		"local": newThrottle(away, slow, slog.New(slog.DiscardHandler)),
	}
}

func TestAnAccountIsThrottledFromEverywhere(t *testing.T) {
	t.Parallel()
	for name, th := range throttles(t) {
		for i := range 3 {
			require.Zero(t, th.allow(t.Context(), "ann@x", fmt.Sprintf("10.0.0.%d", i)), name)
		}
		wait := th.allow(t.Context(), "ann@x", "10.0.0.9")
		require.Positive(t, wait, name)
		require.LessOrEqual(t, seconds(wait), 3600, name)
		require.Zero(t, th.allow(t.Context(), "bob@x", "10.0.0.9"), name)
		th.succeeded(t.Context(), "ann@x")
		require.Zero(t, th.allow(t.Context(), "ann@x", "10.0.0.8"), name)
	}
}

func TestAnAddressIsThrottledForEverybody(t *testing.T) {
	t.Parallel()
	for name, th := range throttles(t) {
		for i := range 5 {
			require.Zero(t, th.allow(t.Context(), fmt.Sprintf("u%d@x", i), fmt.Sprintf("2001:db8::%d", i)), name)
		}
		require.Positive(t, th.allow(t.Context(), "u9@x", "2001:db8::9"), "%s: one /64", name)
		require.Zero(t, th.allow(t.Context(), "u9@x", "2001:db8:0:1::9"), name)
		for range 5 {
			th.allow(t.Context(), "u10@x", "::ffff:10.1.1.1")
		}
		require.Positive(t, th.allow(t.Context(), "u11@x", "10.1.1.1"), "%s: one address in two forms", name)
		require.Zero(t, th.allow(t.Context(), "u11@x", "no address"), name)
	}
}

func TestThatRedisIsAwayIsSaidOnce(t *testing.T) {
	t.Parallel()
	away := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	t.Cleanup(func() { require.NoError(t, away.Close()) })
	var log bytes.Buffer
	th := newThrottle(away, ThrottleConfig{}, slog.New(slog.NewTextHandler(&log, nil)))
	for range 10 {
		th.allow(t.Context(), "ann@x", "10.0.0.1")
	}
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("Redis is away")))
	assert.NotContains(t, log.String(), "ann@x")
}

func TestSecondsAreRoundedUp(t *testing.T) {
	t.Parallel()
	assert.Equal(t, 1, seconds(time.Millisecond))
	assert.Equal(t, 30, seconds(30*time.Second))
}
