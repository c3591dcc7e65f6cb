package access

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/refusal"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/store"
)

// noteUseAfter is the age from which the time of the last use is written again.
const noteUseAfter = time.Minute

// usedKey is an API key whose use is written at most once for each lookup.
type usedKey struct {
	store.APIKey
	noted atomic.Bool
}

// usedSession is a session whose use is written at most once for each lookup.
type usedSession struct {
	store.Session
	noted atomic.Bool
}

// invalidProof is the problem of a proof of identity that is not valid,
// whatever the reason. Only the log records the reason.
func invalidProof(cause error) error {
	return &web.Problem{
		Status: http.StatusUnauthorized, Code: web.CodeUnauthenticated,
		Detail: "The token is not valid: it is malformed, expired or revoked.", Cause: cause,
	}
}

// Identify returns who makes the request, by the bearer token (an access token
// or an API key) in its Authorization header, else by the session cookie of a
// browser. ok is false when the request shows neither. An error is a
// *web.Problem: 401 for a proof that is not valid, 503 when Postgres cannot be
// asked.
func (g *Guard) Identify(r *http.Request) (caller auth.Identity, ok bool, err error) {
	if g.cfg.Off {
		return auth.Identity{Kind: auth.Nobody, Name: anonymous, Role: auth.Admin}, true, nil
	}
	ctx := r.Context()
	if given := r.Header.Values("Authorization"); len(given) > 0 {
		token, err := bearerToken(given)
		if err != nil {
			return auth.Identity{}, false, err
		}
		if auth.IsAPIKey(token) {
			caller, err = g.byKey(ctx, token)
		} else {
			caller, err = g.byToken(ctx, token)
		}
		return identified(caller, err)
	}
	if cookie := g.SessionCookie(r); cookie != "" {
		return identified(g.bySession(ctx, cookie))
	}
	return auth.Identity{}, false, nil
}

// identified turns any error of a lookup into a *web.Problem.
func identified(caller auth.Identity, err error) (auth.Identity, bool, error) {
	switch {
	case err == nil:
		return caller, true, nil
	case errors.Is(err, store.ErrNotFound):
		return auth.Identity{}, false, invalidProof(err)
	}
	return auth.Identity{}, false, refusal.Of(err)
}

func bearerToken(given []string) (string, error) {
	scheme, token, _ := strings.Cut(given[0], " ")
	token = strings.TrimLeft(token, " ")
	if len(given) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", invalidProof(errors.New("want one Authorization header with the word Bearer and a token"))
	}
	return token, nil
}

// byToken takes the user's id from the token and everything else from the
// user's row, so that a change of the role counts at once.
func (g *Guard) byToken(ctx context.Context, token string) (auth.Identity, error) {
	access, err := g.cfg.Tokens.Verify(token)
	if err != nil {
		return auth.Identity{}, invalidProof(err)
	}
	return g.currentUser(ctx, access.ID, access.Generation)
}

// currentUser returns a user as they are now, unless what was issued to them
// under a generation is no longer valid.
func (g *Guard) currentUser(ctx context.Context, id int64, generation int) (auth.Identity, error) {
	u, err := g.users.get(ctx, id)
	if err == nil && u.Generation < generation { // the cached row is older than the proof
		g.users.forget(id)
		u, err = g.users.get(ctx, id)
	}
	if err != nil {
		return auth.Identity{}, err
	}
	if u.Disabled() || u.Generation != generation {
		return auth.Identity{}, invalidProof(fmt.Errorf("user %d is disabled, or their tokens and sessions were revoked", id))
	}
	return identityOf(&u), nil
}

func (g *Guard) byKey(ctx context.Context, token string) (auth.Identity, error) {
	id, secret, ok := auth.ParseAPIKey(token)
	if !ok {
		return auth.Identity{}, invalidProof(errors.New("malformed API key"))
	}
	k, err := g.keys.get(ctx, id)
	if err != nil {
		return auth.Identity{}, err
	}
	if !auth.SameDigest(secret, k.SecretHash) || !k.RevokedAt.IsZero() {
		return auth.Identity{}, invalidProof(fmt.Errorf("API key %d is revoked, or its secret is wrong", id))
	}
	if !k.Standing.Acts() {
		return auth.Identity{}, endedKey(&k.APIKey)
	}
	if time.Since(k.LastUsedAt) > noteUseAfter && k.noted.CompareAndSwap(false, true) {
		g.background.Go("record the use of an API key", func(ctx context.Context) error { return g.store.UsedAPIKey(ctx, id) })
	}
	return auth.Identity{Kind: auth.Key, ID: id, Name: k.Name, Role: k.Standing.Role, Owner: k.Standing.User}, nil
}

// endedKey is the problem of a key that does not act although it was not
// revoked. It tells the holder of the key, who has shown its secret, what to
// do.
func endedKey(k *store.APIKey) error {
	remedy := fmt.Sprintf("An admin can take the key over with POST /api-keys/%d/adopt.", k.ID)
	if k.Standing.Ended == store.KeyExpired && k.Standing.EndedBy == (auth.Identity{Kind: auth.Key, ID: k.ID}).Subject() {
		remedy = "An admin can create another one."
	}
	return &web.Problem{
		Status: http.StatusUnauthorized, Code: web.CodeUnauthenticated,
		Detail: "The API key does not act: " + k.Standing.Reason() + ". " + remedy,
		Cause:  fmt.Errorf("API key %d: %s", k.ID, k.Standing.Reason()),
	}
}

func (g *Guard) bySession(ctx context.Context, cookie string) (auth.Identity, error) {
	digest := auth.Digest(cookie)
	session, err := g.sessions.get(ctx, string(digest))
	if err != nil {
		return auth.Identity{}, err
	}
	if time.Since(session.SeenAt) > noteUseAfter && session.noted.CompareAndSwap(false, true) {
		g.background.Go("record the use of a session", func(ctx context.Context) error { return g.store.SawSession(ctx, digest) })
	}
	return g.currentUser(ctx, session.User.ID, session.User.Generation)
}

// ForgetUser makes a change of a user count in this process at once. Other
// processes notice it when their cached row expires.
func (g *Guard) ForgetUser(id int64) { g.users.forget(id) }

// ForgetKey makes a change of an API key count in this process at once.
func (g *Guard) ForgetKey(id int64) { g.keys.forget(id) }

// ForgetKeys makes a change of a user or of an API key count in this process at
// once for all keys that depend on it.
func (g *Guard) ForgetKeys() { g.keys.forgetAll() }

func identityOf(u *store.User) auth.Identity {
	return auth.Identity{Kind: auth.User, ID: u.ID, Name: u.Email, Role: u.Role}
}
