package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/store"
)

const (
	pathAuth    = "/auth/"
	pathUsers   = "/users"
	pathKeys    = "/api-keys"
	maxAuthBody = 16 << 10 // bytes; what is sent here is short
)

// routeAuth sets up the routes of logins, users and API keys.
func (s *Server) routeAuth() {
	body := []int{400, 408, 413, 415, 422, 503}
	with := func(codes ...int) []int { return append(codes, body...) }
	handle(s, huma.Operation{
		OperationID: "login", Method: http.MethodPost, Path: pathAuth + "login", DefaultStatus: http.StatusOK,
		Tags: []string{tagUsers}, Summary: "Log in with a password", Description: describeLogin, Errors: with(401, 429),
	}, s.logInForTokens)
	handle(s, huma.Operation{
		OperationID: "refresh", Method: http.MethodPost, Path: pathAuth + "refresh", DefaultStatus: http.StatusOK,
		Tags: []string{tagUsers}, Summary: "Get a new access token", Description: describeRefresh, Errors: with(401),
	}, s.refresh)
	handle(s, huma.Operation{
		OperationID: "logout", Method: http.MethodPost, Path: pathAuth + "logout", DefaultStatus: http.StatusNoContent,
		Tags: []string{tagUsers}, Summary: "Log out", Description: describeLogout, Errors: body,
	}, s.logout)
	handle(s, huma.Operation{
		OperationID: "me", Method: http.MethodGet, Path: pathAuth + "me",
		Tags: []string{tagUsers}, Summary: "Who am I?", Errors: []int{422},
	}, s.me)
	handle(s, huma.Operation{
		OperationID: "change-password", Method: http.MethodPost, Path: pathAuth + "password", DefaultStatus: http.StatusNoContent,
		Tags: []string{tagUsers}, Summary: "Change one's own password", Description: describePassword, Errors: with(401, 403, 429),
	}, s.changePassword)
	handle(s, huma.Operation{
		OperationID: "register", Method: http.MethodPost, Path: pathAuth + "register", DefaultStatus: http.StatusCreated,
		Tags: []string{tagUsers}, Summary: "Add a user", Errors: with(409),
	}, s.register)

	handle(s, huma.Operation{
		OperationID: "list-users", Method: http.MethodGet, Path: pathUsers,
		Tags: []string{tagUsers}, Summary: "List the users, in the order they were added", Errors: []int{503},
	}, s.listUsers)
	handle(s, huma.Operation{
		OperationID: "get-user", Method: http.MethodGet, Path: pathUsers + "/{id}",
		Tags: []string{tagUsers}, Summary: "Look at a user", Errors: []int{404, 503},
	}, s.getUser)
	handle(s, huma.Operation{
		OperationID: "change-user", Method: http.MethodPatch, Path: pathUsers + "/{id}",
		Tags: []string{tagUsers}, Summary: "Change a user's role, disable or enable them", Description: describeUser, Errors: with(404, 409),
	}, s.changeUser)
	handle(s, huma.Operation{
		OperationID: "set-password", Method: http.MethodPost, Path: pathUsers + "/{id}/password", DefaultStatus: http.StatusNoContent,
		Tags: []string{tagUsers}, Summary: "Set another user's password", Description: describePassword, Errors: with(404),
	}, s.setPassword)

	handle(s, huma.Operation{
		OperationID: "list-api-keys", Method: http.MethodGet, Path: pathKeys,
		Tags: []string{tagUsers}, Summary: "List the API keys, in the order they were made", Errors: []int{503},
	}, s.listKeys)
	handle(s, huma.Operation{
		OperationID: "add-api-key", Method: http.MethodPost, Path: pathKeys, DefaultStatus: http.StatusCreated,
		Tags: []string{tagUsers}, Summary: "Make an API key", Description: describeKey, Errors: body,
	}, s.addKey)
	handle(s, huma.Operation{
		OperationID: "revoke-api-key", Method: http.MethodDelete, Path: pathKeys + "/{id}",
		Tags: []string{tagUsers}, Summary: "Revoke an API key", Errors: []int{404, 503},
	}, s.revokeKey)
}

// Tokens is the answer to a login.
type Tokens struct {
	AccessToken      string `json:"access_token" doc:"Sent as Authorization: Bearer" example:"eyJhbGciOiJIUzI1NiIsImtpZCI6IjVkMGU…"`
	TokenType        string `json:"token_type" enum:"Bearer" doc:"What kind of token it is" example:"Bearer"`
	ExpiresIn        int    `json:"expires_in" doc:"Seconds that the access token is good for" example:"600"`
	RefreshToken     string `json:"refresh_token" doc:"Good once, for POST /auth/refresh" example:"7UL3yqGNbQFh1V0bKc0pTnY2eUe0b9mZ4mJ2o8vX1aQ"`
	RefreshExpiresAt string `json:"refresh_expires_at" format:"date-time" doc:"When a new login is needed" example:"2026-03-08T11:00:00.000000Z"`
}

