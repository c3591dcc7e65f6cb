package access

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"

	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/limit"
	"github.com/leomutto/pilot-in-a-box/internal/web"
)

// rateLimits bound the requests per second of one caller, and of one address
// that shows no valid identity. A nil limiter is no limit.
type rateLimits struct {
	callers   *limit.Limiter // a request costs 1, each further submission in it 1 more
	addresses *limit.Limiter // requests without an identity, or with an invalid one
}

func newRateLimits(rdb redis.UniversalClient, c Config, log *slog.Logger) rateLimits {
	var l rateLimits
	if rate := c.CallerRate; rate > 0 {
		l.callers = limit.New(rdb, "mass:rate:caller:", rate, max(c.CallerBurst, rate), log)
	}
	if rate := c.AddressRate; rate > 0 {
		l.addresses = limit.New(rdb, "mass:rate:address:", rate, 2*rate, log)
	}
	return l
}

// admitCaller takes one request from the caller's rate, and writes what is left
// of it into the headers of the answer.
func (l rateLimits) admitCaller(w http.ResponseWriter, r *http.Request, caller auth.Identity) *web.Problem {
	if l.callers == nil {
		return nil
	}
	granted, state := l.callers.Take(r.Context(), caller.Subject(), 1)
	describeRate(w, "caller", state)
	if granted == 0 {
		return tooFast("Request rate limit exceeded.", state)
	}
	return nil
}

// AdmitItems takes n further submissions from the caller's rate and returns how
// many of them may proceed. The error is the refusal of the others.
func (g *Guard) AdmitItems(ctx context.Context, n int) (granted int, err error) {
	caller, ok := auth.IdentityOf(ctx)
	if g.limits.callers == nil || !ok || n <= 0 {
		return n, nil
	}
	granted, state := g.limits.callers.Take(ctx, caller.Subject(), n)
	if granted < n {
		return granted, tooFast("Submission rate limit exceeded.", state)
	}
	return granted, nil
}

// admitAddress takes one request from the rate of the client's address.
func (l rateLimits) admitAddress(w http.ResponseWriter, r *http.Request) *web.Problem {
	if l.addresses == nil {
		return nil
	}
	granted, state := l.addresses.Take(r.Context(), networkOf(web.ExchangeOf(r.Context()).Client), 1)
	if granted == 0 {
		describeRate(w, "address", state)
		return tooFast("Rate limit exceeded for requests without a valid token from your address.", state)
	}
	return nil
}

// describeRate sets the fields of draft-ietf-httpapi-ratelimit-headers-10.
func describeRate(w http.ResponseWriter, policy string, state limit.State) {
	h := w.Header()
	h.Set("RateLimit-Policy", fmt.Sprintf("%q;q=%d;w=1", policy, state.Limit))
	h.Set("RateLimit", fmt.Sprintf("%q;r=%d;t=%d", policy, state.Remaining, seconds(state.Reset)))
}

func tooFast(detail string, state limit.State) *web.Problem {
	return &web.Problem{
		Status: http.StatusTooManyRequests, Code: web.CodeTooFast, Detail: detail, RetryAfter: max(1, seconds(state.RetryAfter)),
	}
}

// networkOf returns the network under which a client's address is counted. A
// whole IPv6 /64 is one client, because one connection usually gets a network
// of that size.
func networkOf(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	if ip = ip.Unmap().WithZone(""); ip.Is6() {
		if prefix, err := ip.Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return ip.String()
}
