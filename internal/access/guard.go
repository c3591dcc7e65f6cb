// Package access identifies the caller of a request and decides what the caller
// may do: it checks tokens, API keys and the sessions of browsers, enforces the
// role of each route, limits the rates of callers and of logins, and logs
// people in and out.
//
// The package reads users, keys and sessions from the store and writes
// problems. It does not know what a route does.
package access

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/refusal"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/store"
)

// Anyone is the role of a route that is open to all callers, even without a
// token.
const Anyone auth.Role = "anyone"

// LoginPath is the page to which a browser without a session is sent.
const LoginPath = "/login"

// Config says how callers identify themselves and how much they may do. It must
// be complete: the defaults are in internal/config.
type Config struct {
	Off         bool          // every caller is an admin
	Tokens      *auth.Tokens  // nil only when Off
	RefreshTTL  time.Duration // of a chain of refresh tokens
	SessionTTL  time.Duration // of a browser's session
	SessionIdle time.Duration // after which an unused session ends
	Throttle    ThrottleConfig

	PlainSessions bool // allows session cookies over plain HTTP, for development

	CallerRate  int // requests per second of one caller, where each submission counts; 0: no limit
	CallerBurst int // of them at once; CallerRate if that is more
	AddressRate int // requests per second without a valid identity from one address; 0: no limit

	LookupTimeout time.Duration // of one statement
}

// Background runs work that no answer waits for and that may be lost.
type Background interface {
	Go(name string, do func(context.Context) error)
}

// Guard identifies callers and decides what they may do.
type Guard struct {
	cfg        Config
	store      *store.Store
	background Background
	throttle   *throttle
	limits     rateLimits
	users      *cache[int64, store.User]
	keys       *cache[int64, *usedKey]
	sessions   *cache[string, *usedSession] // by digest
}

// New returns a Guard that counts its rates in rdb.
func New(st *store.Store, rdb redis.UniversalClient, background Background, cfg Config, log *slog.Logger) (*Guard, error) {
	if cfg.Tokens == nil && !cfg.Off {
		return nil, errors.New("there is no key to sign tokens with")
	}
	return &Guard{
		cfg: cfg, store: st, background: background,
		throttle: newThrottle(rdb, cfg.Throttle, log),
		limits:   newRateLimits(rdb, cfg, log),
		users:    newCache(cfg.LookupTimeout, st.User),
		keys: newCache(cfg.LookupTimeout, func(ctx context.Context, id int64) (*usedKey, error) {
			k, err := st.APIKey(ctx, id)
			return &usedKey{APIKey: k}, err
		}),
		sessions: newCache(cfg.LookupTimeout, func(ctx context.Context, digest string) (*usedSession, error) {
			session, err := st.BrowserSession(ctx, []byte(digest), cfg.SessionIdle)
			return &usedSession{Session: session}, err
		}),
	}, nil
}

// Door is a handler that only callers with a certain role can reach.
type Door struct {
	guard *Guard
	role  auth.Role
	page  bool
	next  http.Handler
}

// Door makes a handler require a role: a caller needs that role or one that
// includes it. A handler without a role refuses every caller. page is for
// handlers that people open in a browser: a browser without a session is sent
// to the login page.
func (g *Guard) Door(role auth.Role, page bool, next http.Handler) *Door {
	return &Door{guard: g, role: role, page: page, next: next}
}

// Closed reports whether the door has no role, so that no caller gets through.
func (d *Door) Closed() bool { return d.role == "" }

var noStore = []string{"no-store"} // shared by all answers; not to be modified

// ServeHTTP implements http.Handler. It decides before any of the body is read.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	limits := d.guard.limits
	if d.role == Anyone {
		if r.Method == http.MethodPost { // an open POST, such as a login, costs a lookup
			if p := limits.admitAddress(w, r); p != nil {
				web.WriteProblem(w, r, p)
				return
			}
		}
		d.next.ServeHTTP(w, r)
		return
	}
	w.Header()["Cache-Control"] = noStore
	caller, ok, err := d.guard.Identify(r)
	if err == nil && !ok {
		err = Unauthenticated()
	}
	if err != nil {
		d.refuse(w, r, refusal.Of(err))
		return
	}
	web.ExchangeOf(r.Context()).Subject = caller.Subject()
	if !caller.Role.Includes(d.role) {
		web.WriteProblem(w, r, Forbidden(d.role, caller.Role))
		return
	}
	if p := limits.admitCaller(w, r, caller); p != nil {
		web.WriteProblem(w, r, p)
		return
	}
	d.next.ServeHTTP(w, r.WithContext(auth.WithIdentity(r.Context(), caller)))
}

// refuse answers a request without a valid identity.
func (d *Door) refuse(w http.ResponseWriter, r *http.Request, p *web.Problem) {
	if p.Status == http.StatusUnauthorized {
		if limited := d.guard.limits.admitAddress(w, r); limited != nil {
			p = limited
		}
	}
	if d.page && p.Status == http.StatusUnauthorized && wantsPage(r) {
		http.Redirect(w, r, loginFor(r), http.StatusSeeOther)
		return
	}
	web.WriteProblem(w, r, p)
}

// Unauthenticated is the problem of a request that shows no identity.
func Unauthenticated() *web.Problem {
	return &web.Problem{
		Status: http.StatusUnauthorized, Code: web.CodeUnauthenticated,
		Detail: "Authentication required: send an access token or API key as a bearer token, or log in at " + LoginPath + ".",
	}
}

// Forbidden is the problem of a caller whose role does not suffice.
func Forbidden(needed, has auth.Role) *web.Problem {
	return &web.Problem{
		Status: http.StatusForbidden, Code: web.CodeForbidden,
		Detail: fmt.Sprintf("This requires the role %s; your role is %s.", needed, has),
	}
}

// wantsPage tells a person's browser from a program.
func wantsPage(r *http.Request) bool {
	media, _ := web.Negotiate(r.Header.Values("Accept"), web.MediaProblem, web.MediaJSON, web.MediaHTML)
	return media == web.MediaHTML
}

// loginFor is the login page that leads back to the requested page.
func loginFor(r *http.Request) string {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return LoginPath
	}
	return LoginPath + "?" + url.Values{"next": {r.URL.RequestURI()}}.Encode()
}
