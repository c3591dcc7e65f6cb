package auth_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
)

func TestMain(m *testing.M) { devtest.Main(m, nil) }

// slow limits never give a try back while a test runs.
var slow = auth.ThrottleConfig{Account: auth.Rate{Burst: 3, Every: time.Hour}, Address: auth.Rate{Burst: 5, Every: time.Hour}}

func throttles(t *testing.T) map[string]*auth.Throttle {
	t.Helper()
	opt, err := redis.ParseURL(devtest.Redis(t))
	require.NoError(t, err)
	there := redis.NewClient(opt)
	away := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	t.Cleanup(func() { require.NoError(t, there.Close()); require.NoError(t, away.Close()) })
	return map[string]*auth.Throttle{
		"redis": auth.NewThrottle(there, slow, slog.New(slog.DiscardHandler)),
		"local": auth.NewThrottle(away, slow, slog.New(slog.DiscardHandler)),
	}
}

func TestAnAccountIsThrottledFromEverywhere(t *testing.T) {
	t.Parallel()
	for name, th := range throttles(t) {
		for i := range 3 {
			require.Zero(t, th.Allow(t.Context(), "ann@x", fmt.Sprintf("10.0.0.%d", i)), name)
		}
		wait := th.Allow(t.Context(), "ann@x", "10.0.0.9")
		require.Positive(t, wait, name)
		require.LessOrEqual(t, auth.Seconds(wait), 3600, name)
		require.Zero(t, th.Allow(t.Context(), "bob@x", "10.0.0.9"), name)
		th.Succeeded(t.Context(), "ann@x")
		require.Zero(t, th.Allow(t.Context(), "ann@x", "10.0.0.8"), name)
	}
}

func TestAnAddressIsThrottledForEverybody(t *testing.T) {
	t.Parallel()
	for name, th := range throttles(t) {
		for i := range 5 {
			require.Zero(t, th.Allow(t.Context(), fmt.Sprintf("u%d@x", i), fmt.Sprintf("2001:db8::%d", i)), name)
		}
		require.Positive(t, th.Allow(t.Context(), "u9@x", "2001:db8::9"), "%s: one /64", name)
		require.Zero(t, th.Allow(t.Context(), "u9@x", "2001:db8:0:1::9"), name)
		for range 5 {
			th.Allow(t.Context(), "u10@x", "::ffff:10.1.1.1")
		}
		require.Positive(t, th.Allow(t.Context(), "u11@x", "10.1.1.1"), "%s: one address in two forms", name)
		require.Zero(t, th.Allow(t.Context(), "u11@x", "no address"), name)
	}
}

func TestThatRedisIsAwayIsSaidOnce(t *testing.T) {
	t.Parallel()
	away := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	t.Cleanup(func() { require.NoError(t, away.Close()) })
	var log bytes.Buffer
	th := auth.NewThrottle(away, auth.ThrottleConfig{}, slog.New(slog.NewTextHandler(&log, nil)))
	for range 10 {
		th.Allow(t.Context(), "ann@x", "10.0.0.1")
	}
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("Redis is away")))
	assert.NotContains(t, log.String(), "ann@x")
}

func TestSecondsAreRoundedUp(t *testing.T) {
	t.Parallel()
	assert.Equal(t, 1, auth.Seconds(time.Millisecond))
	assert.Equal(t, 30, auth.Seconds(30*time.Second))
}
