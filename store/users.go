package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
)

// User is a person.
type User struct {
	ID           int64
	Email        string // as auth.ParseEmail returns it
	Role         auth.Role
	Generation   int // tokens and sessions issued under another generation are void
	PasswordHash string
	CreatedAt    time.Time
	LastLoginAt  time.Time // zero: never
	DisabledAt   time.Time // zero: enabled
}

// Disabled reports whether the user is disabled.
func (u *User) Disabled() bool { return !u.DisabledAt.IsZero() }

type userRow struct {
	ID           int64        `db:"id"`
	Email        string       `db:"email"`
	Role         string       `db:"role"`
	Generation   int          `db:"generation"`
	PasswordHash string       `db:"password_hash"`
	CreatedAt    time.Time    `db:"created_at"`
	LastLoginAt  sql.NullTime `db:"last_login_at"`
	DisabledAt   sql.NullTime `db:"disabled_at"`
}

const userColumns = `id, email, role, generation, password_hash, created_at, last_login_at, disabled_at`

func (r *userRow) user() User {
	return User{
		ID: r.ID, Email: r.Email, Role: auth.Role(r.Role), Generation: r.Generation, PasswordHash: r.PasswordHash,
		CreatedAt: r.CreatedAt.UTC(), LastLoginAt: utc(r.LastLoginAt), DisabledAt: utc(r.DisabledAt),
	}
}

// AddUser stores a new user, or returns ErrEmailTaken.
func (s *Store) AddUser(ctx context.Context, email string, role auth.Role, passwordHash string, by Origin) (User, error) {
	var row userRow
	err := s.transact(ctx, "add a user", func(tx *sqlx.Tx) error {
		err := tx.GetContext(ctx, &row,
			`INSERT INTO users (email, role, password_hash) VALUES ($1, $2, $3) RETURNING `+userColumns, email, string(role), passwordHash)
		if err != nil {
			return err
		}
		return appendEvent(ctx, tx, by, "user_add", fmt.Sprintf("user:%d as %s: %s", row.ID, role, email))
	})
	return row.user(), err
}

// User returns a user, disabled or not.
func (s *Store) User(ctx context.Context, id int64) (User, error) {
	var row userRow
	err := s.db.GetContext(ctx, &row, `SELECT `+userColumns+` FROM users WHERE id = $1`, id)
	return row.user(), wrap(fmt.Sprintf("read user %d", id), notFound(NounUser, err))
}

// UserByEmail returns the user with an address in the form that auth.ParseEmail
// returns.
func (s *Store) UserByEmail(ctx context.Context, email string) (User, error) {
	var row userRow
	err := s.db.GetContext(ctx, &row, `SELECT `+userColumns+` FROM users WHERE email = $1`, email)
	return row.user(), wrap("look up a user", notFound(NounUser, err))
}

// Users lists up to limit users with ids greater than after, in the order in
// which they were added.
func (s *Store) Users(ctx context.Context, after int64, limit int) ([]User, error) {
	var rows []userRow
	err := s.db.SelectContext(ctx, &rows, `SELECT `+userColumns+` FROM users WHERE id > $1 ORDER BY id LIMIT $2`, after, limit)
	if err != nil {
		return nil, wrap("list the users", err)
	}
	list := make([]User, len(rows))
	for i := range rows {
		list[i] = rows[i].user()
	}
	return list, nil
}

// UserChange says what ChangeUser sets; nil leaves a value unchanged.
type UserChange struct {
	Role     *auth.Role
	Disabled *bool
}

// ChangedUser is a user after a change, with what became of the API keys that
// act on the user's behalf.
type ChangedUser struct {
	User
	Ended   []KeyRef // no longer act
	Limited []KeyRef // act with the user's new role, which is less than their own
}

