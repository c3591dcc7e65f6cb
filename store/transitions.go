package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/lib/pq"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// A claim: what it sets, and what it says in the trail and to the worker. The
// attempt that it returns is the fencing token: every later write of the worker
// names it. $1 is the worker.
const (
	setClaimed = `status = 'processing', attempt = attempt + 1, claimed_by = $1::bigint, held = false, started_at = now(), updated_at = now()`

	claimColumns = `id, attempt, batch_id, failures, correlation_id, payload`

	claimTrail = `trail AS (
    INSERT INTO audit_events (request_id, batch_id, attempt, action, actor, from_status, to_status)
    SELECT id, batch_id, attempt, 'claim', 'worker:' || $1::bigint, 'pending', 'processing' FROM claimed
)
SELECT ` + claimColumns + ` FROM claimed`

	// due, by the clock of Postgres: a delivery may come early, because Asynq counts
	// in whole seconds by the clocks of the workers.
	due       = `run_at <= now() AND ` + unexpired
	unexpired = `(expires_at IS NULL OR expires_at > now())`
)

// soon lets the commit of the statement be on disk a moment later. A crash of
// Postgres in that moment makes what was claimed pending again, as it would be had
// the worker asked later, and takes the event along: nobody was promised anything.
// What the worker writes of it then is refused, see fence. Every commit that comes
// behind, such as that of an end, brings the claim to disk before itself.
const soon = `(SELECT set_config('synchronous_commit', 'off', true)) = 'off'`

// claimBatches takes the pending requests of some batches.
const claimBatches = `
WITH claimed AS (
    UPDATE mass_requests SET ` + setClaimed + `
    WHERE batch_id = ANY ($2) AND ` + free + ` AND ` + due + ` AND ` + soon + `
    RETURNING ` + claimColumns + `
), ` + claimTrail

type claimedRow struct {
	ID            int64          `db:"id"`
	Attempt       int            `db:"attempt"`
	BatchID       int64          `db:"batch_id"`
	Failures      int            `db:"failures"`
	CorrelationID sql.NullString `db:"correlation_id"`
	Payload       []byte         `db:"payload"`
}

func claimedOf(rows []claimedRow) []jobs.Claimed {
	list := make([]jobs.Claimed, len(rows))
	for i, r := range rows {
		list[i] = jobs.Claimed{
			Lease:   jobs.Lease{ID: r.ID, Attempt: r.Attempt},
			BatchID: r.BatchID, Failures: r.Failures, CorrelationID: r.CorrelationID.String, Payload: r.Payload,
		}
	}
	return list
}

// ClaimBatches gives the worker all pending requests of the batches. A batch of
// which nothing is pending yields nothing: its task was a repeated delivery.
func (s *Store) ClaimBatches(ctx context.Context, worker int64, batches []int64) ([]jobs.Claimed, error) {
	var rows []claimedRow
	if err := s.claim.selectInto(ctx, &rows, worker, int64Array(batches)); err != nil {
		return nil, wrap("claim batches", err)
	}
	return claimedOf(rows), nil
}

// DueIn tells how long it is until what waits in a batch is due; 0 when nothing
// waits, or when it is due already.
func (s *Store) DueIn(ctx context.Context, batch int64) (time.Duration, error) {
	var seconds float64
	err := s.db.GetContext(ctx, &seconds, `
        SELECT coalesce(extract(epoch FROM min(run_at) - now()), 0)::float8
        FROM mass_requests WHERE batch_id = $1 AND `+free+` AND run_at > now()`, batch)
	return time.Duration(seconds * float64(time.Second)), wrap(fmt.Sprintf("look when batch %d is due", batch), err)
}

