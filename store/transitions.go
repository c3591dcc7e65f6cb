package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/lib/pq"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// The parts of a claim: the values that it sets, and those that it writes to
// the trail and returns to the worker @worker. The attempt that it returns is
// the fencing token: every later write of the worker names it.
const (
	setClaimed = `status = 'processing', attempt = attempt + 1, claimed_by = @worker::bigint, parked = false, started_at = now(), updated_at = now()`

	claimColumns = `id, attempt, batch_id, failures, correlation_id, payload`

	claimEvents = `event AS (
    INSERT INTO audit_events (` + transitionColumns + `)
    SELECT id, batch_id, attempt, 'claim', 'worker:' || @worker::bigint, 'pending', 'processing', NULL FROM claimed
)
SELECT ` + claimColumns + ` FROM claimed`

	// isDue uses the clock of Postgres: a delivery may come early, because
	// Asynq counts whole seconds by the clocks of the workers.
	isDue       = `run_at <= now() AND ` + isUnexpired
	isUnexpired = `(expires_at IS NULL OR expires_at > now())`
)

// commitLater lets a statement return before its commit is on disk. If Postgres
// crashes at that moment, the claimed requests are pending again and the event
// of the claim is lost with it, as if the worker had not asked yet: nothing was
// promised to a client. The fence of outcomeQuery refuses everything that the
// worker writes about such a claim. Every later commit that waits for the disk,
// such as that of an outcome, brings the claim to disk before itself.
const commitLater = `(SELECT set_config('synchronous_commit', 'off', true)) = 'off'`

// claimQuery claims the pending requests of the batches @batch_ids, or none of
// them if their payloads have more than @bytes together. Payloads are stored
// uncompressed, so pg_column_size is their true size, and it does not read them.
var claimQuery = nameParameters(`
WITH claimed AS (
    UPDATE mass_requests SET ` + setClaimed + `
    WHERE batch_id = ANY (@batch_ids) AND ` + isReady + ` AND ` + isDue + ` AND ` + isOwnID + ` AND ` + commitLater + `
      AND (SELECT coalesce(sum(pg_column_size(payload)), 0) FROM mass_requests
           WHERE batch_id = ANY (@batch_ids) AND ` + isReady + `) <= @bytes
    RETURNING ` + claimColumns + `
), ` + claimEvents)

// sizedRequests are the requests of the batches @batch_ids that can be claimed,
// in the order of their ids. Those that isPart selects are claimed together:
// their payloads have at most @bytes, or there is only one of them.
const (
	sizedRequests = `sized AS MATERIALIZED (
    SELECT id, created_by, sum(pg_column_size(payload)) OVER in_order AS bytes, row_number() OVER in_order AS position FROM mass_requests
    WHERE batch_id = ANY (@batch_ids) AND ` + isReady + ` AND ` + isDue + `
    WINDOW in_order AS (ORDER BY id ROWS UNBOUNDED PRECEDING)
)`
	isPart = `(bytes <= @bytes OR position = 1)`
)

// claimPartQuery claims the first of the pending requests of the batches.
var claimPartQuery = nameParameters(`
WITH ` + sizedRequests + `, claimed AS (
    UPDATE mass_requests SET ` + setClaimed + `
    WHERE id = ANY (ARRAY(SELECT id FROM sized WHERE ` + isPart + `)) AND ` + isReady + ` AND ` + isOwnID + ` AND ` + commitLater + `
    RETURNING ` + claimColumns + `
), ` + claimEvents)

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

// ClaimBatches gives the worker the pending requests of the batches. A batch
// without pending requests yields nothing: its task was delivered again.
//
// If the payloads have more than the number of bytes together, ClaimBatches
// claims only a part of the requests, but at least one, and more is true: the
// rest can be claimed later.
func (s *Store) ClaimBatches(ctx context.Context, worker WorkerIdentity, batches []int64, bytes int64) (list []jobs.Claimed, more bool, err error) {
	values := worker.values(queryValues{"batch_ids": int64Array(batches), "bytes": bytes})
	var rows []claimedRow
	if err := s.claim.selectInto(ctx, &rows, claimQuery.args(values)...); err != nil {
		return nil, false, wrap("claim batches", err)
	}
	if len(rows) > 0 {
		return claimedOf(rows), false, nil
	}
	if err := s.db.SelectContext(ctx, &rows, claimPartQuery.text, claimPartQuery.args(values)...); err != nil {
		return nil, false, wrap("claim a part of batches", err)
	}
	return claimedOf(rows), len(rows) > 0, nil
}

