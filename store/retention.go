package store

import (
	"context"
	"time"

	"github.com/lib/pq"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// retainRequests walks the index of lists from its oldest end, so that
// retention needs no index of its own: a request that has been final for some
// time is at least that old. The statement skips rows that another transaction
// has locked, and rows that a replay made pending between the walk and the
// lock.
//
// The trail gets one event per step, which names the removed requests as ranges
// of ids: one event per request would use up much of the space that was freed.
const retainRequests = `
WITH walked AS MATERIALIZED (
    SELECT id, submitted_at, status, finished_at FROM mass_submissions JOIN mass_requests ON id = request_id
    WHERE (submitted_at, request_id) > ($1, $2) AND submitted_at < now() - make_interval(secs => $3)
    ORDER BY submitted_at, request_id LIMIT $4
), old AS MATERIALIZED (
    SELECT id FROM mass_requests
    WHERE id = ANY (ARRAY(SELECT id FROM walked WHERE status = ANY ($5::text[]) AND finished_at < now() - make_interval(secs => $3)))
      AND status = ANY ($5::text[]) AND finished_at < now() - make_interval(secs => $3)
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM mass_requests r USING old WHERE r.id = old.id RETURNING r.id
), span AS (
    SELECT min(id) AS low, max(id) AS high, count(*) AS n
    FROM (SELECT id, id - row_number() OVER (ORDER BY id) AS island FROM gone) g GROUP BY island
), trail AS (
    INSERT INTO audit_events (action, actor, detail)
    SELECT 'retain', 'reconciler', format('removed %s requests that were final for %s: ', sum(n), make_interval(secs => $3))
           || string_agg(CASE WHEN low = high THEN low::text ELSE low || '-' || high END, ' ' ORDER BY low)
    FROM span HAVING count(*) > 0
)
SELECT (SELECT count(*) FROM walked) AS walked, (SELECT count(*) FROM gone) AS removed, last.submitted_at AS created_at, last.id
FROM (SELECT submitted_at, id FROM walked ORDER BY submitted_at DESC, id DESC LIMIT 1) last`

// Retained says what a step of retention did.
type Retained struct {
	Removed int
	Next    Position // where the next step continues; the zero value when there is nothing more
}

// RetainRequests removes requests that have been final for longer than age. It
// looks at up to step of the rows behind a position, oldest first.
func (s *Store) RetainRequests(ctx context.Context, age time.Duration, behind Position, step int) (Retained, error) {
	var rows []struct {
		Walked  int `db:"walked"`
		Removed int `db:"removed"`
		Position
	}
	err := s.db.SelectContext(ctx, &rows, retainRequests, behind.CreatedAt, behind.ID, age.Seconds(), step, statusArray(jobs.Retain.From()))
	if err != nil || len(rows) == 0 {
		return Retained{}, wrap("remove old requests", err)
	}
	r := Retained{Removed: rows[0].Removed}
	if rows[0].Walked == step {
		r.Next = rows[0].Position
	}
	return r, nil
}

func statusArray(list []jobs.Status) pq.StringArray {
	out := make(pq.StringArray, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}
