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

// The bounds of passwords and addresses. Length is what counts (NIST SP 800-63B);
// the upper bound only keeps the work small.
const (
	MinPassword = 12  // characters
	maxPassword = 256 // bytes
	maxEmail    = 254 // bytes, of RFC 5321
)

// params is OWASP's minimum for argon2id. Hashes carry their own parameters, so
// these may grow: each password is hashed anew at its next login.
var params = argon2id.Params{Memory: 19 << 10, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// hashing bounds how many hashes are computed at once: each takes 19 MiB and a
// core for some 30 ms, and a flood of logins must leave room for other work.
var hashing = semaphore.NewWeighted(int64(max(1, runtime.GOMAXPROCS(0)/2)))

// nobodysHash is the hash of a password that nobody knows, with the parameters
// above. Whoever logs in as nobody waits for it as long as for any other.
const nobodysHash = "$argon2id$v=19$m=19456,t=2,p=1$p4n2teylS/MYbDgD2hMwGA$KfPqjTvc4hUcjMhLGRV6dUqxIR7SJjkYh2H3a+kQOpU"

// HashPassword returns the hash of a password that keeps the rules, to be stored.
// Anything but the end of ctx is the fault of the password, in words for its owner.
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

// PasswordError is a new password that breaks a rule.
type PasswordError struct {
	Rule string // what a password must be like: "must have at least 12 characters"
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

// Match is what came of a password.
type Match struct {
	OK       bool
	Upgraded string // the hash to store instead, when the old one has other parameters than new ones; "" else
}

// CheckPassword compares a password with a stored hash. An empty hash stands for
// a user who does not exist: it takes the same time, and never matches.
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

// ParseEmail returns an address as it is stored: in lower case, without anything
// around it. What comes behind the @ may be a single name, such as localhost.
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
