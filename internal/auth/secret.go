package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// keyPrefix begins every API key, for scanners of leaked secrets, and to tell it
// from a token.
const keyPrefix = "mass_"

// keySecretBytes of chance are in an API key: no guess finds one, so a fast hash hides it.
const keySecretBytes = 25

var keyEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewKeySecret makes the secret part of an API key.
func NewKeySecret() string {
	var b [keySecretBytes]byte
	_, _ = rand.Read(b[:]) // never fails
	return keyEncoding.EncodeToString(b[:])
}

// FormatAPIKey returns the key as its owner sends it: mass_12_….
func FormatAPIKey(id int64, secret string) string {
	return keyPrefix + strconv.FormatInt(id, 10) + "_" + secret
}

// IsAPIKey tells whether a bearer token claims to be an API key.
func IsAPIKey(token string) bool { return strings.HasPrefix(token, keyPrefix) }

// ParseAPIKey takes a key apart. ok is false for what FormatAPIKey never returns.
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

// ParseKeyName returns the name of an API key as it is stored: what a person can
// tell keys apart by.
func ParseKeyName(s string) (string, error) {
	const most = 100
	s = strings.TrimSpace(s)
	odd := strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) || !utf8.ValidString(s)
	if s == "" || utf8.RuneCountInString(s) > most || odd {
		return "", fmt.Errorf("must be 1 to %d printable characters", most)
	}
	return s, nil
}

// NewOpaque makes a token that says nothing: a refresh token, or a browser's session.
func NewOpaque() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// Digest is what is stored of a secret full of chance: its SHA-256.
func Digest(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// SameDigest tells, in constant time, whether a secret has this digest.
func SameDigest(secret string, digest []byte) bool {
	return subtle.ConstantTimeCompare(Digest(secret), digest) == 1
}
