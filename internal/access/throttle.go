package auth

import (
	"context"
	"encoding/hex"
	"log/slog"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"
)

const (
	redisPatience = 250 * time.Millisecond // until a limit is counted in this process alone
	maxLocal      = 10_000                 // limits that are remembered without Redis
)

// Rate is Burst tries at once, and one more each Every.
type Rate struct {
	Burst int
	Every time.Duration
}

// ThrottleConfig bounds tries to log in. The zero value of a field means its default.
type ThrottleConfig struct {
	Account Rate // of one e-mail address, from wherever; 10, then one each 30 s
	Address Rate // from one client address, or an IPv6 /64, for whomever; 60, then one a second
}

// Throttle bounds how often somebody may try a password, over all processes
// through Redis; while that is away, in each process on its own.
type Throttle struct {
	limits  ThrottleConfig
	limiter *redis_rate.Limiter
	log     *slog.Logger

	mu      sync.Mutex
	local   map[string]*rate.Limiter
	warning rate.Sometimes
}

// NewThrottle returns a Throttle that counts in rdb.
func NewThrottle(rdb redis.UniversalClient, c ThrottleConfig, log *slog.Logger) *Throttle {
	if c.Account == (Rate{}) {
		c.Account = Rate{Burst: 10, Every: 30 * time.Second}
	}
	if c.Address == (Rate{}) {
		c.Address = Rate{Burst: 60, Every: time.Second}
	}
	return &Throttle{
		limits: c, limiter: redis_rate.NewLimiter(rdb), log: log,
		local: map[string]*rate.Limiter{}, warning: rate.Sometimes{First: 1, Interval: time.Minute},
	}
}

// Allow counts a try. wait is 0 when it may go on, else how long to wait before the next.
func (t *Throttle) Allow(ctx context.Context, email, client string) (wait time.Duration) {
	// The address first: who is stopped there does not use up tries of the account.
	if wait := t.take(ctx, addressKey(client), t.limits.Address); wait > 0 {
		return wait
	}
	return t.take(ctx, accountKey(email), t.limits.Account)
}

// Succeeded gives an account its tries back, for who knows the password may.
func (t *Throttle) Succeeded(ctx context.Context, email string) {
	key := accountKey(email)
	t.mu.Lock()
	delete(t.local, key)
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, redisPatience)
	defer cancel()
	if err := t.limiter.Reset(ctx, key); err != nil {
		t.warn(ctx, err)
	}
}

func (t *Throttle) take(ctx context.Context, key string, r Rate) (wait time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, redisPatience)
	defer cancel()
	// Rate tries a Period of Rate × Every: what a limit of seconds cannot say otherwise.
	got, err := t.limiter.Allow(ctx, key, redis_rate.Limit{Rate: r.Burst, Burst: r.Burst, Period: time.Duration(r.Burst) * r.Every})
	if err != nil {
		t.warn(ctx, err)
		return t.takeLocally(key, r)
	}
	if got.Allowed > 0 {
		return 0
	}
	return max(got.RetryAfter, time.Millisecond)
}

// takeLocally forgets everything when it knows too many keys: that costs an
// attacker ten thousand tries, each bounded by the address, and gains them a few.
func (t *Throttle) takeLocally(key string, r Rate) (wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.local[key]
	if l == nil {
		if len(t.local) >= maxLocal {
			clear(t.local)
		}
		l = rate.NewLimiter(rate.Every(r.Every), r.Burst)
		t.local[key] = l
	}
	if l.Allow() {
		return 0
	}
	return r.Every
}

func (t *Throttle) warn(ctx context.Context, err error) {
	t.warning.Do(func() {
		t.log.WarnContext(ctx, "logins are counted in this process alone: Redis is away", "error", err)
	})
}

// accountKey hides the address: Redis has no need to know who tries.
func accountKey(email string) string {
	return "mass:login:account:" + hex.EncodeToString(Digest(email)[:16])
}

// addressKey puts all addresses of an IPv6 /64 together: they belong to one client.
func addressKey(client string) string {
	const prefix = "mass:login:address:"
	if ip, err := netip.ParseAddr(client); err == nil {
		ip = ip.Unmap().WithZone("")
		if ip.Is6() {
			if network, err := ip.Prefix(64); err == nil {
				return prefix + network.String()
			}
		}
		return prefix + ip.String()
	}
	return prefix + hex.EncodeToString(Digest(client)[:16])
}

// Seconds rounds a wait up, for the header Retry-After.
func Seconds(wait time.Duration) int { return int(math.Ceil(wait.Seconds())) }
