package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// keyPrefix begins every API key. It lets scanners find leaked keys and
// distinguishes API keys from access tokens.
const keyPrefix = "mass_"

// keySecretBytes is the number of random bytes in an API key. A key cannot be
// guessed, so a fast hash is enough to protect the stored digest.
const keySecretBytes = 25

var keyEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewKeySecret returns a new secret part of an API key.
func NewKeySecret() string {
	var b [keySecretBytes]byte
	_, _ = rand.Read(b[:]) // never fails
	return keyEncoding.EncodeToString(b[:])
}

// FormatAPIKey returns the key in the form in which clients send it: mass_12_….
func FormatAPIKey(id int64, secret string) string {
	return keyPrefix + strconv.FormatInt(id, 10) + "_" + secret
}

// IsAPIKey reports whether a bearer token has the prefix of an API key.
func IsAPIKey(token string) bool { return strings.HasPrefix(token, keyPrefix) }

// ParseAPIKey splits a key into its id and its secret. ok is false if
// FormatAPIKey cannot have returned the token.
func ParseAPIKey(token string) (id int64, secret string, ok bool) {
	rest, ok := strings.CutPrefix(token, keyPrefix)
	if !ok {
		return 0, "", false
	}
	number, secret, ok := strings.Cut(rest, "_")
	if !ok || len(secret) != keyEncoding.EncodedLen(keySecretBytes) {
		return 0, "", false
	}
	id, err := strconv.ParseInt(number, 10, 64)
	if err != nil || id <= 0 || FormatAPIKey(id, secret) != token {
		return 0, "", false
	}
	if _, err := keyEncoding.DecodeString(secret); err != nil {
		return 0, "", false
	}
	return id, secret, true
}

// ParseKeyName returns the name of an API key as it is stored. People tell keys
// apart by their names, so every character must be printable.
func ParseKeyName(s string) (string, error) {
	const most = 100
	s = strings.TrimSpace(s)
	odd := strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) || !utf8.ValidString(s)
	if s == "" || utf8.RuneCountInString(s) > most || odd {
		return "", fmt.Errorf("must be 1 to %d printable characters", most)
	}
	return s, nil
}

// KeyExpiry returns when a new API key expires: at the wanted time or, where
// none is given, after most. most bounds the life of a key; 0 is no bound. The
// zero time means never.
func KeyExpiry(now, wanted time.Time, most time.Duration) (time.Time, error) {
	switch {
	case wanted.IsZero() && most > 0:
		return now.Add(most), nil
	case wanted.IsZero():
		return time.Time{}, nil
	case !wanted.After(now):
		return time.Time{}, errors.New("must be in the future")
	case most > 0 && wanted.After(now.Add(most)):
		return time.Time{}, fmt.Errorf("must be at most %v from now, which is the longest life of an API key here (MASS_KEY_MAX_AGE)", most)
	}
	return wanted, nil
}

// NewOpaque returns a random token without content, for a refresh token or a
// browser session.
func NewOpaque() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// Digest returns the SHA-256 of a random secret. Only the digest of such a
// secret is stored.
func Digest(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// SameDigest reports, in constant time, whether a secret has the given digest.
func SameDigest(secret string, digest []byte) bool {
	return subtle.ConstantTimeCompare(Digest(secret), digest) == 1
}
