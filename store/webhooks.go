package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/lib/pq"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// A trigger (webhook_deliveries_add) creates a delivery in the statement that
// ends a request. The methods of this file do everything that follows.

const deliveryColumns = `id, message_id, request_id, url, event, data, status, attempts, failures, last_status, last_error,
    created_at, next_at, delivered_at`

type deliveryRow struct {
	ID          int64          `db:"id"`
	MessageID   string         `db:"message_id"`
	RequestID   int64          `db:"request_id"`
	URL         string         `db:"url"`
	Event       string         `db:"event"`
	Data        []byte         `db:"data"`
	Status      string         `db:"status"`
	Attempts    int            `db:"attempts"`
	Failures    int            `db:"failures"`
	LastStatus  sql.NullInt32  `db:"last_status"`
	LastError   sql.NullString `db:"last_error"`
	CreatedAt   time.Time      `db:"created_at"`
	NextAt      time.Time      `db:"next_at"`
	DeliveredAt sql.NullTime   `db:"delivered_at"`
}

func (r *deliveryRow) delivery() jobs.Delivery {
	return jobs.Delivery{
		ID: r.ID, MessageID: r.MessageID, RequestID: r.RequestID, URL: r.URL, Event: r.Event, Data: r.Data,
		Status: jobs.DeliveryStatus(r.Status), Attempts: r.Attempts, Failures: r.Failures,
		LastStatus: int(r.LastStatus.Int32), LastError: r.LastError.String,
		CreatedAt: r.CreatedAt.UTC(), NextAt: r.NextAt.UTC(), DeliveredAt: utc(r.DeliveredAt),
	}
}

// NewDeliveries returns the first attempts at those deliveries of the requests
// that no worker has begun yet, to be enqueued.
func (s *Store) NewDeliveries(ctx context.Context, requests []int64) ([]jobs.DeliveryRef, error) {
	var list []jobs.DeliveryRef
	err := s.db.SelectContext(ctx, &list, `
        SELECT id FROM webhook_deliveries WHERE request_id = ANY ($1) AND status = 'pending' AND attempts = 0`, pq.Int64Array(requests))
	return list, wrap("look up new deliveries", err)
}

// DeliveryURL returns the URL to which the attempt that ref names would be
// sent. ErrNotFound means the same as in ClaimDelivery.
func (s *Store) DeliveryURL(ctx context.Context, ref jobs.DeliveryRef) (string, error) {
	var url string
	err := s.db.GetContext(ctx, &url,
		`SELECT url FROM webhook_deliveries WHERE id = $1 AND attempts = $2 AND status = 'pending'`, ref.ID, ref.Attempts)
	return url, wrap(fmt.Sprintf("look at delivery %d", ref.ID), notFound(NounDelivery, err))
}

// ClaimDelivery begins the attempt that ref names, and returns the delivery
// with its number of attempts increased by one. An attempt whose outcome is not
// written within lease counts as lost. ErrNotFound means that the attempt was
// begun before, or that there is nothing to deliver.
func (s *Store) ClaimDelivery(ctx context.Context, ref jobs.DeliveryRef, lease time.Duration) (jobs.Delivery, error) {
	var row deliveryRow
	err := s.db.GetContext(ctx, &row, `
        UPDATE webhook_deliveries
        SET attempts = attempts + 1, trying = true, next_at = now() + make_interval(secs => $3)
        WHERE id = $1 AND attempts = $2 AND status = 'pending'
        RETURNING `+deliveryColumns, ref.ID, ref.Attempts, lease.Seconds())
	if err != nil {
		return jobs.Delivery{}, wrap(fmt.Sprintf("claim delivery %d", ref.ID), notFound(NounDelivery, err))
	}
	return row.delivery(), nil
}

// SettleDelivery writes the outcome of an attempt, and returns the next
// attempt, whose ID is 0 when there is none. ErrConflict means that the attempt
// meanwhile counted as lost, that its outcome was written before, or that the
// request is gone. Nothing was written in these cases.
//
// SettleDelivery locks the request before it draws an event's id, as every
// statement does that writes an event of a request: the ids of a request's
// events therefore grow in the order of their commits.
func (s *Store) SettleDelivery(ctx context.Context, worker int64, o jobs.DeliveryOutcome) (jobs.DeliveryRef, error) {
	act := fmt.Sprintf("settle delivery %d", o.ID)
	var action jobs.Action
	switch o.Status {
	case jobs.DeliveryDelivered:
		action = jobs.CallbackDelivered
	case jobs.DeliveryDead:
		action = jobs.CallbackDead
	}
	var rows []struct {
		Status string    `db:"status"`
		NextAt time.Time `db:"next_at"`
	}
	err := s.db.SelectContext(ctx, &rows, `
        WITH request AS MATERIALIZED (
            SELECT r.id, r.batch_id, r.attempt FROM mass_requests r
            WHERE r.id = (SELECT request_id FROM webhook_deliveries WHERE id = $1) AND $3 <> 'pending'
            FOR UPDATE
        ), settled AS (
            UPDATE webhook_deliveries d
            SET status = $3, trying = false, failures = failures + CASE WHEN $3 = 'delivered' THEN 0 ELSE 1 END,
                next_at = now() + make_interval(secs => $4), last_status = nullif($5::int, 0), last_error = nullif($6::text, ''),
                delivered_at = CASE WHEN $3 = 'delivered' THEN now() END
            WHERE id = $1 AND attempts = $2 AND status = 'pending' AND trying
              AND ($3 = 'pending' OR EXISTS (SELECT FROM request))
            RETURNING d.status, d.next_at, d.attempts, d.event
        ), trail AS (
            INSERT INTO audit_events (request_id, batch_id, attempt, action, actor, detail)
            SELECT request.id, request.batch_id, request.attempt, $8::text, 'worker:' || $7::bigint,
                   format('%s, try %s', event, attempts) || coalesce(': ' || nullif($6::text, ''), '')
            FROM request, settled
        )
        SELECT status, next_at FROM settled`,
		o.ID, o.Attempts, string(o.Status), o.Delay.Seconds(), o.HTTPStatus, o.Error, worker, string(action))
	switch {
	case err != nil:
		return jobs.DeliveryRef{}, wrap(act, err)
	case len(rows) == 0:
		return jobs.DeliveryRef{}, wrap(act, &ConflictError{Noun: NounDelivery, Reason: "it is not the try under way"})
	case rows[0].Status != string(jobs.DeliveryPending):
		return jobs.DeliveryRef{}, nil
	}
	return jobs.DeliveryRef{ID: o.ID, Attempts: o.Attempts, At: rows[0].NextAt.UTC()}, nil
}

