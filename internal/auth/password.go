package auth

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"runtime"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/alexedwards/argon2id"
	"golang.org/x/sync/semaphore"
	"golang.org/x/text/unicode/norm"
)

// The limits of passwords and e-mail addresses. A password must be long rather
// than complex (NIST SP 800-63B); its upper limit only bounds the work of
// hashing.
const (
	MinPassword = 12  // characters
	maxPassword = 256 // bytes
	maxEmail    = 254 // bytes, from RFC 5321
)

// params are the minimum parameters that OWASP recommends for argon2id. Each
// hash contains its own parameters, so params can be raised at any time: a
// password is hashed again with the new parameters at the next login.
var params = argon2id.Params{Memory: 19 << 10, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// hashing limits how many hashes are computed at the same time. Each hash takes
// 19 MiB and one core for about 30 ms, and many simultaneous logins must leave
// room for other work.
var hashing = semaphore.NewWeighted(int64(max(1, runtime.GOMAXPROCS(0)/2)))

// nobodysHash is the hash of an unknown random password, computed with params.
// A login with an unknown e-mail address is compared with it, so that it takes
// as long as any other login.
const nobodysHash = "$argon2id$v=19$m=19456,t=2,p=1$p4n2teylS/MYbDgD2hMwGA$KfPqjTvc4hUcjMhLGRV6dUqxIR7SJjkYh2H3a+kQOpU"

// HashPassword returns the hash of a password, to be stored. It returns a
// PasswordError, which may be shown to the user, if the password breaks a rule.
func HashPassword(ctx context.Context, password string) (string, error) {
	if err := checkPassword(password); err != nil {
		return "", err
	}
	return hash(ctx, password)
}

func hash(ctx context.Context, password string) (string, error) {
	if err := hashing.Acquire(ctx, 1); err != nil {
		return "", fmt.Errorf("wait to hash a password: %w", err)
	}
	defer hashing.Release(1)
	h, err := argon2id.CreateHash(norm.NFC.String(password), &params)
	if err != nil {
		return "", fmt.Errorf("hash a password: %w", err)
	}
	return h, nil
}

// PasswordError reports that a new password breaks a rule.
type PasswordError struct {
	Rule string // the broken rule, such as "must have at least 12 characters"
}

// Error implements error.
func (e *PasswordError) Error() string { return "the password " + e.Rule }

func checkPassword(password string) error {
	switch {
	case !utf8.ValidString(password) || strings.ContainsRune(password, 0):
		return &PasswordError{"must be UTF-8 without U+0000"}
	case utf8.RuneCountInString(password) < MinPassword:
		return &PasswordError{fmt.Sprintf("must have at least %d characters", MinPassword)}
	case len(password) > maxPassword:
		return &PasswordError{fmt.Sprintf("must have at most %d bytes", maxPassword)}
	}
	return nil
}

// Match is the result of CheckPassword.
type Match struct {
	OK       bool
	Upgraded string // a new hash to store if the stored one has outdated parameters; otherwise ""
}

// CheckPassword compares a password with a stored hash. An empty hash means
// that the user does not exist; the comparison then takes the same time and
// never matches.
func CheckPassword(ctx context.Context, password, stored string) (Match, error) {
	known := stored != ""
	if !known {
		stored = nobodysHash
	}
	ok, used, err := compare(ctx, password, stored)
	if err != nil {
		return Match{}, err
	}
	m := Match{OK: ok && known}
	if m.OK && *used != params {
		m.Upgraded, err = hash(ctx, password)
	}
	return m, err
}

func compare(ctx context.Context, password, stored string) (ok bool, used *argon2id.Params, err error) {
	if err := hashing.Acquire(ctx, 1); err != nil {
		return false, nil, fmt.Errorf("wait to check a password: %w", err)
	}
	defer hashing.Release(1)
	ok, used, err = argon2id.CheckHash(norm.NFC.String(password[:min(len(password), maxPassword+1)]), stored)
	if err != nil {
		return false, nil, fmt.Errorf("read the stored hash of a password: %w", err)
	}
	return ok, used, nil
}

// ParseEmail returns an e-mail address as it is stored: in lower case and
// without surrounding white space. A display name is refused. The domain may be
// a single label, such as localhost.
func ParseEmail(s string) (string, error) {
	s = strings.ToLower(norm.NFC.String(strings.TrimSpace(s)))
	address, err := mail.ParseAddress(s)
	odd := strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r) || strings.ContainsRune(`"(),:;<>[\]`, r)
	})
	if err != nil || address.Address != s || odd || len(s) > maxEmail {
		return "", errors.New("is not an e-mail address such as ann@example.com")
	}
	return s, nil
}