// settleRequests writes the ends of many attempts, each a compare-and-set on
// (id, processing, attempt). A retry moves to a new batch of its own.
//
// The results are fetched from their array: as columns of item they would be part
// of a copy of the whole row that an UPDATE makes of everything it joins.
const settleRequests = `
WITH item AS MATERIALIZED (
    SELECT * FROM unnest($1::bigint[], $2::int[], $3::text[], $4::text[], $6::text[], $8::float8[], $9::bytea[], $11::boolean[])
                  WITH ORDINALITY AS u(id, attempt, action, status, error, delay, input_digest, as_submitted, ord)
), settled AS (
    UPDATE mass_requests r
    SET status = i.status,
        result = ($5::jsonb[])[i.ord], normalized_as_submitted = i.as_submitted, error = i.error, faults = ($7::jsonb[])[i.ord],
        failures = failures + CASE WHEN i.action IN ('fail', 'retry') THEN 1 ELSE 0 END,
        batch_id = CASE WHEN i.action = 'retry' THEN nextval('mass_batches') ELSE batch_id END,
        run_at = CASE WHEN i.action = 'retry' THEN now() + make_interval(secs => i.delay) ELSE run_at END,
        finished_at = CASE WHEN i.action = 'retry' THEN NULL ELSE now() END,
        claimed_by = NULL,
        updated_at = now()
    FROM item i
    WHERE r.id = i.id AND ` + fence + `
    RETURNING r.id, r.attempt, r.batch_id, r.status, r.priority, r.lane, r.run_at, r.error, r.callback_url, r.schema_version, i.action, i.input_digest,
              sha256(convert_to(r.result::text, 'UTF8')) AS output_digest
), trail AS (
    INSERT INTO audit_events (request_id, batch_id, attempt, action, actor, from_status, to_status, detail, schema_version,
                              input_digest, output_digest)
    SELECT id, batch_id, attempt, action, 'worker:' || $10::bigint, 'processing', status, error, schema_version,
           input_digest, output_digest FROM settled
)
SELECT id, batch_id, priority, lane, run_at, callback_url IS NOT NULL AS callback FROM settled`

// Settled tells what became of an Outcome.
type Settled struct {
	Accepted bool       // false: the claim was outdated and nothing was written
	Callback bool       // somebody wants to be told of its end
	Next     jobs.Batch // after Retry: the batch that carries the next try
}

// SettleRequests writes the outcomes of the worker's attempts and returns, in the
// same order, which were accepted. An outdated attempt changes nothing. ErrInvalid means
// that Postgres refused one of the values, and nothing was written.
func (s *Store) SettleRequests(ctx context.Context, worker int64, outcomes []jobs.Outcome) ([]Settled, error) {
	n := len(outcomes)
	var (
		id             = make(int64Array, n)
		attempt        = make(int32Array, n)
		action, status = make(textArray, n), make(textArray, n)
		errs           = make(nullArray, n)
		result, faults = make(jsonbArray, n), make(jsonbArray, n)
		delay          = make(floatArray, n)
		input          = make(bytesArray, n)
		asSubmitted    = make(boolArray, n)
		place          = make(map[int64]int, n)
		settled        = make([]Settled, n)
		rows           []struct {
			ID       int64     `db:"id"`
			BatchID  int64     `db:"batch_id"`
			Priority string    `db:"priority"`
			Lane     int16     `db:"lane"`
			RunAt    time.Time `db:"run_at"`
			Callback bool      `db:"callback"`
		}
	)
	for i, o := range outcomes {
		to, err := target(o.Action)
		if err != nil {
			return nil, err
		}
		if _, twice := place[o.ID]; twice {
			return nil, fmt.Errorf("settle requests: request %d stands twice in one group", o.ID)
		}
		place[o.ID] = i
		id[i], attempt[i], action[i], status[i] = o.ID, int32(o.Attempt), string(o.Action), string(to) //nolint:gosec // the column is an integer
		result[i], errs[i], faults[i], delay[i] = o.Result.JSON, o.Error, o.Faults, o.Delay.Seconds()
		input[i], asSubmitted[i] = o.InputDigest, o.Result.AsSubmitted
	}
	if err := s.settle.selectInto(ctx, &rows, id, attempt, action, status, result, errs, faults, delay, input, worker, asSubmitted); err != nil {
		return nil, wrap("settle requests", err)
	}
	for _, r := range rows {
		i := place[r.ID]
		settled[i].Accepted, settled[i].Callback = true, r.Callback
		if outcomes[i].Action == jobs.Retry {
			settled[i].Next = jobs.Batch{
				ID: r.BatchID, Priority: jobs.Priority(r.Priority), Lane: jobs.Lane(r.Lane), Requests: []int64{r.ID}, RunAt: r.RunAt.UTC(),
			}
		}
	}
	return settled, nil
}

