// Package auth holds identities, roles, passwords, access tokens, the keys that
// sign them, and API keys. It reads no HTTP request and no table: package
// access authenticates requests with it, and package store stores its hashes
// and digests.
package auth

import (
	"context"
	"fmt"
	"strconv"
)

// Role decides what an identity may do. Each role includes the permissions of
// the roles below it.
type Role string

// The roles, lowest first.
const (
	Viewer   Role = "viewer"   // reads
	Operator Role = "operator" // submits, cancels, replays
	Admin    Role = "admin"    // deletes, manages users and keys, acts on queues
)

// Roles lists every role, lowest first.
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

// Includes reports whether r has all permissions of other. An unknown role
// includes no role and is included in none.
func (r Role) Includes(other Role) bool { return r.rank() >= other.rank() && other.rank() > 0 }

// AtMost returns the role of an identity that has r and acts on behalf of one
// that has limit: the lower of the two. An unknown role gives no role.
func (r Role) AtMost(limit Role) Role {
	switch {
	case limit.Includes(r):
		return r
	case r.Includes(limit):
		return limit
	}
	return ""
}

func (r Role) rank() int {
	for i, known := range Roles() {
		if r == known {
			return i + 1
		}
	}
	return 0
}

// Kind distinguishes people from machines.
type Kind string

// The kinds of identities.
const (
	User Kind = "user" // a person, who logs in with a password
	Key  Kind = "key"  // a machine, which sends an API key

	// Nobody is the identity of every caller while MASS_AUTH is off. It has no
	// row in a table.
	Nobody Kind = "anonymous"
)

// Identity identifies the caller of a request.
type Identity struct {
	Kind Kind
	ID   int64  // of the row in users or api_keys
	Name string // e-mail address of a user, name of a key
	Role Role

	// Owner is the user on whose behalf a key acts; 0 for a user, and for a key
	// of the command line.
	Owner int64
}

// Subject returns a permanent name of the identity, such as "user:12", which
// does not change when the user or key is renamed. It is used in created_by, in
// the audit trail and by the limits.
func (i Identity) Subject() string {
	if i.Kind == Nobody {
		return string(Nobody)
	}
	return string(i.Kind) + ":" + strconv.FormatInt(i.ID, 10)
}

type identityKey struct{}

// WithIdentity returns a context that carries the identity of the caller.
func WithIdentity(ctx context.Context, i Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, i)
}

// IdentityOf returns the identity of the caller. It returns false when the
// caller is not authenticated.
func IdentityOf(ctx context.Context) (Identity, bool) {
	i, ok := ctx.Value(identityKey{}).(Identity)
	return i, ok
}
