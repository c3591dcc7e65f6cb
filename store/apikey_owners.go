package store

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
)

// An API key acts on behalf of its owner: a user, or the key that created it,
// which has an owner of its own. A key acts only while every link of this chain
// does, and in none of them with more than the role of the link.

// maxKeyChain is how many keys may have created one another, because each use of
// a key walks the chain.
const maxKeyChain = 8

// KeyEnd says why a key does not act.
type KeyEnd string

// The reasons for which a key does not act.
const (
	KeyRevoked       KeyEnd = "revoked"
	KeyExpired       KeyEnd = "expired"
	KeyOwnerDisabled KeyEnd = "owner_disabled" // also if the owner was enabled again: another owner must take the key over
)

// KeyStanding says whether a key acts now, and on whose behalf.
type KeyStanding struct {
	Role    auth.Role // with which the key acts; "" for a key that does not act
	User    int64     // the user on whose behalf it acts; 0: the command line
	Ended   KeyEnd    // why it does not act; "" for a key that acts
	EndedBy string    // the key of the chain that ended, or whose owner was disabled: "key:3"
	reason  string
}

// Acts reports whether the key acts.
func (s KeyStanding) Acts() bool { return s.Ended == "" }

// Reason says in words why the key does not act; "" for a key that acts.
func (s KeyStanding) Reason() string { return s.reason }

// keyLink is one key of a chain, with its owner if that is a user.
type keyLink struct {
	Key          int64  `db:"key_id"` // the key whose chain this is
	ID           int64  `db:"id"`
	Role         string `db:"role"`
	Revoked      bool   `db:"revoked"`
	Expired      bool   `db:"expired"`
	Suspended    bool   `db:"suspended"`
	User         int64  `db:"user_id"` // 0: the owner is a key, or the command line
	UserRole     string `db:"user_role"`
	UserDisabled bool   `db:"user_disabled"`
}

// selecter is a transaction, or the pool where it does not matter.
type selecter interface {
	GetContext(ctx context.Context, dest any, query string, args ...any) error
	SelectContext(ctx context.Context, dest any, query string, args ...any) error
}

// keyChains returns the chain of each key: the key itself, the key that owns it,
// and so on.
func keyChains(ctx context.Context, db selecter, ids []int64) (map[int64][]keyLink, error) {
	var links []keyLink
	err := db.SelectContext(ctx, &links, `
        WITH RECURSIVE chain AS (
            SELECT k.id AS key_id, 0 AS place, k.id, k.role, k.revoked_at, k.expires_at, k.suspended_at, k.owner_user_id, k.owner_key_id
            FROM api_keys k WHERE k.id = ANY ($1)
            UNION ALL
            SELECT c.key_id, c.place + 1, k.id, k.role, k.revoked_at, k.expires_at, k.suspended_at, k.owner_user_id, k.owner_key_id
            FROM chain c JOIN api_keys k ON k.id = c.owner_key_id
        )
        SELECT c.key_id, c.id, c.role, c.revoked_at IS NOT NULL AS revoked, coalesce(c.expires_at <= now(), false) AS expired,
               c.suspended_at IS NOT NULL AS suspended, coalesce(c.owner_user_id, 0) AS user_id, coalesce(u.role, '') AS user_role,
               u.disabled_at IS NOT NULL AS user_disabled
        FROM chain c LEFT JOIN users u ON u.id = c.owner_user_id ORDER BY c.key_id, c.place`, pq.Int64Array(ids))
	if err != nil {
		return nil, err
	}
	chains := make(map[int64][]keyLink, len(ids))
	for _, l := range links {
		chains[l.Key] = append(chains[l.Key], l)
	}
	return chains, nil
}

// standingOf judges a chain, of which the first link is the key itself.
func standingOf(chain []keyLink) KeyStanding {
	var s KeyStanding
	if len(chain) == 0 {
		return KeyStanding{Ended: KeyRevoked, reason: "the key does not exist"}
	}
	s.Role = auth.Role(chain[0].Role)
	for i, l := range chain {
		s.Role = s.Role.AtMost(auth.Role(l.Role))
		if l.User != 0 {
			s.Role, s.User = s.Role.AtMost(auth.Role(l.UserRole)), l.User
		}
		if s.Ended != "" {
			continue
		}
		which := "the key"
		if i > 0 {
			which = fmt.Sprintf("key:%d, on whose behalf it acts,", l.ID)
		}
		switch {
		case l.Revoked:
			s.Ended, s.reason = KeyRevoked, which+" was revoked"
		case l.Expired:
			s.Ended, s.reason = KeyExpired, which+" has expired"
		case l.Suspended || l.UserDisabled:
			s.Ended, s.reason = KeyOwnerDisabled, fmt.Sprintf("user:%d, on whose behalf it acts, was disabled", l.User)
		}
		if s.Ended != "" {
			s.EndedBy = subjectOfKey(l.ID)
		}
	}
	if s.Ended != "" {
		s.Role = ""
	}
	return s
}