// target is where the table of transitions sends a worker's outcome.
func target(a jobs.Action) (jobs.Status, error) {
	if a == jobs.Finish || a == jobs.Fail || a == jobs.Retry {
		for _, t := range jobs.Transitions() {
			if t.Action == a {
				return t.To, nil
			}
		}
	}
	return "", fmt.Errorf("settle requests: %q is not the end of an attempt", a)
}

// movedRow is what a statement returns of a request that it moved to a new batch.
type movedRow struct {
	ID       int64        `db:"id"`
	BatchID  int64        `db:"batch_id"`
	Priority string       `db:"priority"`
	Lane     int16        `db:"lane"`
	RunAt    sql.NullTime `db:"run_at"`
}

// dueAt is run_at where it lies ahead and NULL where it is past, by the clock of
// Postgres, so that no other clock decides whether a batch has to wait.
const dueAt = `CASE WHEN run_at > now() THEN run_at END AS run_at`

// batches gathers moved requests by their new batch, in the order of the rows.
func batches(rows []movedRow) []jobs.Batch {
	var list []jobs.Batch
	place := map[int64]int{}
	for _, r := range rows {
		i, ok := place[r.BatchID]
		if !ok {
			i = len(list)
			place[r.BatchID] = i
			list = append(list, jobs.Batch{ID: r.BatchID, Priority: jobs.Priority(r.Priority), Lane: jobs.Lane(r.Lane), RunAt: utc(r.RunAt)})
		}
		list[i].Requests = append(list[i].Requests, r.ID)
	}
	return list
}

// ReleaseRequests hands requests back untried: they are pending again, in new
// batches of up to size, which the caller enqueues. Outdated leases are passed over.
func (s *Store) ReleaseRequests(ctx context.Context, leases []jobs.Lease, reason string, size int) ([]jobs.Batch, error) {
	ids, attempts := make(pq.Int64Array, len(leases)), make(pq.Int32Array, len(leases))
	for i, l := range leases {
		ids[i], attempts[i] = l.ID, int32(l.Attempt) //nolint:gosec // the column is an integer
	}
	var rows []movedRow
	err := s.db.SelectContext(ctx, &rows, `
        WITH held AS MATERIALIZED (
            SELECT r.id, r.priority, r.lane, r.claimed_by
            FROM mass_requests r JOIN unnest($1::bigint[], $2::int[]) AS l(id, attempt) USING (id, attempt)
            WHERE r.status = 'processing'
            ORDER BY r.id FOR UPDATE OF r
        ), place AS MATERIALIZED (
            SELECT id, priority, lane, claimed_by, (row_number() OVER (PARTITION BY priority, lane ORDER BY id) - 1) / $4 AS run FROM held
        ), batch AS MATERIALIZED (
            SELECT priority, lane, run, nextval('mass_batches') AS batch_id FROM (SELECT DISTINCT priority, lane, run FROM place) d
        ), moved AS (
            UPDATE mass_requests r
            SET status = 'pending', batch_id = b.batch_id, claimed_by = NULL, updated_at = now()
            FROM place p JOIN batch b USING (priority, lane, run)
            WHERE r.id = p.id
            RETURNING r.id, r.batch_id, r.attempt, r.priority, r.lane, r.run_at, p.claimed_by AS was
        ), trail AS (
            INSERT INTO audit_events (request_id, batch_id, attempt, action, actor, from_status, to_status, detail)
            SELECT id, batch_id, attempt, 'release', 'worker:' || was, 'processing', 'pending', $3 FROM moved
        )
        SELECT id, batch_id, priority, lane, `+dueAt+` FROM moved ORDER BY batch_id, id`,
		ids, attempts, reason, size)
	if err != nil {
		return nil, wrap("release requests", err)
	}
	return batches(rows), nil
}

// RescueLimits bound the rescue of a silent worker's requests.
type RescueLimits struct {
	Step       int // requests a call
	BatchSize  int // requests a new batch
	MaxRescues int // a request rescued more often than this fails: it may be what kills its workers
}

