package access

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/store"
)

// Login is a login that succeeded.
type Login struct {
	User    store.User
	Token   string // a refresh token, or the value of a session's cookie
	Expires time.Time
}

func wrongCredentials() error {
	return &web.Problem{Status: http.StatusUnauthorized, Code: web.CodeCredentials, Detail: "The e-mail address or the password is wrong."}
}

// LogIn checks a password and opens a session of the given kind.
func (g *Guard) LogIn(ctx context.Context, email, password string, kind store.SessionKind) (Login, error) {
	if g.cfg.Tokens == nil {
		return Login{}, &web.Problem{
			Status: http.StatusConflict, Code: web.CodeConflict, Detail: "There is nothing to log in to: MASS_AUTH is off, so every caller is an admin.",
		}
	}
	u, err := g.CheckPassword(ctx, email, password)
	if err != nil {
		return Login{}, err
	}
	ttl := g.cfg.RefreshTTL
	if kind == store.BrowserSession {
		ttl = g.cfg.SessionTTL
	}
	l := Login{User: u, Token: auth.NewOpaque()}
	by := Origin(ctx)
	by.Actor = identityOf(&u).Subject()
	within, cancel := context.WithTimeout(ctx, g.cfg.LookupTimeout)
	defer cancel()
	l.Expires, err = g.store.OpenSession(within, store.NewSession{
		Kind: kind, User: u.ID, Generation: u.Generation, TokenHash: auth.Digest(l.Token), TTL: ttl,
	}, by)
	g.ForgetUser(u.ID)                     // the cached row may say that the user is still disabled
	if errors.Is(err, store.ErrNotFound) { // disabled, or given another password, a moment ago
		err = wrongCredentials()
	}
	return l, err
}

// CheckPassword returns the user who has an e-mail address and a password. It
// takes the same time, and writes the same audit event, whether the user exists
// or not. Attempts are throttled.
func (g *Guard) CheckPassword(ctx context.Context, email, password string) (store.User, error) {
	typed := strings.ToLower(strings.TrimSpace(email))
	if parsed, err := auth.ParseEmail(email); err == nil {
		typed = parsed
	}
	if wait := g.throttle.allow(ctx, typed, web.ExchangeOf(ctx).Client); wait > 0 {
		return store.User{}, &web.Problem{
			Status: http.StatusTooManyRequests, Code: web.CodeThrottled, Detail: "Too many attempts to log in. Try again later.",
			RetryAfter: seconds(wait),
		}
	}
	within, cancel := context.WithTimeout(ctx, g.cfg.LookupTimeout)
	defer cancel()
	return g.matchPassword(within, typed, password)
}

func (g *Guard) matchPassword(ctx context.Context, email, password string) (store.User, error) {
	var u store.User
	var err error
	if parsed, invalid := auth.ParseEmail(email); invalid == nil { // an invalid address belongs to no user
		if u, err = g.store.UserByEmail(ctx, parsed); err != nil && !errors.Is(err, store.ErrNotFound) {
			return u, err
		}
	}
	match, err := auth.CheckPassword(ctx, password, u.PasswordHash)
	if err != nil {
		return u, err
	}
	if !match.OK || u.Disabled() {
		if err := g.store.RecordFailedLogin(ctx, email, Origin(ctx)); err != nil {
			return u, err
		}
		return u, wrongCredentials()
	}
	if match.Upgraded != "" {
		if err := g.store.UpgradeHash(ctx, u.ID, u.PasswordHash, match.Upgraded); err != nil {
			return u, err
		}
	}
	g.throttle.succeeded(ctx, email)
	return u, nil
}

// Refresh exchanges a refresh token for the next one of its chain.
func (g *Guard) Refresh(ctx context.Context, token string) (Login, error) {
	next := auth.NewOpaque()
	within, cancel := context.WithTimeout(ctx, g.cfg.LookupTimeout)
	defer cancel()
	rotated, err := g.store.RotateRefreshToken(within, auth.Digest(token), auth.Digest(next), Origin(within))
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrReused) || err == nil && g.cfg.Tokens == nil {
		return Login{}, &web.Problem{
			Status: http.StatusUnauthorized, Code: web.CodeCredentials,
			Detail: "The refresh token is unknown, expired, used or revoked. Log in again.", Cause: err,
		}
	}
	return Login{User: rotated.User, Token: next, Expires: rotated.Expires}, err
}

// IssueToken returns an access token of a user, and how long it is valid.
func (g *Guard) IssueToken(u *store.User) (token string, ttl time.Duration, err error) {
	return g.cfg.Tokens.Issue(auth.Access{Identity: identityOf(u), Generation: u.Generation})
}

// LogOut ends the session of a token, if there is one.
func (g *Guard) LogOut(ctx context.Context, kind store.SessionKind, token string) error {
	digest := auth.Digest(token)
	within, cancel := context.WithTimeout(ctx, g.cfg.LookupTimeout)
	defer cancel()
	err := g.store.EndSession(within, kind, digest, Origin(within))
	g.sessions.forget(string(digest))
	if errors.Is(err, store.ErrNotFound) { // it has ended already
		return nil
	}
	return err
}
