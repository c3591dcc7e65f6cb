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

// BulkMove is a person's wish to move many requests.
type BulkMove struct {
	Action    jobs.Action // Cancel or Replay
	From      []jobs.Status
	Filter    Filter  // which, newest first from Filter.After, at most Filter.Limit of them
	Only      []int64 // of these, when not nil
	BatchSize int     // requests a new batch, at most
	Origin    Origin
}

// Moved tells what a step of a BulkMove did.
type Moved struct {
	Matched int          // requests that the filter found in one of the states
	Changed []int64      // those that were moved
	Running []int64      // those of them that a worker was working on
	Busy    []int64      // those that somebody else held at that moment
	Batches []jobs.Batch // of a replay, for the caller to enqueue
	Next    Position     // of the last one found; the zero value when there are no more
}

// MoveRequests moves the next requests of a bulk: one statement, which walks the
// filter as a list does, locks what it found and is still in the state it wants,
// waits for nobody, and writes the trail. What is replayed waits in the crowd lane
// of whoever asked for it.
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
	out.Batches = batches(replayed)
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
	from, args, found := m.found()
	add := func(v any) string {
		args = append(args, v)
		return fmt.Sprintf("$%d", len(args))
	}
	origin := make([]string, 0, 5)
	for i, v := range m.Origin.columns() {
		origin = append(origin, add(v)+[]string{"::text", "::text", "::text", "::bytea", "::bytea"}[i])
	}
	var set, place string
	var to jobs.Status
	switch m.Action {
	case jobs.Cancel:
		to, set = jobs.StatusCancelled, setCancelled
		place = `place AS MATERIALIZED (SELECT id, status AS was FROM held)`
	case jobs.Replay:
		to, set = jobs.StatusPending, `batch_id = p.batch_id, lane = `+add(int(jobs.CrowdLane(m.Origin.Actor)))+`, `+setReplayed
		place = `run AS MATERIALIZED (
        SELECT id, status AS was, priority, (row_number() OVER (PARTITION BY priority ORDER BY id) - 1) / ` + add(m.BatchSize) + `::int AS run
        FROM held
    ), batch AS MATERIALIZED (
        SELECT priority, run, nextval('mass_batches') AS batch_id FROM (SELECT DISTINCT priority, run FROM run ORDER BY priority, run) d
    ), place AS MATERIALIZED (
        SELECT id, was, batch_id FROM run JOIN batch USING (priority, run)
    )`
	default:
		return "", nil, wrap(fmt.Sprintf("%s many requests", m.Action),
			&ConflictError{Noun: NounRequest, Reason: "a person cannot ask for this action"})
	}
	return `
    WITH found AS MATERIALIZED (` + found + `), held AS MATERIALIZED (
        SELECT id, status, priority FROM mass_requests
        WHERE id = ANY (ARRAY(SELECT id FROM found)) AND status = ANY (` + from + `)
        ORDER BY id FOR UPDATE SKIP LOCKED
    ), ` + place + `, moved AS (
        UPDATE mass_requests r SET ` + set + `
        FROM place p WHERE r.id = p.id
        RETURNING r.id, r.batch_id, r.attempt, r.priority, r.lane, p.was
    ), trail AS (
        INSERT INTO audit_events (request_id, batch_id, attempt, action, from_status, to_status, detail, ` + originColumns + `)
        SELECT id, batch_id, attempt, ` + add(string(m.Action)) + `::text, was, ` + add(string(to)) + `::text, 'bulk', ` + strings.Join(origin, ", ") + `
        FROM moved ORDER BY id
    )
    SELECT f.created_at, f.id, m.was, coalesce(m.batch_id, 0) AS batch_id, coalesce(m.priority, '') AS priority,
           coalesce(m.lane, 0) AS lane
    FROM found f LEFT JOIN moved m USING (id) ORDER BY f.created_at DESC, f.id DESC`, args, nil
}

// found is the part of the statement that walks the filter; from is the number
// of the parameter that holds the states.
func (m *BulkMove) found() (from string, args []any, query string) {
	by, implied := bySubmission, "" // what follows from the states is said for the partial indexes
	switch {
	case m.Action == jobs.Cancel:
		implied = open
	case !slices.Contains(m.From, jobs.StatusDone):
		by, implied = byBadEnd, endedBadly
	}
	where, args := m.Filter.conditions(by)
	args = append(args, states(m.From))
	from = fmt.Sprintf("$%d::text[]", len(args))
	where = append(where, `status = ANY (`+from+`)`)
	if implied != "" {
		where = append(where, implied)
	}
	if m.Only != nil {
		args = append(args, pq.Int64Array(m.Only))
		where = append(where, fmt.Sprintf(`id = ANY ($%d::bigint[])`, len(args)))
	}
	args = append(args, m.Filter.Limit)
	query = `SELECT ` + by.id + ` AS id, ` + by.createdAt + ` AS created_at FROM ` + by.from + ` WHERE ` + strings.Join(where, ` AND `) +
		by.newestFirst(len(args))
	return from, args, query
}

// CountMoves tells how many requests a BulkMove would find, and where the last
// of them stands; it moves none.
func (s *Store) CountMoves(ctx context.Context, m BulkMove) (Moved, error) {
	_, args, found := m.found()
	var row struct {
		N         int        `db:"n"`
		ID        *int64     `db:"id"`
		CreatedAt *time.Time `db:"created_at"`
	}
	err := s.db.GetContext(ctx, &row, `
        WITH found AS MATERIALIZED (`+found+`), last AS (SELECT id, created_at FROM found ORDER BY created_at, id LIMIT 1)
        SELECT (SELECT count(*) FROM found) AS n, (SELECT id FROM last) AS id, (SELECT created_at FROM last) AS created_at`, args...)
	if err != nil {
		return Moved{}, wrap("count requests to "+string(m.Action), err)
	}
	out := Moved{Matched: row.N}
	if row.N == m.Filter.Limit && row.ID != nil {
		out.Next = Position{CreatedAt: *row.CreatedAt, ID: *row.ID}
	}
	return out, nil
}
