package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
)

// APIKey is the credential of a machine, without its secret.
type APIKey struct {
	ID         int64
	Name       string
	Role       auth.Role // the most that the key may do; Standing has what it may do now
	CreatedBy  string    // who created it, which never changes
	Owner      string    // on whose behalf it acts: "user:12" or "key:3"; "" for a key of the command line
	CreatedAt  time.Time
	LastUsedAt time.Time // zero: never; at most a minute too early
	ExpiresAt  time.Time // zero: never
	RevokedAt  time.Time // zero: not revoked
	SecretHash []byte    // SHA-256
	Standing   KeyStanding
}

// NewAPIKey is what AddAPIKey stores.
type NewAPIKey struct {
	Name       string
	Role       auth.Role
	SecretHash []byte        // SHA-256
	ExpiresAt  time.Time     // zero: never
	Owner      auth.Identity // the user or key that creates the key; zero: the command line
}

// KeyRef names an API key.
type KeyRef struct {
	ID   int64     `db:"id"`
	Name string    `db:"name"`
	Role auth.Role `db:"role"`
}

// String is the form in which the trail and people name a key.
func (k KeyRef) String() string { return fmt.Sprintf("key:%d: %s", k.ID, k.Name) }

type apiKeyRow struct {
	ID          int64         `db:"id"`
	Name        string        `db:"name"`
	Role        string        `db:"role"`
	CreatedBy   string        `db:"created_by"`
	CreatedAt   time.Time     `db:"created_at"`
	LastUsedAt  sql.NullTime  `db:"last_used_at"`
	ExpiresAt   sql.NullTime  `db:"expires_at"`
	RevokedAt   sql.NullTime  `db:"revoked_at"`
	SuspendedAt sql.NullTime  `db:"suspended_at"`
	OwnerUser   sql.NullInt64 `db:"owner_user_id"`
	OwnerKey    sql.NullInt64 `db:"owner_key_id"`
	SecretHash  []byte        `db:"secret_hash"`
}

const apiKeyColumns = `id, name, role, created_by, created_at, last_used_at, expires_at, revoked_at, suspended_at,
    owner_user_id, owner_key_id, secret_hash`

func (r *apiKeyRow) key() APIKey {
	return APIKey{
		ID: r.ID, Name: r.Name, Role: auth.Role(r.Role), CreatedBy: r.CreatedBy, Owner: r.owner(), CreatedAt: r.CreatedAt.UTC(),
		LastUsedAt: utc(r.LastUsedAt), ExpiresAt: utc(r.ExpiresAt), RevokedAt: utc(r.RevokedAt), SecretHash: r.SecretHash,
	}
}

func (r *apiKeyRow) owner() string {
	switch {
	case r.OwnerUser.Valid:
		return auth.Identity{Kind: auth.User, ID: r.OwnerUser.Int64}.Subject()
	case r.OwnerKey.Valid:
		return auth.Identity{Kind: auth.Key, ID: r.OwnerKey.Int64}.Subject()
	}
	return ""
}

// AddAPIKey stores a key. ErrOwnerEnded means that its owner was disabled,
// revoked or expired meanwhile, ErrKeyChain that too many keys created one
// another.
func (s *Store) AddAPIKey(ctx context.Context, n NewAPIKey, by Origin) (APIKey, error) {
	var k APIKey
	err := s.transact(ctx, "add an API key", func(tx *sqlx.Tx) error {
		if err := checkOwner(ctx, tx, n.Owner); err != nil {
			return err
		}
		var id int64
		err := tx.GetContext(ctx, &id, `
            INSERT INTO api_keys (name, role, created_by, secret_hash, expires_at, owner_user_id, owner_key_id)
            VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id`,
			n.Name, string(n.Role), by.Actor, n.SecretHash, sql.NullTime{Time: n.ExpiresAt, Valid: !n.ExpiresAt.IsZero()},
			ownerID(n.Owner, auth.User), ownerID(n.Owner, auth.Key))
		if err != nil {
			return err
		}
		if k, err = readAPIKey(ctx, tx, id); err != nil {
			return err
		}
		detail := fmt.Sprintf("key:%d as %s: %s", id, n.Role, n.Name)
		if !k.ExpiresAt.IsZero() {
			detail = fmt.Sprintf("key:%d as %s until %s: %s", id, n.Role, k.ExpiresAt.Format(time.RFC3339), n.Name)
		}
		return appendEvent(ctx, tx, by, "key_add", detail)
	})
	return k, err
}

