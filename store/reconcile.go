package store

import (
	"context"
	"time"

	"github.com/lib/pq"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// BatchWatermark returns the newest batch id drawn so far. A batch at or below
// a watermark that was read some time ago is at least that old, and only the
// reader's clock is needed to know that.
func (s *Store) BatchWatermark(ctx context.Context) (int64, error) {
	var n int64
	err := s.db.GetContext(ctx, &n, `SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM mass_batches`)
	return n, wrap("read the batch watermark", err)
}

// OpenBatches walks the batches with pending requests: up to limit of them,
// with ids in (after, upTo], in order. Parked requests need no task and do not
// count.
func (s *Store) OpenBatches(ctx context.Context, after, upTo int64, limit int) ([]jobs.BatchRef, error) {
	var rows []struct {
		BatchID  int64  `db:"batch_id"`
		Priority string `db:"priority"`
		Lane     int16  `db:"lane"`
		Due      bool   `db:"due"`
	}
	err := s.db.SelectContext(ctx, &rows, `
        WITH RECURSIVE open_batch AS ( -- a loose index scan: one probe for each batch, however many rows it has
            (SELECT batch_id, priority, lane, run_at, 1 AS n FROM mass_requests
             WHERE `+isReady+` AND batch_id > $1 AND batch_id <= $2 ORDER BY batch_id LIMIT 1)
            UNION ALL
            SELECT r.batch_id, r.priority, r.lane, r.run_at, b.n + 1
            FROM open_batch b, LATERAL (
                SELECT batch_id, priority, lane, run_at FROM mass_requests
                WHERE `+isReady+` AND batch_id > b.batch_id AND batch_id <= $2 ORDER BY batch_id LIMIT 1) r
            WHERE b.n < $3
        )
        SELECT batch_id, priority, lane, run_at <= now() - interval '2 seconds' AS due FROM open_batch ORDER BY batch_id`, after, upTo, limit)
	if err != nil {
		return nil, wrap("walk open batches", err)
	}
	list := make([]jobs.BatchRef, len(rows))
	for i, r := range rows {
		list[i] = jobs.BatchRef{ID: r.BatchID, Priority: jobs.Priority(r.Priority), Lane: jobs.Lane(r.Lane), Due: r.Due}
	}
	return list, nil
}

// LoadBatches returns the batches with their pending requests, to be enqueued.
// It leaves out batches without pending requests.
func (s *Store) LoadBatches(ctx context.Context, ids []int64) ([]jobs.Batch, error) {
	var rows []movedRow
	err := s.db.SelectContext(ctx, &rows, `
        SELECT id, batch_id, priority, lane, `+dueAt+`
        FROM mass_requests WHERE batch_id = ANY ($1) AND `+isReady+` ORDER BY batch_id, id`, pq.Int64Array(ids))
	if err != nil {
		return nil, wrap("load batches", err)
	}
	return batchesOf(rows), nil
}

// PendingBatches returns those of the given batches that still have pending
// requests which are not parked.
func (s *Store) PendingBatches(ctx context.Context, ids []int64) ([]int64, error) {
	var list []int64
	err := s.db.SelectContext(ctx, &list, `
        SELECT b FROM unnest($1::bigint[]) AS b
        WHERE EXISTS (SELECT FROM mass_requests r WHERE r.batch_id = b AND `+isReady+`)`, pq.Int64Array(ids))
	return list, wrap("look up batches", err)
}

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
