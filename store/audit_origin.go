package store

import (
	"database/sql"
	"encoding/hex"
)

// Origin says who did something and from where, as the trail keeps it. Only
// Actor must be set.
type Origin struct {
	Actor     string // "user:12", "key:7", "worker:3", "reconciler"
	RequestID string // of the HTTP request
	Client    string // address it came from
	TraceID   string // W3C, 32 hexadecimal digits
	SpanID    string // W3C, 16 hexadecimal digits
}

// originColumns are the columns of the trail that columns fills.
const originColumns = `actor, http_request_id, client, trace_id, span_id`

func (o Origin) columns() []any {
	null := func(text string) sql.NullString { return sql.NullString{String: text, Valid: text != ""} }
	return []any{o.Actor, null(o.RequestID), null(o.Client), unhex(o.TraceID), unhex(o.SpanID)}
}

// unhex is nil for what is not hexadecimal, and for nothing.
func unhex(text string) []byte {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) == 0 {
		return nil
	}
	return raw
}