// Me is who makes a request.
type Me struct {
	Subject string    `json:"subject" doc:"What the trail and created_by call them" example:"user:12"`
	Kind    auth.Kind `json:"kind" enum:"user,key,anonymous" doc:"A person, a machine, or anybody while MASS_AUTH is off" example:"user"`
	Name    string    `json:"name" doc:"E-mail address of a user, name of a key" example:"ann@example.com"`
	Role    auth.Role `json:"role" enum:"viewer,operator,admin" doc:"What they may do" example:"operator"`
}

type (
	authInput    struct{ JSONBody }
	tokensOutput struct {
		CacheControl string `header:"Cache-Control"`
		Body         Tokens
	}
	meOutput struct{ Body Me }
)

func errCredentials() error {
	return &Problem{Status: http.StatusUnauthorized, Code: codeCredentials, Detail: "The e-mail address or the password is wrong."}
}

func (s *Server) logInForTokens(ctx context.Context, in *authInput) (*tokensOutput, error) {
	var email, password string
	if err := in.decode(s.cfg, text("email", true, &email), text("password", true, &password)); err != nil {
		return nil, err
	}
	refresh := auth.NewOpaque()
	u, expires, err := s.login(ctx, email, password, store.RefreshSession, refresh)
	if err != nil {
		return nil, err
	}
	return s.issue(&u, refresh, expires)
}

// openSession logs a person in and returns the value of the session's cookie.
func (s *Server) openSession(ctx context.Context, email, password string) (cookie string, expires time.Time, err error) {
	cookie = auth.NewOpaque()
	_, expires, err = s.login(ctx, email, password, store.BrowserSession, cookie)
	return cookie, expires, err
}

// closeSession ends the session of a cookie, if there is one.
func (s *Server) closeSession(ctx context.Context, cookie string) error {
	err := s.endSession(ctx, store.BrowserSession, cookie)
	s.identities.sessions.forget(string(auth.Digest(cookie)))
	return err
}

func (s *Server) endSession(ctx context.Context, kind store.SessionKind, token string) error {
	_, err := bounded(ctx, s.cfg.AnswerTimeout, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.store.EndSession(ctx, kind, auth.Digest(token), origin(ctx))
	})
	if errors.Is(err, store.ErrNotFound) { // it has ended already, which is what was asked for
		return nil
	}
	return err
}

// login checks a password and opens a session whose token the caller has made.
func (s *Server) login(ctx context.Context, email, password string, kind store.SessionKind, token string) (u store.User, expires time.Time, err error) {
	if s.identities.Tokens == nil {
		return u, expires, &Problem{Status: http.StatusConflict, Code: codeConflict, Detail: "Nobody has to log in here: MASS_AUTH is off."}
	}
	if u, err = s.checkLogin(ctx, email, password); err != nil {
		return u, expires, err
	}
	ttl := s.identities.RefreshTTL
	if kind == store.BrowserSession {
		ttl = s.identities.SessionTTL
	}
	by := origin(ctx)
	by.Actor = identityOf(&u).Subject()
	expires, err = bounded(ctx, s.cfg.AnswerTimeout, func(ctx context.Context) (time.Time, error) {
		return s.store.OpenSession(ctx, store.NewSession{
			Kind: kind, User: u.ID, Generation: u.Generation, TokenHash: auth.Digest(token), TTL: ttl,
		}, by)
	})
	s.identities.users.forget(u.ID)        // they may have been enabled a moment ago
	if errors.Is(err, store.ErrNotFound) { // disabled, or another password, since a moment ago
		err = errCredentials()
	}
	return u, expires, err
}

// checkLogin returns the user whose password this is. It takes the same time, and
// leaves the same event, whether there is such a user or not.
func (s *Server) checkLogin(ctx context.Context, email, password string) (store.User, error) {
	typed := strings.ToLower(strings.TrimSpace(email))
	if parsed, err := auth.ParseEmail(email); err == nil {
		typed = parsed
	}
	if wait := s.identities.throttle.Allow(ctx, typed, exchangeOf(ctx).client); wait > 0 {
		return store.User{}, &Problem{
			Status: http.StatusTooManyRequests, Code: codeThrottled, Detail: "Too many tries to log in. Try again later.",
			retryAfter: auth.Seconds(wait),
		}
	}
	return bounded(ctx, s.cfg.AnswerTimeout, func(ctx context.Context) (store.User, error) {
		return s.matchPassword(ctx, typed, password)
	})
}

