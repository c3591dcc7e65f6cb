package limit

import (
	"context"
	"log/slog"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
)

// Rate allows Burst attempts at once, and one more after each interval Every.
type Rate struct {
	Burst int
	Every time.Duration
}

// Tries bounds attempts at rare and expensive actions, for example at a
// password. Unlike a Limiter it asks Redis each time, so the count is exact
// over all processes.
type Tries struct {
	redis    *redis_rate.Limiter
	fallback *fallback
}

// NewTries returns Tries that are counted in rdb.
func NewTries(rdb redis.UniversalClient, log *slog.Logger) *Tries {
	return &Tries{redis: redis_rate.NewLimiter(rdb), fallback: newFallback(log)}
}

// Take counts an attempt of a key. It returns 0 when the attempt may proceed,
// else the time to wait before the next one.
func (t *Tries) Take(ctx context.Context, key string, r Rate) (wait time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	// Burst tokens per Burst × Every is the only way to ask redis_rate for one
	// token per Every.
	got, err := t.redis.Allow(ctx, key, redis_rate.Limit{Rate: r.Burst, Burst: r.Burst, Period: time.Duration(r.Burst) * r.Every})
	if err != nil {
		t.fallback.warn(ctx, err)
		if granted, _ := t.fallback.take(key, r.Burst, r.Every, 1, time.Now()); granted == 0 {
			return r.Every
		}
		return 0
	}
	if got.Allowed > 0 {
		return 0
	}
	return max(got.RetryAfter, time.Millisecond)
}

// Reset gives a key all its attempts back.
func (t *Tries) Reset(ctx context.Context, key string) {
	t.fallback.forget(key)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := t.redis.Reset(ctx, key); err != nil {
		t.fallback.warn(ctx, err)
	}
}
