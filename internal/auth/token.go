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

// ErrToken is an access token that does not hold, for whatever reason. The reason
// is for the log; who sent it is told nothing.
var ErrToken = errors.New("the access token is not valid")

const (
	maxToken = 4096 // bytes; ours have some 450
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

// TokenConfig says how access tokens look.
type TokenConfig struct {
	Keys             *Keyring
	Issuer, Audience string
	TTL              time.Duration
	Now              func() time.Time // time.Now
}

// NewTokens returns what issues tokens and takes only its own.
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

// claims are those of an access token.
type claims struct {
	jwt.RegisteredClaims
	Role       Role   `json:"role"`
	Name       string `json:"name"`
	Generation int    `json:"gen"`
}

// Access is what an access token says: who it was issued to, as they were then.
type Access struct {
	Identity
	Generation int // of the user; the token is void under another one
}

// Issue returns an access token and how long it is good.
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

// Verify returns what a token says, or an ErrToken.
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

// find returns the key that a token names, if that key has the token's algorithm.
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