func (s *Server) matchPassword(ctx context.Context, email, password string) (store.User, error) {
	var u store.User
	var err error
	if parsed, wrong := auth.ParseEmail(email); wrong == nil { // what is no address is nobody's
		if u, err = s.store.UserByEmail(ctx, parsed); err != nil && !errors.Is(err, store.ErrNotFound) {
			return u, err
		}
	}
	match, err := auth.CheckPassword(ctx, password, u.PasswordHash)
	if err != nil {
		return u, err
	}
	if !match.OK || u.Disabled() {
		if err := s.store.RecordFailedLogin(ctx, email, origin(ctx)); err != nil {
			return u, err
		}
		return u, errCredentials()
	}
	if match.Upgraded != "" {
		if err := s.store.UpgradeHash(ctx, u.ID, u.PasswordHash, match.Upgraded); err != nil {
			return u, err
		}
	}
	s.identities.throttle.Succeeded(ctx, email)
	return u, nil
}

func (s *Server) issue(u *store.User, refresh string, expires time.Time) (*tokensOutput, error) {
	access, ttl, err := s.identities.Tokens.Issue(auth.Access{Identity: identityOf(u), Generation: u.Generation})
	if err != nil {
		return nil, err
	}
	return &tokensOutput{CacheControl: "no-store", Body: Tokens{
		AccessToken: access, TokenType: "Bearer", ExpiresIn: int(ttl.Seconds()), RefreshToken: refresh, RefreshExpiresAt: stamp(expires),
	}}, nil
}

func (s *Server) refresh(ctx context.Context, in *authInput) (*tokensOutput, error) {
	var old string
	if err := in.decode(s.cfg, text("refresh_token", true, &old)); err != nil {
		return nil, err
	}
	fresh := auth.NewOpaque()
	rotated, err := bounded(ctx, s.cfg.AnswerTimeout, func(ctx context.Context) (store.Rotated, error) {
		return s.store.RotateRefreshToken(ctx, auth.Digest(old), auth.Digest(fresh), origin(ctx))
	})
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrReused) || err == nil && s.identities.Tokens == nil {
		return nil, &Problem{
			Status: http.StatusUnauthorized, Code: codeCredentials, Detail: "The refresh token is wrong, expired, used or revoked. Log in again.", cause: err,
		}
	}
	if err != nil {
		return nil, err
	}
	return s.issue(&rotated.User, fresh, rotated.Expires)
}

func (s *Server) logout(ctx context.Context, in *authInput) (*struct{}, error) {
	var token string
	if err := in.decode(s.cfg, text("refresh_token", true, &token)); err != nil {
		return nil, err
	}
	return nil, s.endSession(ctx, store.RefreshSession, token)
}

func (s *Server) me(ctx context.Context, _ *struct{}) (*meOutput, error) {
	who, ok := auth.IdentityOf(ctx)
	if !ok {
		return nil, errIdentity(errors.New("the route was reached without an identity"))
	}
	return &meOutput{Me{Subject: who.Subject(), Kind: who.Kind, Name: who.Name, Role: who.Role}}, nil
}

// changePassword asks for the old password, so that a token that was left lying
// about is not enough to take an account over. It is throttled as a login is.
func (s *Server) changePassword(ctx context.Context, in *authInput) (*struct{}, error) {
	var current, next string
	if err := in.decode(s.cfg, text("current_password", true, &current), text("new_password", true, &next)); err != nil {
		return nil, err
	}
	who, ok := auth.IdentityOf(ctx)
	if !ok || who.Kind != auth.User {
		return nil, &Problem{Status: http.StatusForbidden, Code: codeForbidden, Detail: "Only users have a password."}
	}
	if _, err := s.checkLogin(ctx, who.Name, current); err != nil {
		return nil, err
	}
	return nil, s.storePassword(ctx, who.ID, "new_password", next)
}

// decode reads a body of these members.
func (in *authInput) decode(cfg Config, members ...member) error {
	body, err := in.read(min(cfg.MaxBody, maxAuthBody))
	if err != nil {
		return err
	}
	var faults payload.Faults
	if err := decode(body, &faults, members...); err != nil {
		return err
	}
	if len(faults) > 0 {
		return invalidBody(faults)
	}
	return nil
}

// text is a member that takes any string.
func text(name string, required bool, into *string) member {
	return checked(name, required, into, func(s string) (string, error) { return s, nil })
}

// checked is a member that takes a string which a function makes a value of; the
// text of its error says what is wrong.
func checked[T any](name string, required bool, into *T, parse func(string) (T, error)) member {
	return member{name: name, required: required, set: func(value jsontext.Value, faults *payload.Faults) {
		pointer := jsontext.Pointer("/" + name)
		unquoted, err := jsontext.AppendUnquote(nil, value)
		if err != nil {
			faults.Add(pointer, "must be a string")
			return
		}
		parsed, err := parse(string(unquoted))
		if err != nil {
			faults.Add(pointer, "%s", err)
			return
		}
		*into = parsed
	}}
}
