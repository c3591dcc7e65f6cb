package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/leomutto/pilot-in-a-box/internal/access"
	"github.com/leomutto/pilot-in-a-box/internal/trail"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/store"
)

const (
	formatJSON  = "json"
	auditStep   = 1000 // events that a stream holds in memory at once
	exportBegun = "export"
	exportEnded = "export_end"
)

type auditInput struct {
	Connection
	MassRequestID int64   `query:"mass_request_id" minimum:"1" doc:"Only events of this MassRequest" example:"42"`
	Actor         string  `query:"actor" maxLength:"200" doc:"Only events caused by this actor" example:"user:12"`
	Action        string  `query:"action" maxLength:"100" doc:"Only events with this action" example:"cancel"`
	HTTPRequestID string  `query:"http_request_id" maxLength:"128" doc:"Only events caused by this HTTP request" example:"WRXY3FPYOUJZ4L6W2PPXG53QCV"`
	From          instant `query:"from" format:"date-time" doc:"Only events at this time or later (RFC 3339)" example:"2026-03-01T00:00:00Z"`
	To            instant `query:"to" format:"date-time" doc:"Only events before this time (RFC 3339)" example:"2026-03-02T00:00:00Z"`
	Format        string  `query:"format" enum:"json,csv,ndjson" doc:"Format of the response, which overrides Accept; csv and ndjson are not paged" example:"json"`
	Limit         int     `query:"limit" minimum:"1" maximum:"500" default:"100" doc:"Maximum number of events on a page" example:"100"`
	Cursor        string  `query:"cursor" maxLength:"64" doc:"Where the page starts; copy it from the previous page's next" example:"AgAAAAAAAAQR"`
}

// AuditPage is one page of the trail.
type AuditPage struct {
	Items []trail.AuditEvent `json:"items" nullable:"false" doc:"Newest first"`
	Next  *string            `json:"next" doc:"Path and query of the next page; null on the last one" example:"/audit?cursor=AgAAAAAAAAQR&limit=100"`
}

func (s *Server) audit(ctx context.Context, in *auditInput) (*huma.StreamResponse, error) {
	in.writer.Header().Set("Vary", "Accept")
	filter, before, err := in.filter()
	if err != nil {
		return nil, err
	}
	format, err := in.format()
	if err != nil {
		return nil, err
	}
	if format != formatJSON {
		return s.exportAudit(ctx, in, filter, format)
	}
	page, err := s.auditPage(ctx, in, filter, before)
	if err != nil {
		return nil, err
	}
	return in.answerJSON(page)
}

// auditPage searches the trail until the page is full, the trail ends, or half
// of AnswerTimeout has passed.
func (s *Server) auditPage(ctx context.Context, in *auditInput, filter store.AuditFilter, before int64) (AuditPage, error) {
	page, begun := AuditPage{Items: []trail.AuditEvent{}}, time.Now()
	rest, err := s.auditSpan(ctx, filter)
	if err != nil {
		return page, err
	}
	if before > 0 {
		rest.High = min(rest.High, before-1)
	}
	for !rest.Empty() && time.Since(begun) < s.cfg.AnswerTimeout/2 {
		var found []store.AuditEvent
		room := in.Limit - len(page.Items)
		if found, rest, err = s.walkAudit(ctx, filter, rest, true, room+1); err != nil { // one extra row shows whether there is a next page
			return page, err
		}
		full := len(found) > room
		if full {
			found = found[:room]
		}
		for i := range found {
			page.Items = append(page.Items, trail.Of(&found[i]))
		}
		if full {
			next := in.next(page.Items[len(page.Items)-1].ID)
			page.Next = &next
			return page, nil
		}
	}
	if !rest.Empty() {
		next := in.next(rest.High + 1)
		page.Next = &next
	}
	return page, nil
}

func (s *Server) auditSpan(ctx context.Context, f store.AuditFilter) (store.Span, error) {
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	return s.store.AuditSpan(within, f)
}

func (s *Server) walkAudit(ctx context.Context, f store.AuditFilter, span store.Span, newestFirst bool, limit int) ([]store.AuditEvent, store.Span, error) {
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	return s.store.WalkAudit(within, f, span, newestFirst, limit)
}

// exportAudit streams all events that match the filter. It records the caller
// of the export in the trail before it sends the first event.
func (s *Server) exportAudit(ctx context.Context, in *auditInput, filter store.AuditFilter, format string) (*huma.StreamResponse, error) {
	span, err := s.auditSpan(ctx, filter)
	if err != nil {
		return nil, err
	}
	header := in.writer.Header()
	header.Set("Content-Type", trail.MediaType(format))
	header.Set("Content-Disposition", `attachment; filename="audit.`+format+`"`)
	return s.streamExport(ctx, &in.Connection, "events", format+" "+in.described(), func() (int, error) {
		return s.streamAudit(ctx, in, filter, span, format)
	})
}