// DueIn returns the time until the waiting requests of a batch are due; 0 when
// none is waiting, or when they are due already.
func (s *Store) DueIn(ctx context.Context, batch int64) (time.Duration, error) {
	var seconds float64
	err := s.db.GetContext(ctx, &seconds, `
        SELECT coalesce(extract(epoch FROM min(run_at) - now()), 0)::float8
        FROM mass_requests WHERE batch_id = $1 AND `+isReady+` AND run_at > now()`, batch)
	return time.Duration(seconds * float64(time.Second)), wrap(fmt.Sprintf("look when batch %d is due", batch), err)
}

// outcomeItem is a jobs.Outcome with the status that it leads to.
type outcomeItem struct {
	*jobs.Outcome
	status jobs.Status
}

// outcomeColumns are the values of an outcome, except its JSON.
var outcomeColumns = []arrayColumn[outcomeItem]{
	{name: "id", element: "bigint",
		values: columnOf[int64Array](func(o *outcomeItem) int64 { return o.ID })},
	{name: "attempt", element: "int",
		values: columnOf[int32Array](func(o *outcomeItem) int32 { return int32(o.Attempt) })}, // the column is an integer
	{name: "action", element: "text",
		values: columnOf[textArray](func(o *outcomeItem) string { return string(o.Action) })},
	{name: "status", element: "text",
		values: columnOf[textArray](func(o *outcomeItem) string { return string(o.status) })},
	{name: "error", element: "text",
		values: columnOf[nullArray](func(o *outcomeItem) string { return o.Error })},
	{name: "delay", element: "float8",
		values: columnOf[floatArray](func(o *outcomeItem) float64 { return o.Delay.Seconds() })},
	{name: "as_submitted", element: "boolean",
		values: columnOf[boolArray](func(o *outcomeItem) bool { return o.Result.AsSubmitted })},
	{name: "input_digest", element: "bytea",
		values: columnOf[bytesArray](func(o *outcomeItem) []byte { return o.InputDigest })},
}

// outcomeQuery writes the outcomes of many attempts, each of them a
// compare-and-set on (id, processing, attempt, worker). A retry moves to a new
// batch of its own.
//
// The fence is the condition of the UPDATE: only the attempt that holds the
// request may write its outcome, and only from the worker @worker that claimed
// it, because a claim that a crash of Postgres undid (see commitLater) may give
// the same attempt to another worker. The constant unfenced is empty, except in
// a build with which the chaos harness proves that it notices a missing fence.
// The status is compared as an expression, so that the planner does not match
// it with a partial index: it would walk all requests that are being processed
// instead of looking up ids.
//
// The results are taken from their array. As columns of item they would be
// copied once more, because an UPDATE copies the whole of every row that it
// joins.
var outcomeQuery = nameParameters(`
WITH item AS MATERIALIZED (
    SELECT * FROM ` + unnestColumns(outcomeColumns) + `
), written AS (
    UPDATE mass_requests r
    SET status = i.status,
        result = (@result::json[])[i.ord], normalized_as_submitted = i.as_submitted,
        error = i.error, faults = (@faults::json[])[i.ord],
        failures = failures + CASE WHEN i.action IN ('fail', 'retry') THEN 1 ELSE 0 END,
        batch_id = CASE WHEN i.action = 'retry' THEN nextval('mass_batches') ELSE batch_id END,
        run_at = CASE WHEN i.action = 'retry' THEN now() + make_interval(secs => i.delay) ELSE run_at END,
        finished_at = CASE WHEN i.action = 'retry' THEN NULL ELSE now() END,
        claimed_by = NULL,
        updated_at = now()
    FROM item i
    WHERE r.id = i.id AND (r.status || '' = 'processing' AND r.attempt = i.attempt AND r.claimed_by = @worker::bigint AND ` + isOwnID + unfenced + `)
    RETURNING r.id, r.attempt, r.batch_id, r.status, r.priority, r.lane, r.run_at, r.error, r.callback_url, r.schema_version, i.action, i.input_digest,
              sha256(convert_to(r.result::text, 'UTF8')) AS output_digest
), event AS (
    INSERT INTO audit_events (` + transitionColumns + `, schema_version, input_digest, output_digest)
    SELECT id, batch_id, attempt, action, 'worker:' || @worker::bigint, 'processing', status, error, schema_version, input_digest, output_digest
    FROM written
)
SELECT id, batch_id, priority, lane, run_at, callback_url IS NOT NULL AS callback FROM written`)

