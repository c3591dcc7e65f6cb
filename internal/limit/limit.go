// Package limit bounds how much each of many keys may take, over all processes
// together. The tokens of a key are in Redis (GCRA, by redis_rate). A Limiter
// leases some of them at a time, so that a request seldom waits for Redis;
// Tries asks for each one. While Redis is away, each process counts alone.
package limit

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
)

const (
	patience  = 250 * time.Millisecond // for one answer of Redis
	leases    = 20                     // per second and key, at the full rate
	pause     = time.Second            // before Redis is asked again after it did not answer
	idle      = time.Minute            // after which an unused key is forgotten
	sweepFrom = 1024                   // number of keys from which idle ones are removed
)

// Limiter hands out tokens. It is safe for concurrent use.
type Limiter struct {
	prefix   string // of the keys in Redis
	limit    redis_rate.Limit
	lease    int
	redis    *redis_rate.Limiter
	fallback *fallback

	mu      sync.Mutex
	buckets map[string]*bucket
	sweep   int       // number of buckets from which idle ones are removed
	away    time.Time // until when Redis is not asked
}

// bucket holds the tokens of a key that this process has leased.
type bucket struct {
	mu     sync.Mutex
	tokens int
	left   int       // tokens in Redis when it was last asked
	empty  time.Time // Redis has no token before this time, so asking is useless
	full   time.Time // when all tokens will be back, if none is taken
	used   time.Time
}

// State is the state of a key as a caller may see it.
type State struct {
	Limit      int           // tokens per second
	Remaining  int           // tokens left, as far as this process knows
	Reset      time.Duration // until all tokens are back
	RetryAfter time.Duration // until there is a token; 0 when there is one now
}

// New returns a Limiter that grants each key perSecond tokens a second, of
// which burst may be taken at once. The keys in Redis begin with prefix.
func New(rdb redis.UniversalClient, prefix string, perSecond, burst int, log *slog.Logger) *Limiter {
	return &Limiter{
		prefix: prefix, limit: redis_rate.Limit{Rate: perSecond, Burst: burst, Period: time.Second},
		lease: max(1, min(perSecond/leases, burst)), redis: redis_rate.NewLimiter(rdb), fallback: newFallback(log),
		buckets: map[string]*bucket{}, sweep: sweepFrom,
	}
}

// Take takes up to n tokens of a key and returns how many it got.
func (l *Limiter) Take(ctx context.Context, key string, n int) (granted int, state State) {
	now := time.Now()
	b := l.bucket(key, now)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used = now
	if b.tokens < n && l.isAway(now) {
		return l.takeLocally(key, n, now)
	}
	if b.tokens < n && !now.Before(b.empty) {
		if err := l.refill(ctx, b, key, n-b.tokens, now); err != nil {
			l.fallback.warn(ctx, err)
			return l.takeLocally(key, n, now)
		}
	}
	granted = min(n, b.tokens)
	b.tokens -= granted
	state = State{Limit: l.limit.Rate, Remaining: b.tokens + b.left, Reset: max(0, b.full.Sub(now))}
	if granted < n {
		state.RetryAfter = max(b.empty.Sub(now), time.Millisecond)
	}
	return granted, state
}

// refill leases at least want tokens, or all that are left.
func (l *Limiter) refill(ctx context.Context, b *bucket, key string, want int, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	got, err := l.redis.AllowAtMost(ctx, l.prefix+key, l.limit, max(want, l.lease))
	if err != nil {
		l.mu.Lock()
		l.away = now.Add(pause)
		l.mu.Unlock()
		return err
	}
	l.fallback.forget(key)
	b.tokens += got.Allowed
	b.left, b.full = got.Remaining, now.Add(got.ResetAfter)
	if b.tokens < want {
		b.empty = now.Add(max(got.RetryAfter, time.Second/time.Duration(l.limit.Rate)))
	}
	return nil
}

func (l *Limiter) isAway(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return now.Before(l.away)
}

// takeLocally is Take without Redis.
func (l *Limiter) takeLocally(key string, n int, now time.Time) (granted int, state State) {
	each := time.Second / time.Duration(l.limit.Rate)
	granted, left := l.fallback.take(key, l.limit.Burst, each, n, now)
	state = State{Limit: l.limit.Rate, Remaining: left, Reset: time.Duration(l.limit.Burst-left) * each}
	if granted < n {
		state.RetryAfter = each
	}
	return granted, state
}

func (l *Limiter) bucket(key string, now time.Time) *bucket {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[key]
	if b == nil {
		l.forget(now)
		b = &bucket{used: now}
		l.buckets[key] = b
	}
	return b
}

// forget drops the keys that were idle for a while. Their leased tokens are
// lost, which is a twentieth of a second's worth.
func (l *Limiter) forget(now time.Time) {
	if len(l.buckets) < l.sweep {
		return
	}
	for key, b := range l.buckets {
		if b.mu.TryLock() { // a locked bucket is in use
			old := now.Sub(b.used) > idle
			b.mu.Unlock()
			if old {
				delete(l.buckets, key)
			}
		}
	}
	l.sweep = max(sweepFrom, 2*len(l.buckets))
}
