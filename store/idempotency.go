package store

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/lib/pq"
)

// IdempotencyTTL is how long a key is remembered, by the clock of Postgres.
const IdempotencyTTL = 24 * time.Hour

// keyColumns are the columns that an insertion takes in addition to
// insertColumns when at least one of its items has a key.
var keyColumns = []arrayColumn[NewRequest]{
	{name: "key", element: "text",
		values: columnOf[nullArray](func(r *NewRequest) string { return r.IdempotencyKey })},
	{name: "digest", element: "bytea",
		values: columnOf[bytesArray](func(r *NewRequest) []byte { return r.Digest })},
}

// acceptKeys is the part of insertStatement that decides which items are
// stored.
const acceptKeys = `, won AS (
    INSERT INTO idempotency_keys AS k (caller, key, digest, request_id, batch_id)
    SELECT DISTINCT ON (created_by, key) coalesce(created_by, ''), key, digest, id, batch_id
    FROM item WHERE key IS NOT NULL ORDER BY created_by, key, ord
    ON CONFLICT (caller, key) DO UPDATE
    SET digest = excluded.digest, request_id = excluded.request_id, batch_id = excluded.batch_id, created_at = now()
    WHERE k.created_at < now() - make_interval(secs => @key_ttl)
    RETURNING request_id
), accepted AS MATERIALIZED (
    SELECT * FROM item WHERE key IS NULL OR id IN (SELECT request_id FROM won)
)`

// lookUpKeys fills in the items that were not stored, from the first use of
// their keys.
func (s *Store) lookUpKeys(ctx context.Context, items []NewRequest, out []Inserted) error {
	var callers, keys pq.StringArray
	for i := range items {
		if out[i].ID == 0 {
			callers, keys = append(callers, items[i].CreatedBy), append(keys, items[i].IdempotencyKey)
		}
	}
	var rows []struct {
		Caller    string    `db:"caller"`
		Key       string    `db:"key"`
		Digest    []byte    `db:"digest"`
		RequestID int64     `db:"request_id"`
		BatchID   int64     `db:"batch_id"`
		CreatedAt time.Time `db:"created_at"`
	}
	err := s.db.SelectContext(ctx, &rows, `
        SELECT DISTINCT caller, key, digest, request_id, batch_id, created_at
        FROM idempotency_keys JOIN unnest($1::text[], $2::text[]) AS u(caller, key) USING (caller, key)`, callers, keys)
	if err != nil {
		return wrap("look up idempotency keys", err)
	}
	type callerKey struct{ caller, key string }
	place := make(map[callerKey]int, len(rows))
	for i, r := range rows {
		place[callerKey{r.Caller, r.Key}] = i
	}
	for i := range items {
		if out[i].ID != 0 {
			continue
		}
		at, ok := place[callerKey{items[i].CreatedBy, items[i].IdempotencyKey}]
		if !ok { // the key expired and was removed between the two statements
			return fmt.Errorf("look up idempotency keys: %w: a key is gone", ErrUnavailable)
		}
		r := rows[at]
		if !bytes.Equal(r.Digest, items[i].Digest) {
			out[i].Mismatch = true
			continue
		}
		out[i] = Inserted{ID: r.RequestID, BatchID: r.BatchID, CreatedAt: r.CreatedAt, Replayed: true}
	}
	return nil
}

// RemoveExpiredKeys removes up to limit expired idempotency keys and returns
// how many.
func (s *Store) RemoveExpiredKeys(ctx context.Context, limit int) (int64, error) {
	res, err := s.db.ExecContext(ctx, `
        DELETE FROM idempotency_keys WHERE (caller, key) IN (
            SELECT caller, key FROM idempotency_keys
            WHERE created_at < now() - make_interval(secs => $1) ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)`,
		IdempotencyTTL.Seconds(), limit)
	if err != nil {
		return 0, wrap("remove expired idempotency keys", err)
	}
	n, err := res.RowsAffected()
	return n, wrap("remove expired idempotency keys", err)
}