// OutcomeResult is the result of writing an Outcome.
type OutcomeResult struct {
	Accepted bool       // false: the claim was outdated and nothing was written
	Callback bool       // a callback URL is to be notified of the end
	Next     jobs.Batch // after Retry: the batch that carries the next attempt
}

// WriteOutcomes writes the outcomes of the worker's attempts and returns, in
// the same order, which of them were accepted. The outcome of an outdated
// attempt changes nothing. ErrInvalid means that Postgres refused one of the
// values, and nothing was written.
func (s *Store) WriteOutcomes(ctx context.Context, worker WorkerIdentity, outcomes []jobs.Outcome) ([]OutcomeResult, error) {
	items := make([]outcomeItem, len(outcomes))
	result, faults := make(jsonArray, len(outcomes)), make(jsonArray, len(outcomes))
	place := make(map[int64]int, len(outcomes))
	for i := range outcomes {
		o := &outcomes[i]
		to, err := statusAfter(o.Action)
		if err != nil {
			return nil, err
		}
		if _, twice := place[o.ID]; twice {
			return nil, fmt.Errorf("write outcomes: request %d occurs twice in one group", o.ID)
		}
		place[o.ID] = i
		items[i] = outcomeItem{Outcome: o, status: to}
		result[i], faults[i] = o.Result.JSON, o.Faults
	}
	values := worker.values(queryValues{"result": result, "faults": faults})
	addColumns(values, outcomeColumns, items)
	var rows []struct {
		ID       int64     `db:"id"`
		BatchID  int64     `db:"batch_id"`
		Priority string    `db:"priority"`
		Lane     int16     `db:"lane"`
		RunAt    time.Time `db:"run_at"`
		Callback bool      `db:"callback"`
	}
	if err := s.outcomes.selectInto(ctx, &rows, outcomeQuery.args(values)...); err != nil {
		return nil, wrap("write outcomes", err)
	}
	results := make([]OutcomeResult, len(outcomes))
	for _, r := range rows {
		i := place[r.ID]
		results[i].Accepted, results[i].Callback = true, r.Callback
		if outcomes[i].Action == jobs.Retry {
			results[i].Next = jobs.Batch{
				ID: r.BatchID, Priority: jobs.Priority(r.Priority), Lane: jobs.Lane(r.Lane), Requests: []int64{r.ID}, RunAt: r.RunAt.UTC(),
			}
		}
	}
	return results, nil
}

// statusAfter is the status to which the table of transitions sends the outcome
// of an attempt: Finish to Done, Fail to Failed, Retry to Pending.
func statusAfter(a jobs.Action) (jobs.Status, error) {
	if a == jobs.Finish || a == jobs.Fail || a == jobs.Retry {
		for _, t := range jobs.Transitions() {
			if t.Action == a {
				return t.To, nil
			}
		}
	}
	return "", fmt.Errorf("write outcomes: %q is not the end of an attempt", a)
}

// movedRow is the row that a statement returns for a request that it moved to a
// new batch.
type movedRow struct {
	ID       int64        `db:"id"`
	BatchID  int64        `db:"batch_id"`
	Priority string       `db:"priority"`
	Lane     int16        `db:"lane"`
	RunAt    sql.NullTime `db:"run_at"`
}

// dueAt is run_at where it is in the future and NULL where it is past, by the
// clock of Postgres, so that no other clock decides whether a batch has to
// wait.
const dueAt = `CASE WHEN run_at > now() THEN run_at END AS run_at`

