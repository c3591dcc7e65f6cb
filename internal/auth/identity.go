// Package auth knows who somebody is and what they may be: identities, roles,
// passwords, tokens and the keys that sign them. It reads no request and no
// table; package api asks it, package store keeps what it makes.
package auth

import (
	"context"
	"fmt"
	"strconv"
)

// Role decides what an identity may do; a later role may all that an earlier one may.
type Role string

// The roles, least first.
const (
	Viewer   Role = "viewer"   // reads
	Operator Role = "operator" // submits, cancels, replays
	Admin    Role = "admin"    // deletes, manages users and keys, acts on queues
)

// Roles lists every role, least first.
func Roles() []Role { return []Role{Viewer, Operator, Admin} }

// ParseRole returns the role named s.
func ParseRole(s string) (Role, error) {
	for _, r := range Roles() {
		if string(r) == s {
			return r, nil
		}
	}
	return "", fmt.Errorf("unknown role %q: want one of %v", s, Roles())
}

// Includes tells whether r may do what other may.
func (r Role) Includes(other Role) bool { return r.rank() >= other.rank() && other.rank() > 0 }

func (r Role) rank() int {
	for i, known := range Roles() {
		if r == known {
			return i + 1
		}
	}
	return 0
}

// Kind tells people from machines.
type Kind string

// The kinds of identities.
const (
	User Kind = "user" // a person, by password and token
	Key  Kind = "key"  // a machine, by API key

	// Nobody is whoever asks while MASS_AUTH is off. There is one of it, without a row.
	Nobody Kind = "anonymous"
)

// Identity is who makes a request.
type Identity struct {
	Kind Kind
	ID   int64  // of the row in users or api_keys
	Name string // e-mail address of a user, name of a key
	Role Role
}

// Subject names the identity for ever, whatever it is called later: "user:12".
// It is what created_by, the trail and the limits know.
func (i Identity) Subject() string {
	if i.Kind == Nobody {
		return string(Nobody)
	}
	return string(i.Kind) + ":" + strconv.FormatInt(i.ID, 10)
}

type identityKey struct{}

// WithIdentity returns a context that carries who makes the request.
func WithIdentity(ctx context.Context, i Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, i)
}

// IdentityOf returns who makes the request; false when nobody has shown who they are.
func IdentityOf(ctx context.Context) (Identity, bool) {
	i, ok := ctx.Value(identityKey{}).(Identity)
	return i, ok
}
