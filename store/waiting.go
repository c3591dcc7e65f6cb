package store

import (
	"context"
	"fmt"

	"github.com/lib/pq"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// The methods of this file answer many waiting clients with one statement.

// RequestsByID returns those of the requests that exist, in no order.
func (s *Store) RequestsByID(ctx context.Context, ids []int64) ([]jobs.Request, error) {
	var rows []requestRow
	err := s.db.SelectContext(ctx, &rows, `SELECT `+requestColumns+` FROM mass_requests WHERE id = ANY ($1)`, pq.Int64Array(ids))
	if err != nil {
		return nil, wrap(fmt.Sprintf("read %d requests", len(ids)), err)
	}
	list := make([]jobs.Request, len(rows))
	for i := range rows {
		list[i] = rows[i].request()
	}
	return list, nil
}

// EndedRequests returns those of the requests that are in a final status, and
// the ids of those that do not exist. As long as none has ended, it runs a
// single statement, which reads only statuses.
func (s *Store) EndedRequests(ctx context.Context, ids []int64) (ended []jobs.Request, gone []int64, err error) {
	var states pq.StringArray
	for _, status := range jobs.Statuses() {
		if status.Final() {
			states = append(states, string(status))
		}
	}
	var rows []struct {
		ID   int64 `db:"id"`
		Gone bool  `db:"gone"`
	}
	err = s.db.SelectContext(ctx, &rows, `
        SELECT w.id, r.id IS NULL AS gone
        FROM unnest($1::bigint[]) AS w(id) LEFT JOIN mass_requests r ON r.id = w.id
        WHERE r.id IS NULL OR r.status = ANY ($2::text[])`, pq.Int64Array(ids), states)
	if err != nil {
		return nil, nil, wrap(fmt.Sprintf("look for the end of %d requests", len(ids)), err)
	}
	var final []int64
	for _, r := range rows {
		if r.Gone {
			gone = append(gone, r.ID)
		} else {
			final = append(final, r.ID)
		}
	}
	if len(final) == 0 {
		return nil, gone, nil
	}
	list, err := s.RequestsByID(ctx, final)
	for _, r := range list {
		if r.Status.Final() { // the request may have been replayed meanwhile
			ended = append(ended, r)
		}
	}
	return ended, gone, err
}

// EventCursor is a position in the history of a request: after the event After.
type EventCursor struct {
	Request int64
	After   int64
}

// EventsBehind returns for each cursor, in the same order, the events after it:
// up to limit of them, oldest first.
//
// The ids of the events that change a request's state grow in the order of its
// commits: every such statement takes the row's lock before it draws an event's
// id. So no change ever gets a smaller id than an event that was already seen.
// The statements that write events of webhooks take no such lock, so an event
// of a webhook may be missed when it commits at the same time as a change.
func (s *Store) EventsBehind(ctx context.Context, cursors []EventCursor, limit int) ([][]Event, error) {
	ids, after := make(pq.Int64Array, len(cursors)), make(pq.Int64Array, len(cursors))
	for i, c := range cursors {
		ids[i], after[i] = c.Request, c.After
	}
	var rows []struct {
		Event
		Place int `db:"place"`
	}
	err := s.db.SelectContext(ctx, &rows, `
        SELECT w.place, e.*
        FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS w(request, after, place)
        CROSS JOIN LATERAL (
            SELECT `+eventColumns+` FROM audit_events WHERE request_id = w.request AND id > w.after ORDER BY id LIMIT $3
        ) e
        ORDER BY w.place, e.id`, ids, after, limit)
	if err != nil {
		return nil, wrap(fmt.Sprintf("read the events of %d requests", len(cursors)), err)
	}
	lists := make([][]Event, len(cursors))
	for _, r := range rows {
		lists[r.Place-1] = append(lists[r.Place-1], r.Event)
	}
	return lists, nil
}