// RescueRequests takes requests away from a worker that fell silent. They are
// pending again, in new batches, which the caller enqueues; no retry is used up.
// A request that was rescued before travels alone, so that one that kills its
// workers holds nobody else back, and fails after lim.MaxRescues. more tells
// whether the worker may hold others.
func (s *Store) RescueRequests(ctx context.Context, worker int64, lim RescueLimits) (list []jobs.Batch, more bool, err error) {
	var rows []struct {
		movedRow
		Status string `db:"status"`
	}
	err = s.db.SelectContext(ctx, &rows, `
        WITH held AS MATERIALIZED (
            SELECT id, priority, lane, rescues FROM mass_requests
            WHERE claimed_by = $1::bigint AND status = 'processing'
            ORDER BY id LIMIT $2 FOR UPDATE
        ), place AS MATERIALIZED (
            SELECT id, priority, lane, rescues,
                   CASE WHEN rescues = 0 THEN (row_number() OVER (PARTITION BY priority, lane, rescues = 0 ORDER BY id) - 1) / $3
                        ELSE -id END AS run
            FROM held
        ), batch AS MATERIALIZED (
            SELECT priority, lane, run, nextval('mass_batches') AS batch_id FROM (SELECT DISTINCT priority, lane, run FROM place) d
        ), moved AS (
            UPDATE mass_requests r
            SET status = CASE WHEN p.rescues >= $4 THEN 'failed' ELSE 'pending' END,
                finished_at = CASE WHEN p.rescues >= $4 THEN now() END,
                error = CASE WHEN p.rescues >= $4
                             THEN format('gave up: %s workers in turn fell silent while they worked on this request', p.rescues + 1)
                             ELSE r.error END,
                batch_id = b.batch_id, rescues = r.rescues + 1, claimed_by = NULL, updated_at = now()
            FROM place p JOIN batch b USING (priority, lane, run)
            WHERE r.id = p.id
            RETURNING r.id, r.batch_id, r.attempt, r.priority, r.lane, r.run_at, r.status, r.error
        ), trail AS (
            INSERT INTO audit_events (request_id, batch_id, attempt, action, actor, from_status, to_status, detail)
            SELECT id, batch_id, attempt, CASE status WHEN 'failed' THEN 'fail' ELSE 'rescue' END, 'reconciler', 'processing', status,
                   CASE status WHEN 'failed' THEN error ELSE 'worker ' || $1::bigint || ' fell silent' END
            FROM moved
        )
        SELECT id, batch_id, priority, lane, status, `+dueAt+` FROM moved ORDER BY batch_id, id`,
		worker, lim.Step, lim.BatchSize, lim.MaxRescues)
	if err != nil {
		return nil, false, wrap(fmt.Sprintf("rescue the requests of worker %d", worker), err)
	}
	var again []movedRow
	for _, r := range rows {
		if jobs.Status(r.Status) == jobs.StatusPending {
			again = append(again, r.movedRow)
		}
	}
	return batches(again), len(rows) == lim.Step, nil
}

// ExpireRequests fails up to limit pending requests that nobody began before
// their time was over, and returns their ids.
func (s *Store) ExpireRequests(ctx context.Context, limit int) ([]int64, error) {
	var list []int64
	err := s.db.SelectContext(ctx, &list, `
        WITH late AS MATERIALIZED (
            SELECT id FROM mass_requests WHERE status = 'pending' AND expires_at <= now()
            ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
        ), expired AS (
            UPDATE mass_requests r
            SET status = 'failed', finished_at = now(), updated_at = now(),
                error = 'expired: it was not begun before ' || to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
                        || coalesce('; the latest try said: ' || error, '')
            FROM late WHERE r.id = late.id
            RETURNING r.id, r.batch_id, r.attempt, r.error
        ), trail AS (
            INSERT INTO audit_events (request_id, batch_id, attempt, action, actor, from_status, to_status, detail)
            SELECT id, batch_id, attempt, 'expire', 'reconciler', 'pending', 'failed', error FROM expired
        )
        SELECT id FROM expired`, limit)
	return list, wrap("expire requests", err)
}

