package store

import (
	"context"
	"database/sql"
	"strings"
	"unicode/utf8"
)

// maxDetail bounds what an event says in words, in bytes: parts of it may come from a client.
const maxDetail = 1000

// execer is a transaction, or the pool where one statement is enough.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// appendEvent writes into the trail what somebody did that concerns no request,
// in the transaction of the act. No secret belongs into detail.
func appendEvent(ctx context.Context, tx execer, by Origin, action, detail string) error {
	_, err := tx.ExecContext(ctx, `
        INSERT INTO audit_events (action, actor, detail, http_request_id, client, trace_id, span_id)
        VALUES ($1, $2, nullif($3, ''), nullif($4, ''), nullif($5, ''), nullif($6, ''::bytea), nullif($7, ''::bytea))`,
		action, by.Actor, clip(detail), by.RequestID, by.Client, unhex(by.TraceID), unhex(by.SpanID))
	return err
}

// clip makes text of any origin fit for the trail.
func clip(text string) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, string(utf8.RuneError)), "\x00", "")
	if len(text) <= maxDetail {
		return text
	}
	return strings.ToValidUTF8(text[:maxDetail], "") + "…"
}