// DueDelivery is an attempt that is due, and its position in the walk over all
// due attempts.
type DueDelivery struct {
	jobs.DeliveryRef
	DueAt time.Time
}

// DueDeliveries walks the attempts that have been due for longer than grace: up
// to limit of them, after the given position, in order. Postgres' clock
// decides.
func (s *Store) DueDeliveries(ctx context.Context, behind DueDelivery, grace time.Duration, limit int) ([]DueDelivery, error) {
	var rows []deliveryRow
	err := s.db.SelectContext(ctx, &rows, `
        SELECT id, attempts, next_at FROM webhook_deliveries
        WHERE status = 'pending' AND next_at <= now() - make_interval(secs => $1) AND (next_at, id) > ($2, $3)
        ORDER BY next_at, id LIMIT $4`, grace.Seconds(), behind.DueAt, behind.ID, limit)
	if err != nil {
		return nil, wrap("walk due deliveries", err)
	}
	list := make([]DueDelivery, len(rows))
	for i, r := range rows {
		list[i] = DueDelivery{jobs.DeliveryRef{ID: r.ID, Attempts: r.Attempts}, r.NextAt.UTC()}
	}
	return list, nil
}

// Deliveries returns the deliveries of a request, newest first, up to limit.
func (s *Store) Deliveries(ctx context.Context, request int64, limit int) ([]jobs.Delivery, error) {
	var rows []deliveryRow
	err := s.db.SelectContext(ctx, &rows,
		`SELECT `+deliveryColumns+` FROM webhook_deliveries WHERE request_id = $1 ORDER BY id DESC LIMIT $2`, request, limit)
	if err != nil {
		return nil, wrap(fmt.Sprintf("read the deliveries of request %d", request), err)
	}
	list := make([]jobs.Delivery, len(rows))
	for i := range rows {
		list[i] = rows[i].delivery()
	}
	return list, nil
}

// ReplayDelivery makes the latest delivery of a request pending again, due at
// once and with all its attempts; the message stays the same. ErrNotFound means
// that there is no such request. ErrConflict means that the request has no
// delivery, or that its latest delivery is pending.
func (s *Store) ReplayDelivery(ctx context.Context, request int64, by Origin) (jobs.DeliveryRef, error) {
	act := fmt.Sprintf("replay the callback of request %d", request)
	tx, err := s.db.BeginTxx(ctx, nil)
	if err != nil {
		return jobs.DeliveryRef{}, wrap(act, err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it is a no-op, before it the error is known already

	var owner struct {
		BatchID int64 `db:"batch_id"`
		Attempt int   `db:"attempt"`
	}
	if err := tx.GetContext(ctx, &owner, `SELECT batch_id, attempt FROM mass_requests WHERE id = $1 FOR UPDATE`, request); err != nil {
		return jobs.DeliveryRef{}, wrap(act, notFound(NounRequest, err))
	}
	var rows []deliveryRow
	err = tx.SelectContext(ctx, &rows, `
        UPDATE webhook_deliveries
        SET status = 'pending', failures = 0, next_at = now(), delivered_at = NULL
        WHERE id = (SELECT max(id) FROM webhook_deliveries WHERE request_id = $1) AND status <> 'pending'
        RETURNING id, attempts, event`, request)
	if err != nil {
		return jobs.DeliveryRef{}, wrap(act, err)
	}
	if len(rows) == 0 {
		return jobs.DeliveryRef{}, wrap(act, &ConflictError{Noun: NounCallback, Reason: "the request has no callback that has ended"})
	}
	err = writeEvent(ctx, tx, newEvent{
		Request: request, Batch: owner.BatchID, Attempt: owner.Attempt, Action: string(jobs.CallbackReplay), Detail: rows[0].Event, Origin: by,
	})
	if err != nil {
		return jobs.DeliveryRef{}, wrap(act, err)
	}
	if err := tx.Commit(); err != nil {
		return jobs.DeliveryRef{}, wrap(act, err)
	}
	return jobs.DeliveryRef{ID: rows[0].ID, Attempts: rows[0].Attempts}, nil
}
