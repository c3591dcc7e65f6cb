package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/store"
)

// noteUseAfter is how old the time of the latest use may be before it is written again.
const noteUseAfter = time.Minute

// AuthConfig says how callers show who they are. The zero value of a duration means its default.
type AuthConfig struct {
	Off         bool         // everybody is an admin
	Tokens      *auth.Tokens // nil only when Off
	RefreshTTL  time.Duration
	SessionTTL  time.Duration // of a browser's session
	SessionIdle time.Duration // without use, until it ends
	Throttle    auth.ThrottleConfig
}

func (c AuthConfig) withDefaults() AuthConfig {
	orElse(&c.RefreshTTL, 7*24*time.Hour)
	orElse(&c.SessionTTL, 12*time.Hour)
	orElse(&c.SessionIdle, time.Hour)
	return c
}

// identities is what this process knows about callers.
type identities struct {
	AuthConfig
	throttle *auth.Throttle
	users    *memory[int64, store.User]
	keys     *memory[int64, *usedKey]
	sessions *memory[string, *usedSession] // by digest
}

// usedKey and usedSession are rows whose time of use is written once a look at most.
type usedKey struct {
	store.APIKey
	noted atomic.Bool
}

type usedSession struct {
	store.Session
	noted atomic.Bool
}

func (s *Server) newIdentities() (*identities, error) {
	cfg := s.cfg.Auth.withDefaults()
	if cfg.Tokens == nil && !cfg.Off {
		return nil, errors.New("there is nothing to sign tokens with")
	}
	return &identities{
		AuthConfig: cfg,
		throttle:   auth.NewThrottle(s.rdb, cfg.Throttle, s.log),
		users:      newMemory(s.cfg.RequestTimeout, s.store.User),
		keys: newMemory(s.cfg.RequestTimeout, func(ctx context.Context, id int64) (*usedKey, error) {
			k, err := s.store.APIKey(ctx, id)
			return &usedKey{APIKey: k}, err
		}),
		sessions: newMemory(s.cfg.RequestTimeout, func(ctx context.Context, digest string) (*usedSession, error) {
			session, err := s.store.BrowserSession(ctx, []byte(digest), cfg.SessionIdle)
			return &usedSession{Session: session}, err
		}),
	}, nil
}

// errIdentity is what a proof that does not hold is answered with, whatever is wrong with it.
func errIdentity(cause error) error {
	return &Problem{
		Status: http.StatusUnauthorized, Code: codeUnauthenticated,
		Detail: "The token does not hold: it is wrong, expired, or was revoked.", cause: cause,
	}
}

// identify returns who makes the request, by the bearer token (an access token or an API key) in its Authorization
// header, else by the session cookie of a browser. ok is false when the request shows neither. An error is a *Problem:
// 401 for a proof that does not hold, 503 when Postgres cannot be asked.
func (s *Server) identify(r *http.Request) (who auth.Identity, ok bool, err error) {
	if s.identities.Off {
		return auth.Identity{Kind: auth.Nobody, Name: anonymous, Role: auth.Admin}, true, nil
	}
	ctx := r.Context()
	if given := r.Header.Values("Authorization"); len(given) > 0 {
		token, err := bearer(given)
		if err != nil {
			return auth.Identity{}, false, err
		}
		if auth.IsAPIKey(token) {
			who, err = s.byKey(ctx, token)
		} else {
			who, err = s.byToken(ctx, token)
		}
		return settled(who, err)
	}
	if cookie := s.sessionOf(r); cookie != "" {
		return settled(s.bySession(ctx, cookie))
	}
	return auth.Identity{}, false, nil
}

// settled makes a *Problem of whatever went wrong.
func settled(who auth.Identity, err error) (auth.Identity, bool, error) {
	switch {
	case err == nil:
		return who, true, nil
	case errors.Is(err, store.ErrNotFound):
		err = errIdentity(err)
	default:
		err = problemOf(err)
	}
	return auth.Identity{}, false, err
}

func bearer(given []string) (string, error) {
	scheme, token, _ := strings.Cut(given[0], " ")
	token = strings.TrimLeft(token, " ")
	if len(given) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", errIdentity(errors.New("want one Authorization header: Bearer and a token"))
	}
	return token, nil
}

// byToken believes the token who it is, and the row what they may do now.
func (s *Server) byToken(ctx context.Context, token string) (auth.Identity, error) {
	access, err := s.identities.Tokens.Verify(token)
	if err != nil {
		return auth.Identity{}, errIdentity(err)
	}
	return s.userNow(ctx, access.ID, access.Generation)
}

// userNow is a user to whom something was issued under a generation, as they are now.
func (s *Server) userNow(ctx context.Context, id int64, generation int) (auth.Identity, error) {
	u, err := s.identities.users.get(ctx, id)
	if err == nil && u.Generation < generation { // what is remembered is older than the proof
		s.identities.users.forget(id)
		u, err = s.identities.users.get(ctx, id)
	}
	if err != nil {
		return auth.Identity{}, err
	}
	if u.Disabled() || u.Generation != generation {
		return auth.Identity{}, errIdentity(fmt.Errorf("what was issued to user %d is void", id))
	}
	return identityOf(&u), nil
}

func (s *Server) byKey(ctx context.Context, token string) (auth.Identity, error) {
	id, secret, ok := auth.ParseAPIKey(token)
	if !ok {
		return auth.Identity{}, errIdentity(errors.New("it does not look like an API key of ours"))
	}
	k, err := s.identities.keys.get(ctx, id)
	if err != nil {
		return auth.Identity{}, err
	}
	if !auth.SameDigest(secret, k.SecretHash) || !k.RevokedAt.IsZero() {
		return auth.Identity{}, errIdentity(fmt.Errorf("the secret of API key %d is wrong, or it was revoked", id))
	}
	if time.Since(k.LastUsedAt) > noteUseAfter && k.noted.CompareAndSwap(false, true) {
		s.dispatcher.send(errand{what: "note the use of an API key", do: func(ctx context.Context) error { return s.store.UsedAPIKey(ctx, id) }})
	}
	return auth.Identity{Kind: auth.Key, ID: id, Name: k.Name, Role: k.Role}, nil
}

func (s *Server) bySession(ctx context.Context, cookie string) (auth.Identity, error) {
	digest := auth.Digest(cookie)
	session, err := s.identities.sessions.get(ctx, string(digest))
	if err != nil {
		return auth.Identity{}, err
	}
	if time.Since(session.SeenAt) > noteUseAfter && session.noted.CompareAndSwap(false, true) {
		s.dispatcher.send(errand{what: "note the use of a session", do: func(ctx context.Context) error { return s.store.SawSession(ctx, digest) }})
	}
	return s.userNow(ctx, session.User.ID, session.User.Generation)
}

func identityOf(u *store.User) auth.Identity {
	return auth.Identity{Kind: auth.User, ID: u.ID, Name: u.Email, Role: u.Role}
}