// streamExport answers with what stream writes, whose headers must be set. It
// records in the trail what is exported before the first byte, and how it ended
// behind the last. stream returns how many of the things it wrote; its error
// breaks the connection.
func (s *Server) streamExport(ctx context.Context, c *Connection, things, what string, stream func() (int, error)) (*huma.StreamResponse, error) {
	if c.request.Method == http.MethodHead {
		return &huma.StreamResponse{Body: func(huma.Context) { c.writer.WriteHeader(http.StatusOK) }}, nil
	}
	if err := s.recordExport(ctx, exportBegun, what); err != nil {
		c.writer.Header().Del("Content-Disposition")
		return nil, err
	}
	return &huma.StreamResponse{Body: func(huma.Context) {
		c.writer.WriteHeader(http.StatusOK)
		count, err := stream()
		outcome := "complete"
		if err != nil {
			outcome = "cut off"
		}
		if rerr := s.recordExport(context.WithoutCancel(ctx), exportEnded, fmt.Sprintf("%d %s, %s: %s", count, things, outcome, what)); rerr != nil {
			s.log.Warn("the end of an export is not recorded in the trail", "error", rerr, "rows", count, "outcome", outcome)
		}
		if err != nil {
			web.ExchangeOf(ctx).Err = err
			panic(http.ErrAbortHandler) // a partial export must not look complete
		}
	}}, nil
}

func (s *Server) recordExport(ctx context.Context, action, detail string) error {
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	err := s.store.RecordExport(within, access.Origin(within), action, detail)
	return err
}

// streamAudit reads and writes the events in steps of auditStep. The client has
// WriteTimeout to receive each step.
func (s *Server) streamAudit(ctx context.Context, in *auditInput, filter store.AuditFilter, rest store.Span, format string) (count int, err error) {
	out := trail.NewWriter(in.writer, format)
	flush := func() error {
		web.Outlast(in.writer, s.cfg.WriteTimeout)
		if err := out.Flush(); err != nil {
			return err
		}
		return s.passOn(&in.Connection)
	}
	for !rest.Empty() {
		var found []store.AuditEvent
		if found, rest, err = s.walkAudit(ctx, filter, rest, false, auditStep); err != nil {
			return count, err
		}
		count += len(found)
		if err = out.Write(found); err == nil {
			err = flush()
		}
		if err != nil {
			return count, err
		}
	}
	return count, flush()
}

// passOn sends what an export has written so far. The client then has
// WriteTimeout to receive the next step, once that has been read. Its error ends
// the export.
func (s *Server) passOn(c *Connection) error {
	if err := http.NewResponseController(c.writer).Flush(); err != nil {
		return err
	}
	select {
	case <-s.waiting.Closed():
		return errors.New("the server shuts down")
	default:
	}
	web.Outlast(c.writer, s.cfg.AnswerTimeout+s.cfg.WriteTimeout)
	return nil
}

// filter returns the filter of the query. The page starts below the event id
// before; 0 means that it starts at the newest event.
func (in *auditInput) filter() (f store.AuditFilter, before int64, err error) {
	f = store.AuditFilter{
		RequestID: in.MassRequestID, Actor: in.Actor, Action: in.Action, HTTPRequestID: in.HTTPRequestID, From: in.From.Time, Before: in.To.Time,
	}
	if !f.Before.IsZero() && !f.From.Before(f.Before) {
		return f, 0, web.InvalidParameter("from", "must be before to")
	}
	if in.Cursor != "" {
		if before, err = web.ParseIDCursor(in.Cursor); err != nil {
			return f, 0, web.InvalidParameter("cursor", err.Error())
		}
	}
	return f, before, nil
}

// format returns the format that the query parameter names, or else the one
// that Accept prefers.
func (in *auditInput) format() (string, error) {
	if in.Format != "" {
		return in.Format, nil
	}
	return acceptedFormat(in.request.Header.Values("Accept"))
}

func acceptedFormat(accept []string) (string, error) {
	media, ok := web.Negotiate(accept, web.MediaJSON, web.MediaCSV, web.MediaNDJSON)
	if !ok {
		return "", web.NotAcceptable(web.MediaJSON, web.MediaCSV, web.MediaNDJSON)
	}
	return map[string]string{web.MediaJSON: formatJSON, web.MediaCSV: trail.CSV, web.MediaNDJSON: trail.NDJSON}[media], nil
}

// query returns the filters as URL query parameters.
func (in *auditInput) query() url.Values {
	q := url.Values{}
	set := func(name, value string) {
		if value != "" {
			q.Set(name, value)
		}
	}
	if in.MassRequestID != 0 {
		q.Set("mass_request_id", strconv.FormatInt(in.MassRequestID, 10))
	}
	set("actor", in.Actor)
	set("action", in.Action)
	set("http_request_id", in.HTTPRequestID)
	for name, at := range map[string]instant{"from": in.From, "to": in.To} {
		if !at.IsZero() {
			q.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	return q
}

// described returns the filters in the form in which the trail records them.
func (in *auditInput) described() string {
	if q := in.query(); len(q) > 0 {
		return q.Encode()
	}
	return "all"
}

// next returns the path and query of the page of events older than the given
// id.
func (in *auditInput) next(before int64) string {
	q := in.query()
	q.Set("limit", strconv.Itoa(in.Limit))
	q.Set("cursor", web.IDCursor(before))
	if in.Format != "" {
		q.Set("format", in.Format)
	}
	return pathAudit + "?" + q.Encode()
}
