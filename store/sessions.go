package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
)

// ErrReused means that a client presented a refresh token that had been rotated
// before, so a copy of the token exists. The whole chain of tokens is revoked.
var ErrReused = errors.New("the refresh token was used before")

// SessionKind is the kind of session that a login opens.
type SessionKind string

// The kinds of sessions.
const (
	RefreshSession SessionKind = "refresh" // a chain of refresh tokens
	BrowserSession SessionKind = "session" // one token, in a cookie
)

// NewSession is what OpenSession stores.
type NewSession struct {
	Kind       SessionKind
	User       int64
	Generation int    // of the user when the password was checked
	TokenHash  []byte // SHA-256
	TTL        time.Duration
}

// OpenSession stores the session of a login and returns when it expires.
// ErrNotFound means that the user was disabled, or got a different password,
// after the password was checked.
func (s *Store) OpenSession(ctx context.Context, n NewSession, by Origin) (expires time.Time, err error) {
	err = s.transact(ctx, fmt.Sprintf("open a session of user %d", n.User), func(tx *sqlx.Tx) error {
		row, err := lockUser(ctx, tx, n.User)
		if err != nil {
			return err
		}
		if row.DisabledAt.Valid || row.Generation != n.Generation {
			return &NotFoundError{Noun: NounUser}
		}
		// Expired tokens are removed here, because nothing else looks at them.
		if _, err := tx.ExecContext(ctx, `DELETE FROM refresh_tokens WHERE user_id = $1 AND expires_at < now()`, n.User); err != nil {
			return err
		}
		err = tx.GetContext(ctx, &expires, `
            WITH next AS (SELECT nextval(pg_get_serial_sequence('refresh_tokens', 'id')) AS id)
            INSERT INTO refresh_tokens (id, family, user_id, kind, token_hash, expires_at) OVERRIDING SYSTEM VALUE
            SELECT id, id, $1, $2, $3, now() + make_interval(secs => $4) FROM next RETURNING expires_at`,
			n.User, string(n.Kind), n.TokenHash, n.TTL.Seconds())
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE users SET last_login_at = now() WHERE id = $1`, n.User); err != nil {
			return err
		}
		return appendEvent(ctx, tx, by, "login", row.Email)
	})
	return expires.UTC(), err
}

// RecordFailedLogin records a refused login in the trail.
func (s *Store) RecordFailedLogin(ctx context.Context, email string, by Origin) error {
	return wrap("record a failed login", appendEvent(ctx, s.db, by, "login_failed", email))
}

type tokenRow struct {
	ID        int64        `db:"id"`
	Family    int64        `db:"family"`
	UserID    int64        `db:"user_id"`
	ExpiresAt time.Time    `db:"expires_at"`
	RotatedAt sql.NullTime `db:"rotated_at"`
	Void      bool         `db:"void"` // revoked, or expired by Postgres' clock
}

// Rotated is the result of rotating a refresh token.
type Rotated struct {
	User    User
	Expires time.Time // of the new token; the whole chain's
}

// RotateRefreshToken replaces a refresh token with a new one. The chain expires
// when its first token would have. ErrNotFound means that the token is unknown,
// expired or revoked, or that its user is disabled. ErrReused means that the
// token was rotated before, and that its whole chain is now revoked.
func (s *Store) RotateRefreshToken(ctx context.Context, old, fresh []byte, by Origin) (Rotated, error) {
	var out Rotated
	reused := false
	err := s.transact(ctx, "rotate a refresh token", func(tx *sqlx.Tx) error {
		token, user, err := lockToken(ctx, tx, old, RefreshSession)
		if err != nil {
			return err
		}
		by.Actor = auth.Identity{Kind: auth.User, ID: user.ID}.Subject()
		switch {
		case token.Void || user.DisabledAt.Valid:
			return &NotFoundError{Noun: NounSession}
		case token.RotatedAt.Valid:
			reused = true // the revocation must be committed
			if err := revokeFamily(ctx, tx, token.Family); err != nil {
				return err
			}
			return appendEvent(ctx, tx, by, "refresh_reuse", fmt.Sprintf("%s: family %d revoked", user.Email, token.Family))
		}
		if _, err := tx.ExecContext(ctx, `UPDATE refresh_tokens SET rotated_at = now() WHERE id = $1`, token.ID); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `
            INSERT INTO refresh_tokens (family, user_id, kind, token_hash, expires_at) VALUES ($1, $2, 'refresh', $3, $4)`,
			token.Family, token.UserID, fresh, token.ExpiresAt)
		out = Rotated{User: user.user(), Expires: token.ExpiresAt.UTC()}
		return err
	})
	if err == nil && reused {
		return Rotated{}, fmt.Errorf("rotate a refresh token: %w", ErrReused)
	}
	return out, err
}

// EndSession revokes the session that a token belongs to. The token may be the
// latest one of a chain, an older one, or that of a browser. ErrNotFound means
// that there is no session to end.
func (s *Store) EndSession(ctx context.Context, kind SessionKind, tokenHash []byte, by Origin) error {
	return s.transact(ctx, "end a session", func(tx *sqlx.Tx) error {
		token, user, err := lockToken(ctx, tx, tokenHash, kind)
		if err != nil {
			return err
		}
		if token.Void {
			return &NotFoundError{Noun: NounSession}
		}
		if err := revokeFamily(ctx, tx, token.Family); err != nil {
			return err
		}
		by.Actor = auth.Identity{Kind: auth.User, ID: user.ID}.Subject()
		return appendEvent(ctx, tx, by, "logout", user.Email)
	})
}

// Session is the session of a browser.
type Session struct {
	User      User
	ExpiresAt time.Time
	SeenAt    time.Time // at most a minute too early
}

// BrowserSession returns the session whose token has this hash. ErrNotFound
// means that the session is unknown, revoked, expired or unused for longer than
// idle.
func (s *Store) BrowserSession(ctx context.Context, tokenHash []byte, idle time.Duration) (Session, error) {
	const act = "look up a session"
	var row struct {
		UserID    int64     `db:"user_id"`
		ExpiresAt time.Time `db:"expires_at"`
		SeenAt    time.Time `db:"seen_at"`
	}
	err := s.db.GetContext(ctx, &row, `
        SELECT user_id, expires_at, seen_at FROM refresh_tokens
        WHERE token_hash = $1 AND kind = 'session' AND revoked_at IS NULL AND expires_at > now()
          AND seen_at > now() - make_interval(secs => $2)`, tokenHash, idle.Seconds())
	if err != nil {
		return Session{}, wrap(act, notFound(NounSession, err))
	}
	u, err := s.User(ctx, row.UserID)
	if err != nil {
		return Session{}, err
	}
	if u.Disabled() {
		return Session{}, wrap(act, &NotFoundError{Noun: NounSession})
	}
	return Session{User: u, ExpiresAt: row.ExpiresAt.UTC(), SeenAt: row.SeenAt.UTC()}, nil
}

// SawSession records that a session was used, at most once a minute.
func (s *Store) SawSession(ctx context.Context, tokenHash []byte) error {
	_, err := s.db.ExecContext(ctx, `
        UPDATE refresh_tokens SET seen_at = now()
        WHERE token_hash = $1 AND revoked_at IS NULL AND seen_at < now() - interval '1 minute'`, tokenHash)
	return wrap("note the use of a session", err)
}

// lockToken locks the user of a token and then reads the token. Every change of
// tokens locks the user first, so the returned rows are current.
func lockToken(ctx context.Context, tx *sqlx.Tx, hash []byte, kind SessionKind) (token tokenRow, user userRow, err error) {
	var owner int64
	err = tx.GetContext(ctx, &owner, `SELECT user_id FROM refresh_tokens WHERE token_hash = $1 AND kind = $2`, hash, string(kind))
	if err != nil {
		return token, user, notFound(NounSession, err)
	}
	if user, err = lockUser(ctx, tx, owner); err != nil {
		return token, user, err
	}
	err = tx.GetContext(ctx, &token, `
        SELECT id, family, user_id, expires_at, rotated_at, (revoked_at IS NOT NULL OR expires_at <= now()) AS void
        FROM refresh_tokens WHERE token_hash = $1`, hash)
	return token, user, notFound(NounSession, err)
}

func revokeFamily(ctx context.Context, tx execer, family int64) error {
	_, err := tx.ExecContext(ctx, `UPDATE refresh_tokens SET revoked_at = now() WHERE family = $1 AND revoked_at IS NULL`, family)
	return err
}

// revokeAll ends all sessions of a user. The transaction must have locked the
// user's row.
func revokeAll(ctx context.Context, tx execer, user int64) error {
	_, err := tx.ExecContext(ctx, `UPDATE refresh_tokens SET revoked_at = now() WHERE user_id = $1 AND revoked_at IS NULL`, user)
	return err
}
