package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// AuditEvent is one row of the trail with everything known about it.
type AuditEvent struct {
	Event
	HTTPRequestID  string `db:"http_request_id"`
	Client         string `db:"client"`
	SchemaVersion  string `db:"schema_version"`
	BioCoreVersion string `db:"biocore_version"`
	InputDigest    []byte `db:"input_digest"`
	OutputDigest   []byte `db:"output_digest"`
	TraceID        []byte `db:"trace_id"`
	SpanID         []byte `db:"span_id"`

	SourceID int64  `db:"source_id"`    // the process that wrote it; 0: unknown
	Process  string `db:"process"`      // its kind
	Version  string `db:"version"`      // of its build
	Commit   string `db:"build_commit"` // of its build
}

const auditColumns = `e.id, e.at, coalesce(e.request_id, 0) AS request_id, coalesce(e.batch_id, 0) AS batch_id,
    coalesce(e.attempt, 0) AS attempt, e.action, e.actor, coalesce(e.from_status, '') AS from_status,
    coalesce(e.to_status, '') AS to_status, coalesce(e.detail, '') AS detail,
    coalesce(e.http_request_id, '') AS http_request_id, coalesce(e.client, '') AS client,
    coalesce(e.schema_version, '') AS schema_version, coalesce(e.biocore_version, '') AS biocore_version,
    e.input_digest, e.output_digest, e.trace_id, e.span_id, coalesce(e.source_id, 0) AS source_id,
    coalesce(s.kind, '') AS process, coalesce(s.version, '') AS version, coalesce(s.build_commit, '') AS build_commit`

// AuditFilter restricts which events of the trail are read. An event must
// satisfy all parts of the filter.
type AuditFilter struct {
	RequestID     int64 // of a MassRequest; 0: any
	Actor         string
	Action        string
	HTTPRequestID string
	From, Before  time.Time
}

// conditions returns the conditions of the filter and appends its parameters to
// args.
func (f *AuditFilter) conditions(args []any) ([]string, []any) {
	var where []string
	add := func(condition string, value any) {
		args = append(args, value)
		where = append(where, fmt.Sprintf(condition, len(args)))
	}
	if f.RequestID != 0 {
		add(`e.request_id = $%d`, f.RequestID)
	}
	if f.Actor != "" {
		add(`e.actor = $%d`, f.Actor)
	}
	if f.Action != "" {
		add(`e.action = $%d`, f.Action)
	}
	if f.HTTPRequestID != "" {
		add(`e.http_request_id = $%d`, f.HTTPRequestID)
	}
	if !f.From.IsZero() {
		add(`e.at >= $%d`, f.From)
	}
	if !f.Before.IsZero() {
		add(`e.at < $%d`, f.Before)
	}
	return where, args
}

// Span is a range of event ids that includes both ends.
type Span struct{ Low, High int64 }

// Empty reports whether no id is in the range.
func (s Span) Empty() bool { return s.Low > s.High }

// AuditWindow is how many events one statement walks at most, whatever the
// filter is. The trail has indexes for its ids and for its requests only,
// because a request writes about three events, and each would have to be added
// to every further index.
const AuditWindow = 50_000

// auditSkew is by how much the order of the ids may differ from the order of
// the times. Both are taken when the row is made, so this allows for a clock
// that was set back.
const auditSkew = time.Minute