// checkOwner returns an error unless the owner of a new key, or of a key that is
// taken over, may act. It locks an owner who is a user, so that the user is
// disabled either before, which this function sees, or after the transaction,
// which then finds the key.
func checkOwner(ctx context.Context, tx *sqlx.Tx, owner auth.Identity) error {
	switch owner.Kind {
	case "": // the command line
		return nil
	case auth.User:
		row, err := lockUser(ctx, tx, owner.ID)
		if err == nil && row.DisabledAt.Valid {
			return ErrOwnerEnded
		}
		return err
	case auth.Key:
		chain, err := keyChains(ctx, tx, []int64{owner.ID})
		switch {
		case err != nil:
			return err
		case !standingOf(chain[owner.ID]).Acts():
			return ErrOwnerEnded
		case len(chain[owner.ID]) >= maxKeyChain:
			return ErrKeyChain
		}
		return nil
	}
	return ErrOwnerEnded // nobody can be asked later on
}

// ownerID is the id of the owner if the owner is of that kind, else NULL.
func ownerID(owner auth.Identity, kind auth.Kind) sql.NullInt64 {
	return sql.NullInt64{Int64: owner.ID, Valid: owner.Kind == kind}
}

// APIKey returns a key, whether it acts or not.
func (s *Store) APIKey(ctx context.Context, id int64) (APIKey, error) {
	k, err := readAPIKey(ctx, s.db, id)
	return k, wrap(fmt.Sprintf("read API key %d", id), err)
}

func readAPIKey(ctx context.Context, db selecter, id int64) (APIKey, error) {
	var row apiKeyRow
	if err := db.GetContext(ctx, &row, `SELECT `+apiKeyColumns+` FROM api_keys WHERE id = $1`, id); err != nil {
		return APIKey{}, notFound(NounAPIKey, err)
	}
	list, err := withStandings(ctx, db, []apiKeyRow{row})
	if err != nil {
		return APIKey{}, err
	}
	return list[0], nil
}

// APIKeys lists up to limit keys with ids greater than after, in the order in
// which they were made.
func (s *Store) APIKeys(ctx context.Context, after int64, limit int) ([]APIKey, error) {
	const act = "list the API keys"
	var rows []apiKeyRow
	err := s.db.SelectContext(ctx, &rows, `SELECT `+apiKeyColumns+` FROM api_keys WHERE id > $1 ORDER BY id LIMIT $2`, after, limit)
	if err != nil {
		return nil, wrap(act, err)
	}
	list, err := withStandings(ctx, s.db, rows)
	return list, wrap(act, err)
}

