package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"

	"github.com/jmoiron/sqlx"
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

// Leadership is an advisory lock that one process at a time holds. It lasts as
// long as its connection: a process that loses Postgres loses the leadership.
type Leadership struct {
	conn *sqlx.Conn
}

// leaderKey is the advisory lock of the reconciler's leader: "lead" in ASCII.
const leaderKey = 0x6c656164

// leaderPatience is how long a leader may be silent (see Check) before Postgres
// ends its session, and with it the leadership. Otherwise a process that is
// frozen, or cut off by a network that drops everything, would lead forever.
const leaderPatience = "5s"

// TryLead takes the leadership if it is free. The error is ErrConflict when
// another process leads.
func (s *Store) TryLead(ctx context.Context) (*Leadership, error) {
	conn, err := s.db.Connx(ctx)
	if err != nil {
		return nil, wrap("connect to lead", err)
	}
	l := &Leadership{conn: conn}
	var got bool
	if err := conn.GetContext(ctx, &got, `SELECT pg_try_advisory_lock($1)`, leaderKey); err != nil {
		return nil, wrap("try to lead", errors.Join(err, l.end()))
	}
	if !got {
		_ = conn.Close()
		return nil, wrap("try to lead", &ConflictError{Noun: NounLeader, Reason: "another process leads"})
	}
	// Servers before PostgreSQL 14 do not have the setting, and work without
	// it.
	_, err = conn.ExecContext(ctx, `
        SELECT set_config(name, $1, false) FROM pg_settings WHERE name = 'idle_session_timeout'`, leaderPatience)
	if err != nil {
		return nil, wrap("try to lead", errors.Join(err, l.end()))
	}
	return l, nil
}

// Check returns an error when the leadership is lost.
func (l *Leadership) Check(ctx context.Context) error {
	return wrap("check the leadership", l.conn.PingContext(ctx))
}

// Resign gives up the leadership and closes its session.
func (l *Leadership) Resign(ctx context.Context) error {
	_, err := l.conn.ExecContext(ctx, `SELECT pg_advisory_unlock($1)`, leaderKey)
	return wrap("resign the leadership", errors.Join(err, l.end()))
}

// end closes the session, which must not go back to the pool: the session may
// hold the lock, and it has the settings of a leader.
func (l *Leadership) end() error {
	err := l.conn.Raw(func(any) error { return driver.ErrBadConn })
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) {
		return nil
	}
	return errors.Join(err, l.conn.Close())
}
