package auth

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// ErrToken means that an access token is not valid. The errors that wrap it
// contain the reason, which is meant for the log and must not be sent to the
// client.
var ErrToken = errors.New("the access token is not valid")

const (
	maxToken = 4096 // bytes; the tokens of Issue have about 450
	leeway   = 5 * time.Second
)

// Tokens issues and verifies access tokens.
type Tokens struct {
	keys     *Keyring
	issuer   string
	audience string
	ttl      time.Duration
	now      func() time.Time
	parser   *jwt.Parser
}

// TokenConfig configures the access tokens that are issued and accepted.
type TokenConfig struct {
	Keys             *Keyring
	Issuer, Audience string
	TTL              time.Duration
	Now              func() time.Time // nil: time.Now
}

// NewTokens returns a Tokens that issues access tokens and accepts only tokens
// with its own issuer, audience and keys.
func NewTokens(c TokenConfig) *Tokens {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Tokens{
		keys: c.Keys, issuer: c.Issuer, audience: c.Audience, ttl: c.TTL, now: c.Now,
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{"HS256", "RS256", "EdDSA"}),
			jwt.WithIssuer(c.Issuer), jwt.WithAudience(c.Audience),
			jwt.WithExpirationRequired(), jwt.WithNotBeforeRequired(), jwt.WithIssuedAt(),
			jwt.WithLeeway(leeway), jwt.WithTimeFunc(c.Now), jwt.WithStrictDecoding(),
		),
	}
}

// claims are the claims of an access token.
type claims struct {
	jwt.RegisteredClaims
	Role       Role   `json:"role"`
	Name       string `json:"name"`
	Generation int    `json:"gen"`
}

// Access is the content of an access token: the identity to which it was
// issued, with the name and role at that time.
type Access struct {
	Identity
	Generation int // generation of the user; the token is void once the user has another one
}

// Issue returns an access token and its lifetime.
func (t *Tokens) Issue(a Access) (token string, ttl time.Duration, err error) {
	now := t.now()
	unsigned := jwt.NewWithClaims(t.keys.signer.method, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: t.issuer, Audience: jwt.ClaimStrings{t.audience}, Subject: a.Subject(), ID: rand.Text(),
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(t.ttl)),
		},
		Role: a.Role, Name: a.Name, Generation: a.Generation,
	})
	unsigned.Header["kid"] = t.keys.signer.id
	token, err = unsigned.SignedString(t.keys.signer.sign)
	if err != nil {
		return "", 0, fmt.Errorf("sign an access token: %w", err)
	}
	return token, t.ttl, nil
}

// Verify returns the content of a valid token, or an error that wraps ErrToken.
func (t *Tokens) Verify(token string) (Access, error) {
	if len(token) > maxToken {
		return Access{}, fmt.Errorf("%w: it has %d bytes", ErrToken, len(token))
	}
	var c claims
	if _, err := t.parser.ParseWithClaims(token, &c, t.find); err != nil {
		return Access{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	id, err := userID(c.Subject)
	if err != nil {
		return Access{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	if _, err := ParseRole(string(c.Role)); err != nil {
		return Access{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	return Access{Identity: Identity{Kind: User, ID: id, Name: c.Name, Role: c.Role}, Generation: c.Generation}, nil
}

// find returns the key that a token names. It refuses a token whose algorithm
// differs from that of the key.
func (t *Tokens) find(token *jwt.Token) (any, error) {
	id, _ := token.Header["kid"].(string)
	k := t.keys.byID[id]
	if k == nil {
		return nil, errors.New("there is no key of this id")
	}
	if token.Method.Alg() != k.method.Alg() {
		return nil, fmt.Errorf("the key is for %s, the token for %s", k.method.Alg(), token.Method.Alg())
	}
	return k.verify, nil
}

func userID(subject string) (int64, error) {
	number, ok := strings.CutPrefix(subject, string(User)+":")
	id, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || id <= 0 {
		return 0, errors.New("the subject is no user")
	}
	return id, nil
}
