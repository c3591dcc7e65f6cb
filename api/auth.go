package api

import (
	"context"
	"net/http"

	"github.com/leomutto/pilot-in-a-box/internal/access"
	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/store"
)

const maxAuthBody = 16 << 10 // bytes; these bodies are short

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

// changePassword asks for the current password, so that a stolen token is not
// enough to take over an account. It is throttled as a login is.
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

// decode reads a body of these members.
func (in *authInput) decode(cfg Config, members ...web.Member) error {
	body, err := in.read(min(cfg.MaxBody, maxAuthBody))
	if err != nil {
		return err
	}
	return web.DecodeBody(body, members...)
}