// ChangeUser changes a user's role, or disables or enables the user. The tokens
// and sessions of a disabled user are permanently revoked, and the user's API
// keys do not act until another owner takes them over. ErrLastAdmin means that
// no admin would be left; nothing was changed.
func (s *Store) ChangeUser(ctx context.Context, id int64, c UserChange, by Origin) (ChangedUser, error) {
	var row userRow
	var out ChangedUser
	err := s.transact(ctx, fmt.Sprintf("change user %d", id), func(tx *sqlx.Tx) error {
		// All admins are locked, always in the same order. Otherwise two
		// transactions could each remove an admin and leave none.
		var admins []int64
		err := tx.SelectContext(ctx, &admins, `SELECT id FROM users WHERE role = 'admin' AND disabled_at IS NULL ORDER BY id FOR UPDATE`)
		if err != nil {
			return err
		}
		if row, err = lockUser(ctx, tx, id); err != nil {
			return err
		}
		was := row.user()
		role, disabled := was.Role, was.Disabled()
		if c.Role != nil {
			role = *c.Role
		}
		if c.Disabled != nil {
			disabled = *c.Disabled
		}
		if was.Role == auth.Admin && !was.Disabled() && (role != auth.Admin || disabled) && len(admins) == 1 {
			return ErrLastAdmin
		}
		err = tx.GetContext(ctx, &row, `
            UPDATE users
            SET role = $2, disabled_at = CASE WHEN $3 THEN coalesce(disabled_at, now()) END, updated_at = now(),
                generation = generation + CASE WHEN $3 AND disabled_at IS NULL THEN 1 ELSE 0 END
            WHERE id = $1 RETURNING `+userColumns, id, string(role), disabled)
		if err != nil {
			return err
		}
		if role != was.Role {
			detail := fmt.Sprintf("user:%d from %s to %s: %s", id, was.Role, role, was.Email)
			if err := appendEvent(ctx, tx, by, "user_role", detail); err != nil {
				return err
			}
			if !disabled {
				if out.Limited, err = limitKeys(ctx, tx, id, role, by); err != nil {
					return err
				}
			}
		}
		out.Ended, err = recordDisabling(ctx, tx, &was, disabled, by)
		return err
	})
	out.User = row.user()
	return out, err
}

// recordDisabling records in the trail that a user was disabled or enabled. It
// ends the tokens, sessions and API keys of a user who is being disabled, and
// returns the keys.
func recordDisabling(ctx context.Context, tx *sqlx.Tx, was *User, disabled bool, by Origin) (ended []KeyRef, err error) {
	detail := fmt.Sprintf("user:%d: %s", was.ID, was.Email)
	switch {
	case disabled == was.Disabled():
		return nil, nil
	case !disabled:
		return nil, appendEvent(ctx, tx, by, "user_enable", detail)
	}
	if err := revokeAll(ctx, tx, was.ID); err != nil {
		return nil, err
	}
	if err := appendEvent(ctx, tx, by, "user_disable", detail); err != nil {
		return nil, err
	}
	return suspendKeys(ctx, tx, was.ID, by)
}

// SetPassword changes a user's password and revokes the user's tokens and
// sessions. The user's API keys go on, because machines depend on them: the
// event and the result list them, so that a person can look whether each of
// them belongs there.
func (s *Store) SetPassword(ctx context.Context, id int64, passwordHash string, by Origin) (u User, remaining []KeyRef, err error) {
	var row userRow
	err = s.transact(ctx, fmt.Sprintf("set the password of user %d", id), func(tx *sqlx.Tx) error {
		err := tx.GetContext(ctx, &row, `
            UPDATE users SET password_hash = $2, generation = generation + 1, updated_at = now() WHERE id = $1 RETURNING `+userColumns,
			id, passwordHash)
		if err != nil {
			return notFound(NounUser, err)
		}
		if err := revokeAll(ctx, tx, id); err != nil {
			return err
		}
		if remaining, err = dependentKeys(ctx, tx, auth.Identity{Kind: auth.User, ID: id}); err != nil {
			return err
		}
		detail := fmt.Sprintf("user:%d: %s", id, row.Email)
		for i, k := range remaining {
			if i == 0 {
				detail += "; API keys that go on:"
			}
			detail += fmt.Sprintf(" key:%d", k.ID)
		}
		return appendEvent(ctx, tx, by, "password_change", detail)
	})
	return row.user(), remaining, err
}

// UpgradeHash replaces the hash of a password with a stronger hash of the same
// password, unless the password was changed meanwhile.
func (s *Store) UpgradeHash(ctx context.Context, id int64, from, to string) error {
	_, err := s.db.ExecContext(ctx, `UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2`, id, from, to)
	return wrap(fmt.Sprintf("upgrade the password hash of user %d", id), err)
}

// lockUser locks a user's row. Transactions that issue or revoke the user's
// tokens and sessions take this lock, so they wait for one another: a token
// that is rotated during a change of the password is revoked by it.
func lockUser(ctx context.Context, tx *sqlx.Tx, id int64) (row userRow, err error) {
	err = tx.GetContext(ctx, &row, `SELECT `+userColumns+` FROM users WHERE id = $1 FOR UPDATE`, id)
	return row, notFound(NounUser, err)
}

// transact runs f in a transaction, and adds the act that failed to an error.
func (s *Store) transact(ctx context.Context, act string, f func(tx *sqlx.Tx) error) error {
	tx, err := s.db.BeginTxx(ctx, nil)
	if err != nil {
		return wrap(act, err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it is a no-op, before it the error is known already
	if err := f(tx); err != nil {
		return wrap(act, err)
	}
	return wrap(act, tx.Commit())
}