// batchesOf gathers moved requests by their new batch, in the order of the
// rows.
func batchesOf(rows []movedRow) []jobs.Batch {
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

var releaseQuery = nameParameters(`
        WITH locked AS MATERIALIZED (
            SELECT r.id, r.priority, r.lane, r.claimed_by
            FROM mass_requests r JOIN unnest(@ids::bigint[], @attempts::int[]) AS l(id, attempt) USING (id, attempt)
            WHERE r.status = 'processing' AND r.claimed_by = @worker AND ` + isOwnID + `
            ORDER BY r.id FOR UPDATE OF r
        ), grouped AS MATERIALIZED (
            SELECT id, priority, lane, claimed_by, (row_number() OVER (PARTITION BY priority, lane ORDER BY id) - 1) / @size AS part FROM locked
        ), new_batch AS MATERIALIZED (
            SELECT priority, lane, part, nextval('mass_batches') AS batch_id FROM (SELECT DISTINCT priority, lane, part FROM grouped) d
        ), moved AS (
            UPDATE mass_requests r
            SET status = 'pending', batch_id = b.batch_id, claimed_by = NULL, updated_at = now()
            FROM grouped g JOIN new_batch b USING (priority, lane, part)
            WHERE r.id = g.id
            RETURNING r.id, r.batch_id, r.attempt, r.priority, r.lane, r.run_at, g.claimed_by AS was
        ), event AS (
            INSERT INTO audit_events (` + transitionColumns + `)
            SELECT id, batch_id, attempt, 'release', 'worker:' || was, 'processing', 'pending', @reason FROM moved
        )
        SELECT id, batch_id, priority, lane, ` + dueAt + ` FROM moved ORDER BY batch_id, id`)

// ReleaseRequests hands claimed requests back without an attempt: they are
// pending again, in new batches of up to size, which the caller enqueues.
// Requests that the worker no longer holds are skipped.
func (s *Store) ReleaseRequests(ctx context.Context, worker WorkerIdentity, leases []jobs.Lease, reason string, size int) ([]jobs.Batch, error) {
	ids, attempts := make(pq.Int64Array, len(leases)), make(pq.Int32Array, len(leases))
	for i, l := range leases {
		ids[i], attempts[i] = l.ID, int32(l.Attempt) //nolint:gosec // the column is an integer
	}
	var rows []movedRow
	values := worker.values(queryValues{"ids": ids, "attempts": attempts, "reason": reason, "size": size})
	err := s.db.SelectContext(ctx, &rows, releaseQuery.text, releaseQuery.args(values)...)
	if err != nil {
		return nil, wrap("release requests", err)
	}
	return batchesOf(rows), nil
}

// RescueLimits bounds the rescue of the requests of a silent worker.
type RescueLimits struct {
	Step       int // requests in one call
	BatchSize  int // requests in one new batch
	MaxRescues int // a request that was rescued this many times fails, because it may be killing its workers
}

// RescueRequests takes requests away from a worker that fell silent. They are
// pending again, in new batches, which the caller enqueues; no retry is used
// up. A request that was rescued before gets a batch of its own, so that a
// request that kills its workers delays no other one, and fails after
// lim.MaxRescues. more says that the worker may have claimed further requests.
func (s *Store) RescueRequests(ctx context.Context, worker int64, lim RescueLimits) (list []jobs.Batch, more bool, err error) {
	var rows []struct {
		movedRow
		Status string `db:"status"`
	}
	err = s.db.SelectContext(ctx, &rows, `
        WITH locked AS MATERIALIZED (
            SELECT id, priority, lane, rescues FROM mass_requests
            WHERE claimed_by = $1::bigint AND status = 'processing'
            ORDER BY id LIMIT $2 FOR UPDATE
        ), grouped AS MATERIALIZED (
            SELECT id, priority, lane, rescues,
                   CASE WHEN rescues = 0 THEN (row_number() OVER (PARTITION BY priority, lane, rescues = 0 ORDER BY id) - 1) / $3
                        ELSE -id END AS part
            FROM locked
        ), new_batch AS MATERIALIZED (
            SELECT priority, lane, part, nextval('mass_batches') AS batch_id FROM (SELECT DISTINCT priority, lane, part FROM grouped) d
        ), moved AS (
            UPDATE mass_requests r
            SET status = CASE WHEN g.rescues >= $4 THEN 'failed' ELSE 'pending' END,
                finished_at = CASE WHEN g.rescues >= $4 THEN now() END,
                error = CASE WHEN g.rescues >= $4
                             THEN format('gave up: %s workers in turn fell silent while they worked on this request', g.rescues + 1)
                             ELSE r.error END,
                batch_id = b.batch_id, rescues = r.rescues + 1, claimed_by = NULL, updated_at = now()
            FROM grouped g JOIN new_batch b USING (priority, lane, part)
            WHERE r.id = g.id
            RETURNING r.id, r.batch_id, r.attempt, r.priority, r.lane, r.run_at, r.status, r.error
        ), event AS (
            INSERT INTO audit_events (`+transitionColumns+`)
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
	return batchesOf(again), len(rows) == lim.Step, nil
}

// ExpireRequests fails up to limit pending requests that no worker claimed
// before their expires_at, and returns their ids.
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
        ), event AS (
            INSERT INTO audit_events (`+transitionColumns+`)
            SELECT id, batch_id, attempt, 'expire', 'reconciler', 'pending', 'failed', error FROM expired
        )
        SELECT id FROM expired`, limit)
	return list, wrap("expire requests", err)
}

// RequeueBatches moves the pending requests of batches whose delivery got stuck
// to new batches of the same priority and lane, which the caller enqueues. No
// attempt was made, so none is counted; the late delivery will find nothing to
// claim.
func (s *Store) RequeueBatches(ctx context.Context, stuck []int64) ([]jobs.Batch, error) {
	var rows []movedRow
	err := s.db.SelectContext(ctx, &rows, `
        WITH locked AS MATERIALIZED (
            SELECT id, batch_id FROM mass_requests
            WHERE batch_id = ANY ($1) AND `+isReady+`
            ORDER BY id FOR UPDATE
        ), new_batch AS MATERIALIZED (
            SELECT batch_id AS was, nextval('mass_batches') AS batch_id FROM (SELECT DISTINCT batch_id FROM locked) d
        ), moved AS (
            UPDATE mass_requests r SET batch_id = b.batch_id, updated_at = now()
            FROM locked l JOIN new_batch b ON b.was = l.batch_id
            WHERE r.id = l.id
            RETURNING r.id, r.batch_id, r.priority, r.lane, r.run_at
        )
        SELECT id, batch_id, priority, lane, `+dueAt+` FROM moved ORDER BY batch_id, id`, pq.Int64Array(stuck))
	if err != nil {
		return nil, wrap("requeue batches", err)
	}
	return batchesOf(rows), nil
}

// The two transitions that a person can request. A replay resets the counts of
// failures and rescues, but not the attempt, because the attempt is the fencing
// token. The statement of a replay also sets a new batch_id.
const (
	setCancelled = `status = 'cancelled', claimed_by = NULL, finished_at = now(), updated_at = now()`
	setReplayed  = `status = 'pending', parked = false, failures = 0, rescues = 0, result = NULL, normalized_as_submitted = false, error = NULL,
            faults = NULL, run_at = now(), started_at = NULL, finished_at = NULL, updated_at = now()`

	cancelRequest = `UPDATE mass_requests SET ` + setCancelled + ` WHERE id = $1 RETURNING ` + requestColumns
	replayRequest = `
        UPDATE mass_requests SET batch_id = nextval('mass_batches'), ` + setReplayed + `
        WHERE id = $1 RETURNING ` + requestColumns
)

// MoveRequest gives a request the status `to` on behalf of a person: the table
// of transitions allows a cancellation and a replay. It returns the request as
// it is afterwards. A replayed request is in a new batch, which the caller
// enqueues.
//
// The error is ErrNotFound, or ErrConflict together with a
// *jobs.TransitionError.
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
		return jobs.Request{}, wrap(act, notFound(NounRequest, err))
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
	err = writeEvent(ctx, tx, newEvent{
		Request: id, Batch: row.BatchID, Attempt: row.Attempt, Action: string(action), From: from, To: string(to), Origin: by,
	})
	if err != nil {
		return jobs.Request{}, wrap(act, err)
	}
	if err := tx.Commit(); err != nil {
		return jobs.Request{}, wrap(act, err)
	}
	return row.request(), nil
}
