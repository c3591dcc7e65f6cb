package api

import (
	"context"
	"net/http"

	"github.com/leomutto/pilot-in-a-box/internal/access"
	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/store"
)

const maxAuthBody = 16 << 10 // bytes

// Tokens is the response to a login or a refresh.
type Tokens struct {
	AccessToken      string `json:"access_token" doc:"Send it in the header Authorization: Bearer" example:"eyJhbGciOiJIUzI1NiIsImtpZCI6IjVkMGU…"`
	TokenType        string `json:"token_type" enum:"Bearer" doc:"Type of the access token" example:"Bearer"`
	ExpiresIn        int    `json:"expires_in" doc:"Lifetime of the access token in seconds" example:"600"`
	RefreshToken     string `json:"refresh_token" doc:"Valid for one POST /auth/refresh" example:"7UL3yqGNbQFh1V0bKc0pTnY2eUe0b9mZ4mJ2o8vX1aQ"`
	RefreshExpiresAt string `json:"refresh_expires_at" format:"date-time" doc:"When the login ends; after that the user must log in again" example:"2026-03-08T11:00:00.000000Z"`
}

// Me describes the caller of a request.
type Me struct {
	Subject string    `json:"subject" doc:"Identifies the caller in the audit trail and in created_by" example:"user:12"`
	Kind    auth.Kind `json:"kind" enum:"user,key,anonymous" doc:"user: a person. key: an API key. anonymous: any caller while MASS_AUTH is off" example:"user"`
	Name    string    `json:"name" doc:"E-mail address of the user, or name of the API key" example:"ann@example.com"`
	Role    auth.Role `json:"role" enum:"viewer,operator,admin" doc:"Role, which decides what the caller may do" example:"operator"`
}

type (
	authInput    struct{ JSONBody }
	tokensOutput struct {
		CacheControl string `header:"Cache-Control"`
		Body         Tokens
	}
	meOutput struct{ Body Me }
)

func (s *Server) logIn(ctx context.Context, in *authInput) (*tokensOutput, error) {
	var email, password string
	if err := in.decode(s.cfg, web.TextMember("email", true, &email), web.TextMember("password", true, &password)); err != nil {
		return nil, err
	}
	l, err := s.guard.LogIn(ctx, email, password, store.RefreshSession)
	if err != nil {
		return nil, err
	}
	return s.issueTokens(&l)
}

func (s *Server) issueTokens(l *access.Login) (*tokensOutput, error) {
	token, ttl, err := s.guard.IssueToken(&l.User)
	if err != nil {
		return nil, err
	}
	return &tokensOutput{CacheControl: "no-store", Body: Tokens{
		AccessToken: token, TokenType: "Bearer", ExpiresIn: int(ttl.Seconds()), RefreshToken: l.Token, RefreshExpiresAt: formatTime(l.Expires),
	}}, nil
}

func (s *Server) refresh(ctx context.Context, in *authInput) (*tokensOutput, error) {
	var token string
	if err := in.decode(s.cfg, web.TextMember("refresh_token", true, &token)); err != nil {
		return nil, err
	}
	l, err := s.guard.Refresh(ctx, token)
	if err != nil {
		return nil, err
	}
	return s.issueTokens(&l)
}

func (s *Server) logOut(ctx context.Context, in *authInput) (*struct{}, error) {
	var token string
	if err := in.decode(s.cfg, web.TextMember("refresh_token", true, &token)); err != nil {
		return nil, err
	}
	return nil, s.guard.LogOut(ctx, store.RefreshSession, token)
}

func (s *Server) me(ctx context.Context, _ *struct{}) (*meOutput, error) {
	who, ok := auth.IdentityOf(ctx)
	if !ok {
		return nil, access.Unauthenticated()
	}
	return &meOutput{Me{Subject: who.Subject(), Kind: who.Kind, Name: who.Name, Role: who.Role}}, nil
}

// changePassword requires the current password, so that a stolen token is not
// enough to take over an account. Attempts are throttled like logins.
func (s *Server) changePassword(ctx context.Context, in *authInput) (*struct{}, error) {
	var current, next string
	if err := in.decode(s.cfg, web.TextMember("current_password", true, &current), web.TextMember("new_password", true, &next)); err != nil {
		return nil, err
	}
	who, ok := auth.IdentityOf(ctx)
	if !ok || who.Kind != auth.User {
		return nil, &web.Problem{Status: http.StatusForbidden, Code: web.CodeForbidden, Detail: "Only users have a password; API keys do not."}
	}
	if _, err := s.guard.CheckPassword(ctx, who.Name, current); err != nil {
		return nil, err
	}
	return nil, s.storePassword(ctx, who.ID, "new_password", next)
}

// decode reads a JSON body that consists of the given members.
func (in *authInput) decode(cfg Config, members ...web.Member) error {
	body, err := in.read(min(cfg.MaxBody, maxAuthBody))
	if err != nil {
		return err
	}
	return web.DecodeBody(body, members...)
}
