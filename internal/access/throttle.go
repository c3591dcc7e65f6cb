package access

import (
	"context"
	"encoding/hex"
	"log/slog"
	"math"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/limit"
)

// ThrottleConfig bounds attempts to log in.
type ThrottleConfig struct {
	Account limit.Rate // of one e-mail address, from any client
	Address limit.Rate // from one client address or IPv6 /64, for any account
}

// throttle bounds how often a client may attempt to log in.
type throttle struct {
	limits ThrottleConfig
	tries  *limit.Tries
}

func newThrottle(rdb redis.UniversalClient, c ThrottleConfig, log *slog.Logger) *throttle {
	return &throttle{limits: c, tries: limit.NewTries(rdb, log)}
}

// allow counts an attempt. It returns 0 when the attempt may proceed, else the
// time to wait before the next one.
func (t *throttle) allow(ctx context.Context, email, client string) (wait time.Duration) {
	// The address comes first: a client that is stopped there does not use up
	// the attempts of the account.
	if wait := t.tries.Take(ctx, "mass:login:address:"+networkOf(client), t.limits.Address); wait > 0 {
		return wait
	}
	return t.tries.Take(ctx, accountKey(email), t.limits.Account)
}

// succeeded gives an account its attempts back: the client knows the password.
func (t *throttle) succeeded(ctx context.Context, email string) {
	t.tries.Reset(ctx, accountKey(email))
}

// accountKey hides the e-mail address, which Redis does not need to know.
func accountKey(email string) string {
	return "mass:login:account:" + hex.EncodeToString(auth.Digest(email)[:16])
}

// seconds rounds a wait up, for the header Retry-After.
func seconds(wait time.Duration) int { return int(math.Ceil(wait.Seconds())) }
