package api

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/limit"
)

// rateLimits bound what one caller, and one address without a caller, may ask a
// second. A nil limiter is no limit.
type rateLimits struct {
	callers   *limit.Limiter // a request costs 1, a batch of submissions one for each
	addresses *limit.Limiter // requests that show nobody, or a proof that does not hold
}

func (s *Server) newLimits() rateLimits {
	var l rateLimits
	if rate := s.cfg.CallerRate; rate > 0 {
		l.callers = limit.New(s.rdb, "mass:rate:caller:", rate, max(s.cfg.CallerBurst, rate), s.log)
	}
	if rate := s.cfg.AddressRate; rate > 0 {
		l.addresses = limit.New(s.rdb, "mass:rate:address:", rate, 2*rate, s.log)
	}
	return l
}

// admitCaller takes one request from the caller's rate, and says in the answer
// what is left of it.
func (l rateLimits) admitCaller(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	if l.callers == nil {
		return nil
	}
	granted, state := l.callers.Take(r.Context(), who.Subject(), 1)
	l.describe(w, "caller", state)
	if granted == 0 {
		return tooFast("You send more requests a second than one caller may.", state)
	}
	return nil
}

// admitItems takes n further submissions from the caller's rate, and returns how
// many of them it has left.
func (l rateLimits) admitItems(ctx context.Context, n int) (granted int, err error) {
	who, ok := auth.IdentityOf(ctx)
	if l.callers == nil || !ok || n <= 0 {
		return n, nil
	}
	granted, state := l.callers.Take(ctx, who.Subject(), n)
	if granted < n {
		err = tooFast("You submit more a second than one caller may.", state)
	}
	return granted, err
}

// admitStranger takes one request from the rate of the address.
func (l rateLimits) admitStranger(w http.ResponseWriter, r *http.Request) error {
	if l.addresses == nil {
		return nil
	}
	granted, state := l.addresses.Take(r.Context(), network(exchangeOf(r.Context()).client), 1)
	if granted == 0 {
		l.describe(w, "address", state)
		return tooFast("Your address sends more requests a second without a valid token than one address may.", state)
	}
	return nil
}

// describe sets the fields of draft-ietf-httpapi-ratelimit-headers-10.
func (rateLimits) describe(w http.ResponseWriter, policy string, state limit.State) {
	h := w.Header()
	h.Set("RateLimit-Policy", fmt.Sprintf("%q;q=%d;w=1", policy, state.Limit))
	h.Set("RateLimit", fmt.Sprintf("%q;r=%d;t=%d", policy, state.Remaining, auth.Seconds(state.Reset)))
}

func tooFast(detail string, state limit.State) *Problem {
	return &Problem{
		Status: http.StatusTooManyRequests, Code: codeTooFast, Detail: detail, retryAfter: max(1, auth.Seconds(state.RetryAfter)),
	}
}

// network is what an address is counted as: of IPv6 one client has a whole /64.
func network(address string) string {
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