func subjectOfKey(id int64) string { return auth.Identity{Kind: auth.Key, ID: id}.Subject() }

// withStandings turns rows into keys whose standing is filled in.
func withStandings(ctx context.Context, db selecter, rows []apiKeyRow) ([]APIKey, error) {
	ids := make([]int64, len(rows))
	for i := range rows {
		ids[i] = rows[i].ID
	}
	chains, err := keyChains(ctx, db, ids)
	if err != nil {
		return nil, err
	}
	list := make([]APIKey, len(rows))
	for i := range rows {
		list[i] = rows[i].key()
		list[i].Standing = standingOf(chains[list[i].ID])
	}
	return list, nil
}

// dependentKeys returns the keys that an owner owns, directly or through other
// keys, except those that ended on their own.
func dependentKeys(ctx context.Context, db selecter, owner auth.Identity) ([]KeyRef, error) {
	var list []KeyRef
	err := db.SelectContext(ctx, &list, `
        WITH RECURSIVE dependents AS (
            SELECT k.id, k.name, k.role FROM api_keys k
            WHERE (k.owner_user_id = $1 OR k.owner_key_id = $2) AND `+keyGoesOn+`
            UNION ALL
            SELECT k.id, k.name, k.role FROM dependents d JOIN api_keys k ON k.owner_key_id = d.id
            WHERE `+keyGoesOn+`
        )
        SELECT id, name, role FROM dependents ORDER BY id`, ownerID(owner, auth.User), ownerID(owner, auth.Key))
	return list, err
}

const keyGoesOn = `k.revoked_at IS NULL AND k.suspended_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())`

// suspendKeys ends the keys of a user who is being disabled. The transaction
// must have locked the user's row.
func suspendKeys(ctx context.Context, tx *sqlx.Tx, user int64, by Origin) ([]KeyRef, error) {
	ended, err := dependentKeys(ctx, tx, auth.Identity{Kind: auth.User, ID: user})
	if err != nil {
		return nil, err
	}
	_, err = tx.ExecContext(ctx, `
        UPDATE api_keys SET suspended_at = now() WHERE owner_user_id = $1 AND suspended_at IS NULL AND revoked_at IS NULL`, user)
	if err != nil {
		return nil, err
	}
	return ended, recordKeys(ctx, tx, by, "key_end", ended, func(k KeyRef) string {
		return fmt.Sprintf("key:%d with user:%d: %s", k.ID, user, k.Name)
	})
}

// limitKeys records which keys of a user lose permissions with the user's new
// role.
func limitKeys(ctx context.Context, tx *sqlx.Tx, user int64, role auth.Role, by Origin) ([]KeyRef, error) {
	all, err := dependentKeys(ctx, tx, auth.Identity{Kind: auth.User, ID: user})
	if err != nil {
		return nil, err
	}
	var limited []KeyRef
	for _, k := range all {
		if !role.Includes(k.Role) {
			limited = append(limited, k)
		}
	}
	return limited, recordKeys(ctx, tx, by, "key_limit", limited, func(k KeyRef) string {
		return fmt.Sprintf("key:%d to %s with user:%d: %s", k.ID, role, user, k.Name)
	})
}

var insertKeyEventsQuery = nameParameters(`
INSERT INTO audit_events (action, detail, ` + originColumns + `)
SELECT @action::text, detail, ` + originValues + ` FROM unnest(@details::text[]) AS detail`)

// recordKeys writes an event about each key, in one statement: a user may have
// thousands of keys, and must be disabled in time all the same.
func recordKeys(ctx context.Context, tx execer, by Origin, action string, list []KeyRef, describe func(KeyRef) string) error {
	if len(list) == 0 {
		return nil
	}
	details := make(pq.StringArray, len(list))
	for i, k := range list {
		details[i] = clipDetail(describe(k))
	}
	values := by.queryValues()
	values["action"], values["details"] = action, details
	_, err := tx.ExecContext(ctx, insertKeyEventsQuery.text, insertKeyEventsQuery.args(values)...)
	return err
}
