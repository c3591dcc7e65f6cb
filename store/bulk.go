package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lib/pq"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// BulkMove asks to cancel or to replay many requests on behalf of a person.
type BulkMove struct {
	Action    jobs.Action // Cancel or Replay
	From      []jobs.Status
	Filter    Filter  // newest first, starting after Filter.After, at most Filter.Limit requests
	Only      []int64 // when not nil, only those of the matching requests
	BatchSize int     // requests in one new batch, at most
	Origin    Origin
}

// Moved is what a step of a BulkMove did.
type Moved struct {
	Matched int          // requests that the filter found in one of the states
	Changed []int64      // those that were moved
	Running []int64      // those of the moved requests that a worker was processing
	Busy    []int64      // those that another transaction had locked at that moment
	Batches []jobs.Batch // of a replay, for the caller to enqueue
	Next    Position     // of the last one found; the zero value when there are no more
}

// MoveRequests moves the next requests of a bulk change. It runs one statement,
// which walks the filter as a list does, locks the requests that are still in
// one of the statuses, waits for no lock, and writes the trail. Replayed
// requests wait in the overflow lane of the actor who asked for the replay.
func (s *Store) MoveRequests(ctx context.Context, m BulkMove) (Moved, error) {
	query, args, err := moveQuery(m)
	if err != nil {
		return Moved{}, err
	}
	var rows []struct {
		Position
		Was      *string `db:"was"` // nil: not moved
		BatchID  int64   `db:"batch_id"`
		Priority string  `db:"priority"`
		Lane     int16   `db:"lane"`
	}
	if err := s.db.SelectContext(ctx, &rows, query, args...); err != nil {
		return Moved{}, wrap(string(m.Action)+" many requests", err)
	}
	out := Moved{Matched: len(rows)}
	var replayed []movedRow
	for _, r := range rows {
		if r.Was == nil {
			out.Busy = append(out.Busy, r.ID)
			continue
		}
		out.Changed = append(out.Changed, r.ID)
		if jobs.Status(*r.Was) == jobs.StatusProcessing {
			out.Running = append(out.Running, r.ID)
		}
		if m.Action == jobs.Replay {
			replayed = append(replayed, movedRow{ID: r.ID, BatchID: r.BatchID, Priority: r.Priority, Lane: r.Lane})
		}
	}
	out.Batches = batchesOf(replayed)
	if len(rows) == m.Filter.Limit {
		out.Next = rows[len(rows)-1].Position
	}
	return out, nil
}

// moveQuery is the statement of a bulk with its parameters.
func moveQuery(m BulkMove) (query string, args []any, err error) {
	for _, from := range m.From {
		if !slices.Contains(m.Action.From(), from) {
			return "", nil, wrap(fmt.Sprintf("%s many requests", m.Action),
				&ConflictError{Noun: NounRequest, Reason: "this is not possible for requests that are " + string(from)})
		}
	}
	values := m.Origin.queryValues()
	found := m.found(values)
	var set, planned string
	var to jobs.Status
	switch m.Action {
	case jobs.Cancel:
		to, set = jobs.StatusCancelled, setCancelled
		planned = `planned AS MATERIALIZED (SELECT id, status AS was FROM locked)`
	case jobs.Replay:
		to, set = jobs.StatusPending, `batch_id = p.batch_id, lane = @crowd_lane, `+setReplayed
		values["crowd_lane"], values["batch_size"] = int(jobs.CrowdLane(m.Origin.Actor)), m.BatchSize
		planned = `grouped AS MATERIALIZED (
        SELECT id, status AS was, priority, (row_number() OVER (PARTITION BY priority ORDER BY id) - 1) / @batch_size::int AS part
        FROM locked
    ), new_batch AS MATERIALIZED (
        SELECT priority, part, nextval('mass_batches') AS batch_id
        FROM (SELECT DISTINCT priority, part FROM grouped ORDER BY priority, part) d
    ), planned AS MATERIALIZED (
        SELECT id, was, batch_id FROM grouped JOIN new_batch USING (priority, part)
    )`
	default:
		return "", nil, wrap(fmt.Sprintf("%s many requests", m.Action),
			&ConflictError{Noun: NounRequest, Reason: "a person cannot ask for this action"})
	}
	values["action"], values["to"] = string(m.Action), string(to)
	q := nameParameters(`
    WITH found AS MATERIALIZED (` + found + `), locked AS MATERIALIZED (
        SELECT id, status, priority FROM mass_requests
        WHERE id = ANY (ARRAY(SELECT id FROM found)) AND status = ANY (@from_states::text[])
        ORDER BY id FOR UPDATE SKIP LOCKED
    ), ` + planned + `, moved AS (
        UPDATE mass_requests r SET ` + set + `
        FROM planned p WHERE r.id = p.id
        RETURNING r.id, r.batch_id, r.attempt, r.priority, r.lane, p.was
    ), event AS (
        INSERT INTO audit_events (request_id, batch_id, attempt, action, from_status, to_status, detail, ` + originColumns + `)
        SELECT id, batch_id, attempt, @action::text, was, @to::text, 'bulk', ` + originValues + `
        FROM moved ORDER BY id
    )
    SELECT f.created_at, f.id, m.was, coalesce(m.batch_id, 0) AS batch_id, coalesce(m.priority, '') AS priority,
           coalesce(m.lane, 0) AS lane
    FROM found f LEFT JOIN moved m USING (id) ORDER BY f.created_at DESC, f.id DESC`)
	return q.text, q.args(values), nil
}

// found returns the part of the statement that walks the filter, and adds the
// values of its parameters.
func (m *BulkMove) found(values queryValues) string {
	by, implied := bySubmission, "" // what follows from the states is written out for the partial indexes
	switch {
	case m.Action == jobs.Cancel:
		implied = isOpen
	case !slices.Contains(m.From, jobs.StatusDone):
		by, implied = byBadEnd, isEndedBadly
	}
	where := append(m.Filter.conditions(by, values), `status = ANY (@from_states::text[])`)
	values["from_states"] = statusArray(m.From)
	if implied != "" {
		where = append(where, implied)
	}
	if m.Only != nil {
		where = append(where, `id = ANY (@only::bigint[])`)
		values["only"] = pq.Int64Array(m.Only)
	}
	return `SELECT ` + by.id + ` AS id, ` + by.createdAt + ` AS created_at FROM ` + by.from + ` WHERE ` + strings.Join(where, ` AND `) +
		by.newestFirst()
}

// CountMoves counts the requests that a BulkMove would find, and returns the
// position of the last of them. It moves no request.
func (s *Store) CountMoves(ctx context.Context, m BulkMove) (Moved, error) {
	values := queryValues{}
	q := nameParameters(`
        WITH found AS MATERIALIZED (` + m.found(values) + `), oldest AS (SELECT id, created_at FROM found ORDER BY created_at, id LIMIT 1)
        SELECT (SELECT count(*) FROM found) AS n, (SELECT id FROM oldest) AS id, (SELECT created_at FROM oldest) AS created_at`)
	var row struct {
		N         int        `db:"n"`
		ID        *int64     `db:"id"`
		CreatedAt *time.Time `db:"created_at"`
	}
	err := s.db.GetContext(ctx, &row, q.text, q.args(values)...)
	if err != nil {
		return Moved{}, wrap("count requests to "+string(m.Action), err)
	}
	out := Moved{Matched: row.N}
	if row.N == m.Filter.Limit && row.ID != nil {
		out.Next = Position{CreatedAt: *row.CreatedAt, ID: *row.ID}
	}
	return out, nil
}