// AuditSpan returns a range of ids that contains all events of the filter.
func (s *Store) AuditSpan(ctx context.Context, f AuditFilter) (Span, error) {
	const act = "look for the ends of the trail"
	var low, high *int64
	err := s.db.QueryRowContext(ctx, `SELECT min(id), max(id) FROM audit_events`).Scan(&low, &high)
	if err != nil || low == nil {
		return Span{Low: 1}, wrap(act, err)
	}
	span := Span{*low, *high}
	if f.From.IsZero() && f.Before.IsZero() {
		return span, nil
	}
	probe, err := s.db.PrepareContext(ctx, `SELECT id, at FROM audit_events WHERE id >= $1 ORDER BY id LIMIT 1`)
	if err != nil {
		return Span{}, wrap(act, err)
	}
	defer probe.Close()
	all := span
	if !f.From.IsZero() {
		span.Low, err = firstSince(ctx, probe, all, f.From.Add(-auditSkew))
	}
	if !f.Before.IsZero() && err == nil {
		span.High, err = firstSince(ctx, probe, all, f.Before.Add(auditSkew))
	}
	return span, wrap(act, err)
}

// firstSince finds the id of the first event at or after t by binary search, or
// the id after the span when there is none.
func firstSince(ctx context.Context, probe *sql.Stmt, span Span, t time.Time) (int64, error) {
	low, high := span.Low, span.High+1
	for low < high {
		var id int64
		var at time.Time
		middle := low + (high-low)/2
		err := probe.QueryRowContext(ctx, middle).Scan(&id, &at)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			high = middle
		case err != nil:
			return 0, err
		case at.Before(t):
			low = id + 1
		default:
			high = middle
		}
	}
	return low, nil
}

// WalkAudit reads the next events of the filter within the span, up to limit,
// from its old or its new end, in one bounded statement. It returns the rest of
// the span: until the rest is empty there may be more events, even when this
// call found none.
func (s *Store) WalkAudit(ctx context.Context, f AuditFilter, span Span, newestFirst bool, limit int) ([]AuditEvent, Span, error) {
	window, rest := span, Span{Low: 1}
	if f.RequestID == 0 { // a request's events have an index
		var err error
		if window, rest, err = s.auditWindow(ctx, span, newestFirst); err != nil {
			return nil, span, err
		}
	}
	where, args := f.conditions([]any{window.Low, window.High})
	where = append([]string{`e.id >= $1`, `e.id <= $2`}, where...)
	order := `ASC`
	if newestFirst {
		order = `DESC`
	}
	var found []AuditEvent
	err := s.db.SelectContext(ctx, &found, `
        SELECT `+auditColumns+` FROM audit_events e LEFT JOIN audit_sources s ON s.id = e.source_id
        WHERE `+strings.Join(where, ` AND `)+` ORDER BY e.id `+order+fmt.Sprintf(` LIMIT %d`, limit), args...)
	if err != nil {
		return nil, span, wrap("read the trail", err)
	}
	if len(found) == limit && limit > 0 {
		rest = span
		if last := found[limit-1].ID; newestFirst {
			rest.High = last - 1
		} else {
			rest.Low = last + 1
		}
	}
	return found, rest, nil
}

// auditWindow cuts what one statement walks from an end of the span. It counts
// events and not ids, whose gaps may be of any size.
func (s *Store) auditWindow(ctx context.Context, span Span, newestFirst bool) (window, rest Span, err error) {
	window, rest = span, Span{Low: 1}
	if span.High-span.Low < AuditWindow {
		return window, rest, nil
	}
	order := `ASC`
	if newestFirst {
		order = `DESC`
	}
	var edge []int64
	err = s.db.SelectContext(ctx, &edge, `
        SELECT id FROM audit_events WHERE id >= $1 AND id <= $2 ORDER BY id `+order+` LIMIT 1 OFFSET $3`, span.Low, span.High, AuditWindow-1)
	switch {
	case err != nil || len(edge) == 0:
	case newestFirst:
		window.Low, rest = edge[0], Span{span.Low, edge[0] - 1}
	default:
		window.High, rest = edge[0], Span{edge[0] + 1, span.High}
	}
	return window, rest, wrap("look for a part of the trail", err)
}

// RecordExport writes an event that says that a part of the trail was exported.
func (s *Store) RecordExport(ctx context.Context, o Origin, action, detail string) error {
	return wrap("record an export of the trail", appendEvent(ctx, s.db, o, action, detail))
}
