package store

import (
	"context"
	"fmt"
	"time"
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

// Events lists what happened to a request, oldest first, up to limit events
// behind the one with id after. A request that never was has none.
func (s *Store) Events(ctx context.Context, request, after int64, limit int) ([]Event, error) {
	var list []Event
	err := s.db.SelectContext(ctx, &list, `
        SELECT id, at, request_id, coalesce(batch_id, 0) AS batch_id, coalesce(attempt, 0) AS attempt, action, actor,
               coalesce(from_status, '') AS from_status, coalesce(to_status, '') AS to_status, coalesce(detail, '') AS detail
        FROM audit_events WHERE request_id = $1 AND id > $2 ORDER BY id LIMIT $3`, request, after, limit)
	return list, fault(fmt.Sprintf("read the events of request %d", request), err)
}