// RevokeAPIKey permanently revokes a key and returns the keys that end with it,
// because it created them. Revoking the key again changes nothing.
func (s *Store) RevokeAPIKey(ctx context.Context, id int64, by Origin) (ended []KeyRef, err error) {
	err = s.transact(ctx, fmt.Sprintf("revoke API key %d", id), func(tx *sqlx.Tx) error {
		row, err := lockAPIKey(ctx, tx, id)
		if err != nil || row.RevokedAt.Valid {
			return err
		}
		if ended, err = dependentKeys(ctx, tx, auth.Identity{Kind: auth.Key, ID: id}); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE api_keys SET revoked_at = now() WHERE id = $1`, id); err != nil {
			return err
		}
		if err := appendEvent(ctx, tx, by, "key_revoke", fmt.Sprintf("key:%d: %s", id, row.Name)); err != nil {
			return err
		}
		return recordKeys(ctx, tx, by, "key_end", ended, func(k KeyRef) string {
			return fmt.Sprintf("key:%d with key:%d: %s", k.ID, id, k.Name)
		})
	})
	return ended, err
}

// RevokeAPIKeysNamed revokes all keys of that name. The keys that they created
// go on, as keys of the command line.
func (s *Store) RevokeAPIKeysNamed(ctx context.Context, name string, by Origin) error {
	var ids []int64
	if err := s.db.SelectContext(ctx, &ids, `SELECT id FROM api_keys WHERE name = $1 AND revoked_at IS NULL ORDER BY id`, name); err != nil {
		return wrap("look up API keys by name", err)
	}
	for _, id := range ids {
		var children []int64
		err := s.db.SelectContext(ctx, &children, `
            SELECT id FROM api_keys
            WHERE owner_key_id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) ORDER BY id`, id)
		if err != nil {
			return wrap("look up the keys that an API key created", err)
		}
		for _, child := range children {
			if _, _, err := s.AdoptAPIKey(ctx, child, auth.Identity{}, by); err != nil {
				return err
			}
		}
		if _, err := s.RevokeAPIKey(ctx, id, by); err != nil {
			return err
		}
	}
	return nil
}

// AdoptAPIKey gives a key another owner: a user, or the command line for the
// zero Identity. A key whose owner was disabled or revoked acts again. The
// result lists the keys that depend on it, and act again with it. ErrConflict
// means that the key is revoked or expired.
//
// A key cannot own another key that it did not create: two keys could otherwise
// keep each other alive.
func (s *Store) AdoptAPIKey(ctx context.Context, id int64, owner auth.Identity, by Origin) (k APIKey, dependents []KeyRef, err error) {
	err = s.transact(ctx, fmt.Sprintf("take over API key %d", id), func(tx *sqlx.Tx) error {
		if owner.Kind != "" && owner.Kind != auth.User {
			return &ConflictError{Noun: NounAPIKey, Reason: "an API key cannot take over another one; a user can"}
		}
		if err := checkOwner(ctx, tx, owner); err != nil {
			return err
		}
		row, err := lockAPIKey(ctx, tx, id)
		if err != nil {
			return err
		}
		if k, err = readAPIKey(ctx, tx, id); err != nil {
			return err
		}
		if own := k.Standing; own.EndedBy == subjectOfKey(id) && own.Ended != KeyOwnerDisabled {
			return &ConflictError{Noun: NounAPIKey, Reason: "a key that is revoked or has expired cannot be taken over"}
		}
		if to := (&apiKeyRow{OwnerUser: ownerID(owner, auth.User)}).owner(); to != k.Owner || row.SuspendedAt.Valid {
			_, err = tx.ExecContext(ctx, `
                UPDATE api_keys SET owner_user_id = $2, owner_key_id = NULL, suspended_at = NULL WHERE id = $1`, id, ownerID(owner, auth.User))
			if err != nil {
				return err
			}
			detail := fmt.Sprintf("key:%d from %s to %s: %s", id, ownerName(k.Owner), ownerName(to), k.Name)
			if err := appendEvent(ctx, tx, by, "key_adopt", detail); err != nil {
				return err
			}
		}
		if k, err = readAPIKey(ctx, tx, id); err != nil {
			return err
		}
		dependents, err = dependentKeys(ctx, tx, auth.Identity{Kind: auth.Key, ID: id})
		return err
	})
	return k, dependents, err
}

// ownerName names an owner in a sentence.
func ownerName(owner string) string {
	if owner == "" {
		return "the command line"
	}
	return owner
}

func lockAPIKey(ctx context.Context, tx *sqlx.Tx, id int64) (row apiKeyRow, err error) {
	err = tx.GetContext(ctx, &row, `SELECT `+apiKeyColumns+` FROM api_keys WHERE id = $1 FOR UPDATE`, id)
	return row, notFound(NounAPIKey, err)
}

// UsedAPIKey records that a key was used, at most once a minute.
func (s *Store) UsedAPIKey(ctx context.Context, id int64) error {
	_, err := s.db.ExecContext(ctx, `
        UPDATE api_keys SET last_used_at = now()
        WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')`, id)
	return wrap(fmt.Sprintf("note the use of API key %d", id), err)
}

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
