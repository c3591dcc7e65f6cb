// Package limit bounds how much each of many keys may take a second, over all
// processes together: the tokens of a key are in Redis (GCRA, by redis_rate), and
// each process leases some of them at a time, so that a request seldom waits for
// Redis. While Redis is away each process counts on its own.
package limit

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"
)

const (
	patience  = 250 * time.Millisecond // of a question to Redis
	leases    = 20                     // a second and key, at the full rate
	pause     = time.Second            // before Redis is asked again after it did not answer
	idle      = time.Minute            // after which a key is forgotten
	sweepFrom = 1024                   // keys at which the idle ones are looked for
)

// Limiter hands out tokens. It is safe for concurrent use.
type Limiter struct {
	prefix string // of the keys in Redis
	limit  redis_rate.Limit
	lease  int
	redis  *redis_rate.Limiter
	log    *slog.Logger

	mu      sync.Mutex
	buckets map[string]*bucket
	sweep   int
	away    time.Time // until when Redis is not asked
	warning rate.Sometimes
}

// bucket is what this process has of a key's tokens.
type bucket struct {
	mu     sync.Mutex
	tokens int
	left   int           // in Redis, when it was last asked
	empty  time.Time     // until when Redis has none; asking earlier is no use
	full   time.Time     // when all tokens are back, if nobody takes any
	local  *rate.Limiter // counts while Redis is away
	used   time.Time
}

// State is what a caller may be told of a key.
type State struct {
	Limit      int           // tokens a second
	Remaining  int           // tokens left, as far as is known here
	Reset      time.Duration // until all are back
	RetryAfter time.Duration // until there is one; 0 while there is
}

// New returns a Limiter of so many tokens a second, of which burst may be taken
// at once. The keys in Redis begin with prefix.
func New(rdb redis.UniversalClient, prefix string, perSecond, burst int, log *slog.Logger) *Limiter {
	return &Limiter{
		prefix: prefix, limit: redis_rate.Limit{Rate: perSecond, Burst: burst, Period: time.Second},
		lease: max(1, min(perSecond/leases, burst)), redis: redis_rate.NewLimiter(rdb), log: log,
		buckets: map[string]*bucket{}, sweep: sweepFrom, warning: rate.Sometimes{First: 1, Interval: time.Minute},
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
		return l.takeLocally(b, n, now)
	}
	if b.tokens < n && !now.Before(b.empty) {
		if err := l.refill(ctx, b, key, n-b.tokens, now); err != nil {
			l.warning.Do(func() {
				l.log.Warn("rates are counted in this process alone: Redis is away", "error", err)
			})
			return l.takeLocally(b, n, now)
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

// refill leases at least want tokens, if there are so many.
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
	b.local = nil
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

func (l *Limiter) takeLocally(b *bucket, n int, now time.Time) (granted int, state State) {
	if b.local == nil {
		b.local = rate.NewLimiter(rate.Limit(l.limit.Rate), l.limit.Burst)
	}
	for granted < n && b.local.AllowN(now, 1) {
		granted++
	}
	left := max(0, int(b.local.TokensAt(now)))
	per := time.Second / time.Duration(l.limit.Rate)
	state = State{Limit: l.limit.Rate, Remaining: left, Reset: time.Duration(l.limit.Burst-left) * per}
	if granted < n {
		state.RetryAfter = per
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

// forget drops the keys that nobody used for a while. What was leased of them is
// lost, which is a twentieth of a second's worth.
func (l *Limiter) forget(now time.Time) {
	if len(l.buckets) < l.sweep {
		return
	}
	for key, b := range l.buckets {
		if b.mu.TryLock() { // one that is locked is in use
			old := now.Sub(b.used) > idle
			b.mu.Unlock()
			if old {
				delete(l.buckets, key)
			}
		}
	}
	l.sweep = max(sweepFrom, 2*len(l.buckets))
}
