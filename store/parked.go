package store

import (
	"context"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// Where one caller may not have more than so many requests running at once, the
// others of the caller are held: pending, without a task, until some of those
// that run have ended. Nobody's turn depends on a task, so holding costs nothing
// in Redis and delays nobody else.

// claimLock lets one limited claim at a time count who runs how much: "clam" in ASCII.
const claimLock = 0x636c616d

const runningByCaller = `running AS MATERIALIZED (
    SELECT created_by, count(*) AS n FROM mass_requests
    WHERE status = 'processing' AND created_by IS NOT NULL GROUP BY created_by
)`

// claimLimited takes of each caller what the limit leaves, oldest first, and
// holds the rest. $3 is the limit.
const claimLimited = `
WITH ` + runningByCaller + `, due AS MATERIALIZED (
    SELECT id, created_by, row_number() OVER (PARTITION BY created_by ORDER BY id) AS place FROM mass_requests
    WHERE batch_id = ANY ($2) AND ` + free + ` AND ` + due + `
), free AS MATERIALIZED (
    SELECT id FROM due LEFT JOIN running USING (created_by)
    WHERE created_by IS NULL OR place + coalesce(n, 0) <= $3
), held AS (
    UPDATE mass_requests r SET held = true, updated_at = now()
    FROM due WHERE r.id = due.id AND r.status = 'pending' AND NOT r.held AND due.id NOT IN (SELECT id FROM free)
), claimed AS (
    UPDATE mass_requests SET ` + setClaimed + `
    WHERE id = ANY (ARRAY(SELECT id FROM free)) AND status = 'pending'
    RETURNING ` + claimColumns + `
), ` + claimTrail

// claimHeld takes what is held of callers who are below the limit $2, oldest
// first, up to $3 requests.
const claimHeld = `
WITH RECURSIVE caller AS ( -- a loose index scan: one probe a caller, however much is held
    (SELECT created_by FROM mass_requests WHERE status = 'pending' AND held ORDER BY created_by LIMIT 1)
    UNION ALL
    SELECT (SELECT r.created_by FROM mass_requests r
            WHERE r.status = 'pending' AND r.held AND r.created_by > c.created_by ORDER BY r.created_by LIMIT 1)
    FROM caller c WHERE c.created_by IS NOT NULL
), ` + runningByCaller + `, next AS MATERIALIZED (
    SELECT h.id FROM caller c LEFT JOIN running USING (created_by), LATERAL (
        SELECT id FROM mass_requests r
        WHERE status = 'pending' AND held AND r.created_by = c.created_by AND ` + unexpired + `
        ORDER BY id LIMIT greatest($2 - coalesce(n, 0), 0)) h
    WHERE c.created_by IS NOT NULL LIMIT $3
), claimed AS (
    UPDATE mass_requests SET ` + setClaimed + `
    WHERE id = ANY (ARRAY(SELECT id FROM next)) AND status = 'pending'
    RETURNING ` + claimColumns + `
), ` + claimTrail

// ClaimBatchesUpTo is ClaimBatches where no caller may have more than most
// requests running at once, on all workers together. What is beyond that is held
// for ClaimHeld.
func (s *Store) ClaimBatchesUpTo(ctx context.Context, worker int64, batches []int64, most int) ([]jobs.Claimed, error) {
	return s.claimInTurn(ctx, "claim batches", claimLimited, worker, int64Array(batches), most)
}

// ClaimHeld gives the worker up to limit of the requests that were held, now
// that their callers have fewer than most running.
func (s *Store) ClaimHeld(ctx context.Context, worker int64, most, limit int) ([]jobs.Claimed, error) {
	return s.claimInTurn(ctx, "claim what was held", claimHeld, worker, most, limit)
}

// Unhold lets go of up to limit held requests and returns how many. Where there
// is no limit anymore the reconciler does so, and then finds them without a task.
func (s *Store) Unhold(ctx context.Context, limit int) (int64, error) {
	res, err := s.db.ExecContext(ctx, `
        UPDATE mass_requests SET held = false, updated_at = now() WHERE id IN (
            SELECT id FROM mass_requests WHERE status = 'pending' AND held LIMIT $1 FOR UPDATE SKIP LOCKED)`, limit)
	if err != nil {
		return 0, fault("let go of what is held", err)
	}
	n, err := res.RowsAffected()
	return n, fault("let go of what is held", err)
}

// claimInTurn runs a claim that counts what runs: after every other such claim
// has ended, and with a snapshot that shows it.
func (s *Store) claimInTurn(ctx context.Context, act, query string, args ...any) ([]jobs.Claimed, error) {
	tx, err := s.db.BeginTxx(ctx, nil)
	if err != nil {
		return nil, fault(act, err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it is a no-op, before it the error is known already
	if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, claimLock); err != nil {
		return nil, fault(act, err)
	}
	var rows []claimedRow
	if err := tx.SelectContext(ctx, &rows, query, args...); err != nil {
		return nil, fault(act, err)
	}
	if err := tx.Commit(); err != nil {
		return nil, fault(act, err)
	}
	return claimedOf(rows), nil
}
