package store

import (
	"context"

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
