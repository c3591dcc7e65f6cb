package store

import (
	"context"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// A worker may limit how many requests of one caller run at once. Further
// requests of that caller are then parked: they are pending, without a task,
// until some of the running requests have ended. A parked request does not need
// a task to be found, so parking costs nothing in Redis and delays no other
// caller.

// lockClaims lets limited claims take turns at counting the running requests. It
// is the lock of a table, and not an advisory one: only a role that may change
// the table can hold it, and each schema has its own. The table is the one whose
// rows no claim touches, and reading and changing them goes on meanwhile.
const lockClaims = `LOCK TABLE mass_leader IN SHARE UPDATE EXCLUSIVE MODE`

const runningByCaller = `running AS MATERIALIZED (
    SELECT created_by, count(*) AS n FROM mass_requests
    WHERE status = 'processing' AND created_by IS NOT NULL GROUP BY created_by
)`

// claimLimitedQuery claims as many requests of each caller as the limit @most
// leaves, oldest first, and parks the rest.
var claimLimitedQuery = nameParameters(`
WITH ` + runningByCaller + `, ` + sizedRequests + `, candidate AS MATERIALIZED (
    SELECT id, created_by, row_number() OVER (PARTITION BY created_by ORDER BY id) AS place FROM sized WHERE ` + isPart + `
), allowed AS MATERIALIZED (
    SELECT id FROM candidate LEFT JOIN running USING (created_by)
    WHERE created_by IS NULL OR place + coalesce(n, 0) <= @most
), put_aside AS (
    UPDATE mass_requests r SET parked = true, updated_at = now()
    FROM candidate c WHERE r.id = c.id AND r.status = 'pending' AND NOT r.parked AND c.id NOT IN (SELECT id FROM allowed)
), claimed AS (
    UPDATE mass_requests SET ` + setClaimed + `
    WHERE id = ANY (ARRAY(SELECT id FROM allowed)) AND status = 'pending' AND ` + isOwnID + `
    RETURNING ` + claimColumns + `
), ` + claimEvents)

// claimParkedQuery claims parked requests of callers who are below the limit
// @most, oldest first, up to @limit requests whose payloads have at most @bytes
// together.
var claimParkedQuery = nameParameters(`
WITH RECURSIVE caller AS ( -- a loose index scan: one probe for each caller, however many requests are parked
    (SELECT created_by FROM mass_requests WHERE ` + isParked + ` ORDER BY created_by LIMIT 1)
    UNION ALL
    SELECT (SELECT r.created_by FROM mass_requests r
            WHERE ` + isParked + ` AND r.created_by > c.created_by ORDER BY r.created_by LIMIT 1)
    FROM caller c WHERE c.created_by IS NOT NULL
), ` + runningByCaller + `, allowed AS MATERIALIZED (
    SELECT id FROM (SELECT id, sum(size) OVER in_order AS bytes, row_number() OVER in_order AS position FROM (
    SELECT p.id, p.size FROM caller c LEFT JOIN running USING (created_by), LATERAL (
        SELECT id, pg_column_size(payload) AS size FROM mass_requests r
        WHERE ` + isParked + ` AND r.created_by = c.created_by AND ` + isUnexpired + `
        ORDER BY id LIMIT greatest(@most - coalesce(n, 0), 0)) p
    WHERE c.created_by IS NOT NULL LIMIT @limit
    ) found WINDOW in_order AS (ORDER BY id ROWS UNBOUNDED PRECEDING)) summed WHERE ` + isPart + `
), claimed AS (
    UPDATE mass_requests SET ` + setClaimed + `
    WHERE id = ANY (ARRAY(SELECT id FROM allowed)) AND status = 'pending' AND ` + isOwnID + `
    RETURNING ` + claimColumns + `
), ` + claimEvents)

// ClaimBatchesUpTo is ClaimBatches with a limit: no caller may have more than
// most requests running at once, on all workers together. It parks the requests
// beyond the limit for ClaimParked.
func (s *Store) ClaimBatchesUpTo(ctx context.Context, worker WorkerIdentity, batches []int64, most int, bytes int64) (list []jobs.Claimed, more bool, err error) {
	values := worker.values(queryValues{"batch_ids": int64Array(batches), "most": most, "bytes": bytes})
	err = s.db.GetContext(ctx, &more, `
        SELECT coalesce(sum(pg_column_size(payload)), 0) > $2 FROM mass_requests
        WHERE batch_id = ANY ($1) AND `+isReady+` AND `+isDue, int64Array(batches), bytes)
	if err != nil {
		return nil, false, wrap("claim batches", err)
	}
	list, err = s.claimInTurn(ctx, "claim batches", claimLimitedQuery, values)
	return list, more, err
}

// ClaimParked gives the worker up to limit of the parked requests whose callers
// now have fewer than most requests running, and whose payloads have at most
// the number of bytes together. It gives at least one request if there is one.
func (s *Store) ClaimParked(ctx context.Context, worker WorkerIdentity, most, limit int, bytes int64) ([]jobs.Claimed, error) {
	return s.claimInTurn(ctx, "claim parked requests", claimParkedQuery,
		worker.values(queryValues{"most": most, "limit": limit, "bytes": bytes}))
}

// Unpark makes up to limit parked requests ordinary pending ones and returns
// how many. The reconciler calls it when there is no limit anymore, and then
// finds that these requests have no task and enqueues them.
func (s *Store) Unpark(ctx context.Context, limit int) (int64, error) {
	res, err := s.db.ExecContext(ctx, `
        UPDATE mass_requests SET parked = false, updated_at = now() WHERE id IN (
            SELECT id FROM mass_requests WHERE `+isParked+` LIMIT $1 FOR UPDATE SKIP LOCKED)`, limit)
	if err != nil {
		return 0, wrap("unpark requests", err)
	}
	n, err := res.RowsAffected()
	return n, wrap("unpark requests", err)
}

// claimInTurn runs a claim that counts the running requests. It waits until
// every other such claim has ended, and uses a snapshot that shows their
// results.
func (s *Store) claimInTurn(ctx context.Context, act string, q namedQuery, values queryValues) ([]jobs.Claimed, error) {
	tx, err := s.db.BeginTxx(ctx, nil)
	if err != nil {
		return nil, wrap(act, err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it is a no-op, before it the error is known already
	if _, err := tx.ExecContext(ctx, lockClaims); err != nil {
		return nil, wrap(act, err)
	}
	var rows []claimedRow
	if err := tx.SelectContext(ctx, &rows, q.text, q.args(values)...); err != nil {
		return nil, wrap(act, err)
	}
	if err := tx.Commit(); err != nil {
		return nil, wrap(act, err)
	}
	return claimedOf(rows), nil
}
