package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
)

// APIKey is the credential of a machine, without its secret.
type APIKey struct {
	ID         int64
	Name       string
	Role       auth.Role
	CreatedBy  string
	CreatedAt  time.Time
	LastUsedAt time.Time // zero: never; at most a minute too early
	RevokedAt  time.Time // zero: not revoked
	SecretHash []byte    // SHA-256
}

type apiKeyRow struct {
	ID         int64        `db:"id"`
	Name       string       `db:"name"`
	Role       string       `db:"role"`
	CreatedBy  string       `db:"created_by"`
	CreatedAt  time.Time    `db:"created_at"`
	LastUsedAt sql.NullTime `db:"last_used_at"`
	RevokedAt  sql.NullTime `db:"revoked_at"`
	SecretHash []byte       `db:"secret_hash"`
}

const apiKeyColumns = `id, name, role, created_by, created_at, last_used_at, revoked_at, secret_hash`

func (r *apiKeyRow) key() APIKey {
	return APIKey{
		ID: r.ID, Name: r.Name, Role: auth.Role(r.Role), CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt.UTC(),
		LastUsedAt: utc(r.LastUsedAt), RevokedAt: utc(r.RevokedAt), SecretHash: r.SecretHash,
	}
}

// AddAPIKey stores a key whose secret has this SHA-256.
func (s *Store) AddAPIKey(ctx context.Context, name string, role auth.Role, secretHash []byte, by Origin) (APIKey, error) {
	var row apiKeyRow
	err := s.transact(ctx, "add an API key", func(tx *sqlx.Tx) error {
		err := tx.GetContext(ctx, &row, `
            INSERT INTO api_keys (name, role, created_by, secret_hash) VALUES ($1, $2, $3, $4) RETURNING `+apiKeyColumns,
			name, string(role), by.Actor, secretHash)
		if err != nil {
			return err
		}
		return appendEvent(ctx, tx, by, "key_add", fmt.Sprintf("key:%d as %s: %s", row.ID, role, name))
	})
	return row.key(), err
}

// APIKey returns a key, revoked or not.
func (s *Store) APIKey(ctx context.Context, id int64) (APIKey, error) {
	var row apiKeyRow
	err := s.db.GetContext(ctx, &row, `SELECT `+apiKeyColumns+` FROM api_keys WHERE id = $1`, id)
	return row.key(), wrap(fmt.Sprintf("read API key %d", id), missing(NounAPIKey, err))
}

// APIKeys lists up to limit keys with ids greater than after, in the order in
// which they were made.
func (s *Store) APIKeys(ctx context.Context, after int64, limit int) ([]APIKey, error) {
	var rows []apiKeyRow
	err := s.db.SelectContext(ctx, &rows, `SELECT `+apiKeyColumns+` FROM api_keys WHERE id > $1 ORDER BY id LIMIT $2`, after, limit)
	if err != nil {
		return nil, wrap("list the API keys", err)
	}
	list := make([]APIKey, len(rows))
	for i := range rows {
		list[i] = rows[i].key()
	}
	return list, nil
}

// RevokeAPIKey permanently revokes a key. Revoking the key again changes
// nothing.
func (s *Store) RevokeAPIKey(ctx context.Context, id int64, by Origin) error {
	return s.transact(ctx, fmt.Sprintf("revoke API key %d", id), func(tx *sqlx.Tx) error {
		var row apiKeyRow
		if err := tx.GetContext(ctx, &row, `SELECT `+apiKeyColumns+` FROM api_keys WHERE id = $1 FOR UPDATE`, id); err != nil {
			return missing(NounAPIKey, err)
		}
		if row.RevokedAt.Valid {
			return nil
		}
		if _, err := tx.ExecContext(ctx, `UPDATE api_keys SET revoked_at = now() WHERE id = $1`, id); err != nil {
			return err
		}
		return appendEvent(ctx, tx, by, "key_revoke", fmt.Sprintf("key:%d: %s", id, row.Name))
	})
}

// RevokeAPIKeysNamed revokes all keys of that name.
func (s *Store) RevokeAPIKeysNamed(ctx context.Context, name string, by Origin) error {
	var ids []int64
	if err := s.db.SelectContext(ctx, &ids, `SELECT id FROM api_keys WHERE name = $1 AND revoked_at IS NULL ORDER BY id`, name); err != nil {
		return wrap("look up API keys by name", err)
	}
	for _, id := range ids {
		if err := s.RevokeAPIKey(ctx, id, by); err != nil {
			return err
		}
	}
	return nil
}

// UsedAPIKey records that a key was used, at most once a minute.
func (s *Store) UsedAPIKey(ctx context.Context, id int64) error {
	_, err := s.db.ExecContext(ctx, `
        UPDATE api_keys SET last_used_at = now()
        WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')`, id)
	return wrap(fmt.Sprintf("note the use of API key %d", id), err)
}