// RequeueBatches moves the pending requests of batches whose delivery got stuck
// to new batches of their own kind, which the caller enqueues. Nobody tried
// them, so nothing is counted; the late delivery will find nothing to claim.
func (s *Store) RequeueBatches(ctx context.Context, stuck []int64) ([]jobs.Batch, error) {
	var rows []movedRow
	err := s.db.SelectContext(ctx, &rows, `
        WITH held AS MATERIALIZED (
            SELECT id, batch_id FROM mass_requests
            WHERE batch_id = ANY ($1) AND `+free+`
            ORDER BY id FOR UPDATE
        ), batch AS MATERIALIZED (
            SELECT batch_id AS was, nextval('mass_batches') AS batch_id FROM (SELECT DISTINCT batch_id FROM held) d
        ), moved AS (
            UPDATE mass_requests r SET batch_id = b.batch_id, updated_at = now()
            FROM held h JOIN batch b ON b.was = h.batch_id
            WHERE r.id = h.id
            RETURNING r.id, r.batch_id, r.priority, r.lane, r.run_at
        )
        SELECT id, batch_id, priority, lane, `+dueAt+` FROM moved ORDER BY batch_id, id`, pq.Int64Array(stuck))
	if err != nil {
		return nil, wrap("requeue batches", err)
	}
	return batches(rows), nil
}

// The two moves of a person. A replay starts the count of tries anew; the
// attempt, being the fencing token, goes on. It takes a new batch_id besides.
const (
	setCancelled = `status = 'cancelled', claimed_by = NULL, finished_at = now(), updated_at = now()`
	setReplayed  = `status = 'pending', held = false, failures = 0, rescues = 0, result = NULL, normalized_as_submitted = false, error = NULL,
            faults = NULL, run_at = now(), started_at = NULL, finished_at = NULL, updated_at = now()`

	cancelRequest = `UPDATE mass_requests SET ` + setCancelled + ` WHERE id = $1 RETURNING ` + requestColumns
	replayRequest = `
        UPDATE mass_requests SET batch_id = nextval('mass_batches'), ` + setReplayed + `
        WHERE id = $1 RETURNING ` + requestColumns
)

// MoveRequest carries out a person's wish to set a request to status to: cancel
// or replay, as the table of transitions says. It returns the request as it is
// afterwards; a replayed one is in a new batch, which the caller enqueues.
//
// The error is ErrNotFound, or ErrConflict together with a *jobs.TransitionError.
func (s *Store) MoveRequest(ctx context.Context, id int64, to jobs.Status, by Origin) (jobs.Request, error) {
	act := fmt.Sprintf("set request %d to %s", id, to)
	tx, err := s.db.BeginTxx(ctx, nil)
	if err != nil {
		return jobs.Request{}, wrap(act, err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it is a no-op, before it the error is known already

	var from string
	err = tx.GetContext(ctx, &from, `SELECT status FROM mass_requests WHERE id = $1 FOR UPDATE`, id)
	if err != nil {
		return jobs.Request{}, wrap(act, missing(NounRequest, err))
	}
	action, ok := jobs.PersonAction(jobs.Status(from), to)
	if !ok {
		return jobs.Request{}, fmt.Errorf("%s: %w: %w", act,
			&ConflictError{Noun: NounRequest, Reason: "its status does not allow this"}, &jobs.TransitionError{From: jobs.Status(from), To: to})
	}
	query := cancelRequest
	if action == jobs.Replay {
		query = replayRequest
	}
	var row requestRow
	if err := tx.GetContext(ctx, &row, query, id); err != nil {
		return jobs.Request{}, wrap(act, err)
	}
	_, err = tx.ExecContext(ctx, `
        INSERT INTO audit_events (request_id, batch_id, attempt, action, from_status, to_status, `+originColumns+`)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		append([]any{id, row.BatchID, row.Attempt, string(action), from, string(to)}, by.columns()...)...)
	if err != nil {
		return jobs.Request{}, wrap(act, err)
	}
	if err := tx.Commit(); err != nil {
		return jobs.Request{}, wrap(act, err)
	}
	return row.request(), nil
}
