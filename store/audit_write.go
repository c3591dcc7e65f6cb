package store

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// Origin says who did something and from where, as the trail records it. Only
// Actor must be set.
type Origin struct {
	Actor     string // "user:12", "key:7", "worker:3", "reconciler"
	RequestID string // of the HTTP request
	Client    string // address it came from
	TraceID   string // W3C, 32 hexadecimal digits
	SpanID    string // W3C, 16 hexadecimal digits
}

// The columns of an event, for statements that write events about the rows that
// they change.
const (
	transitionColumns = `request_id, batch_id, attempt, action, actor, from_status, to_status, detail`

	// originColumns and originValues are what an Origin fills.
	originColumns = `actor, http_request_id, client, trace_id, span_id`
	originValues  = `@actor::text, nullif(@http_request_id::text, ''), nullif(@client::text, ''), @trace_id::bytea, @span_id::bytea`
)

// queryValues are the values of originValues, to which a statement adds its
// own.
func (o Origin) queryValues() queryValues {
	return queryValues{
		"actor": o.Actor, "http_request_id": o.RequestID, "client": o.Client,
		"trace_id": decodeHex(o.TraceID), "span_id": decodeHex(o.SpanID),
	}
}

// decodeHex returns nil for a text that is empty or not hexadecimal.
func decodeHex(text string) []byte {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) == 0 {
		return nil
	}
	return raw
}

// maxDetail bounds the detail of an event, in bytes: parts of it may come from
// a client.
const maxDetail = 1000

// execer is a transaction, or the pool where one statement is enough.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// newEvent is an event that is written with a statement of its own.
type newEvent struct {
	Request  int64 // a MassRequest; 0 when the event concerns none
	Batch    int64
	Attempt  int
	Action   string
	From, To string // statuses; "" when the event does not change the status
	Detail   string
	Origin   Origin
}

var insertEventQuery = nameParameters(`
INSERT INTO audit_events (request_id, batch_id, attempt, action, from_status, to_status, detail, ` + originColumns + `)
SELECT r.id, CASE WHEN r.id IS NOT NULL THEN @batch::bigint END, CASE WHEN r.id IS NOT NULL THEN @attempt::int END,
       @action::text, nullif(@from::text, ''), nullif(@to::text, ''), nullif(@detail::text, ''), ` + originValues + `
FROM (SELECT nullif(@request::bigint, 0) AS id) r`)

// writeEvent writes an event in the transaction of the act that it records.
func writeEvent(ctx context.Context, tx execer, e newEvent) error {
	values := e.Origin.queryValues()
	values["request"], values["batch"], values["attempt"] = e.Request, e.Batch, e.Attempt
	values["action"], values["from"], values["to"], values["detail"] = e.Action, e.From, e.To, clipDetail(e.Detail)
	_, err := tx.ExecContext(ctx, insertEventQuery.text, insertEventQuery.args(values)...)
	return err
}

// appendEvent writes an event that concerns no request, in the transaction of
// the act. The detail must not contain a secret.
func appendEvent(ctx context.Context, tx execer, by Origin, action, detail string) error {
	return writeEvent(ctx, tx, newEvent{Action: action, Detail: detail, Origin: by})
}

// clipDetail shortens and cleans a text of any origin so that the trail can
// store it.
func clipDetail(text string) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, string(utf8.RuneError)), "\x00", "")
	if len(text) <= maxDetail {
		return text
	}
	return strings.ToValidUTF8(text[:maxDetail], "") + "…"
}

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
