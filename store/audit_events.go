package store

import (
	"context"
	"fmt"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// Event is one row of the trail.
type Event struct {
	ID         int64     `db:"id"`
	At         time.Time `db:"at"`
	RequestID  int64     `db:"request_id"`
	BatchID    int64     `db:"batch_id"`
	Attempt    int       `db:"attempt"`
	Action     string    `db:"action"`
	Actor      string    `db:"actor"`
	FromStatus string    `db:"from_status"`
	ToStatus   string    `db:"to_status"`
	Detail     string    `db:"detail"`
}

const eventColumns = `id, at, request_id, coalesce(batch_id, 0) AS batch_id, coalesce(attempt, 0) AS attempt, action, actor,
    coalesce(from_status, '') AS from_status, coalesce(to_status, '') AS to_status, coalesce(detail, '') AS detail`

// Ends reports whether the event left its request in a final state, or deleted
// it. changes is false for an event that does not concern the state.
func (e *Event) Ends() (ends, changes bool) {
	if e.Action == string(jobs.Delete) {
		return true, true
	}
	return jobs.Status(e.ToStatus).Final(), e.ToStatus != ""
}

// Events lists what happened to a request, oldest first, up to limit events
// with ids greater than after. A request that never existed has no events.
func (s *Store) Events(ctx context.Context, request, after int64, limit int) ([]Event, error) {
	var list []Event
	err := s.db.SelectContext(ctx, &list,
		`SELECT `+eventColumns+` FROM audit_events WHERE request_id = $1 AND id > $2 ORDER BY id LIMIT $3`, request, after, limit)
	return list, wrap(fmt.Sprintf("read the events of request %d", request), err)
}

// LastChange returns the event that led to the current state of a request, or
// ErrNotFound when there never was such a request.
func (s *Store) LastChange(ctx context.Context, request int64) (Event, error) {
	var e Event
	err := s.db.GetContext(ctx, &e, `
        SELECT `+eventColumns+` FROM audit_events
        WHERE request_id = $1 AND (to_status IS NOT NULL OR action = $2) ORDER BY id DESC LIMIT 1`, request, string(jobs.Delete))
	return e, wrap(fmt.Sprintf("read the latest event of request %d", request), notFound(NounRequest, err))
}
