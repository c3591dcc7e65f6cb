package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/leomutto/pilot-in-a-box/internal/access"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
	"github.com/leomutto/pilot-in-a-box/store"
)

type (
	submitInput struct {
		JSONBody
		IdempotencyKey string `header:"Idempotency-Key" maxLength:"255" pattern:"^[!-~]+$" patternDescription:"printable ASCII without spaces" doc:"Makes the submission safe to repeat: for 24 hours, the same key with the same body gets the first response again, and the same key with another body gets 422" example:"3f0c6e1a-7f0e-4d0e-9a5c-2f6f4d1b8a11"`
	}
	submitOutput struct {
		Location string `header:"Location" doc:"Path of the MassRequest" example:"/mass-requests/42"`
		Replayed string `header:"Idempotency-Replayed" enum:"true" doc:"true when this is the response to an earlier submission with the same key; absent otherwise" example:"true"`
		Body     MassRequest
	}
	requestInput struct {
		ID int64 `path:"id" minimum:"1" doc:"Id of the MassRequest" example:"42"`
	}
	requestOutput struct{ Body MassRequest }
	statusInput   struct {
		JSONBody
		ID int64 `path:"id" minimum:"1" doc:"Id of the MassRequest" example:"42"`
	}
	listInput struct {
		Connection
		Status        jobs.Status `query:"status" doc:"Only MassRequests in this status" example:"done"`
		SiteID        string      `query:"site_id" maxLength:"200" doc:"Only MassRequests of this site" example:"site-1"`
		ClusterID     string      `query:"cluster_id" maxLength:"200" doc:"Only MassRequests of this cluster" example:"gpu-a"`
		CreatedFrom   instant     `query:"created_from" format:"date-time" doc:"Only MassRequests created at this time or later (RFC 3339)" example:"2026-03-01T00:00:00Z"`
		CreatedBefore instant     `query:"created_before" format:"date-time" doc:"Only MassRequests created before this time (RFC 3339)" example:"2026-03-02T00:00:00Z"`
		Limit         int         `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"Maximum number of MassRequests on a page" example:"50"`
		Cursor        string      `query:"cursor" maxLength:"64" doc:"Where the page starts; copy it from the previous page's next" example:"AQAGTEWX1tugAAAAAAAAACo"`
	}
)

func (s *Server) submitRequest(ctx context.Context, in *submitInput) (*submitOutput, error) {
	body, err := in.read(s.cfg.MaxBody)
	if err != nil {
		return nil, err
	}
	r, err := decodeSubmission(body, s.cfg.rules())
	if err != nil {
		return nil, err
	}
	r.CreatedBy, r.Origin = access.CreatedBy(ctx), access.Origin(ctx)
	if in.IdempotencyKey != "" {
		r.IdempotencyKey, r.Digest = in.IdempotencyKey, contentDigest(&r)
	}
	row, err := s.intake.Submit(ctx, r)
	if err != nil {
		return nil, err
	}
	if row.Mismatch {
		return nil, &web.Problem{Status: http.StatusUnprocessableEntity, Code: web.CodeKeyReused, Detail: detailKeyReused}
	}
	out := &submitOutput{Location: pathRequests + strconv.FormatInt(row.ID, 10), Body: viewOfInserted(r, row)}
	if row.Replayed {
		out.Replayed = "true"
	}
	return out, nil
}

func (s *Server) getRequest(ctx context.Context, in *getInput) (*requestOutput, error) {
	if in.Wait.Duration > 0 {
		r, err := s.awaitEnd(ctx, in)
		if err != nil {
			return nil, err
		}
		return &requestOutput{viewOf(&r)}, nil
	}
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	r, err := s.store.Request(within, in.ID)
	if err != nil {
		return nil, err
	}
	return &requestOutput{viewOf(&r)}, nil
}

// listRequests answers one page. The place of the page in memory is given back
// when the client has received the page.
func (s *Server) listRequests(ctx context.Context, in *listInput) (*huma.StreamResponse, error) {
	f, err := in.filter()
	if err != nil {
		return nil, err
	}
	f.Limit = in.Limit
	place, err := s.pages.reserve(ctx)
	if err != nil {
		return nil, err
	}
	page, err := s.requestPage(ctx, in, f)
	if err != nil {
		place.release()
		return nil, err
	}
	place.shrink(page.bytes())
	return &huma.StreamResponse{Body: func(huma.Context) {
		defer place.release()
		in.writer.Header().Set("Content-Type", web.MediaJSON)
		if err := page.write(in.writer); err != nil {
			web.ExchangeOf(ctx).Err = err
			panic(http.ErrAbortHandler) // a part of a page must not look complete
		}
	}}, nil
}

func (s *Server) requestPage(ctx context.Context, in *listInput, f store.Filter) (MassRequestList, error) {
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	found, more, err := s.store.ListRequests(within, f, pageBytes)
	if err != nil {
		return MassRequestList{}, err
	}
	page := MassRequestList{Items: make([]MassRequest, 0, len(found))}
	for i := range found {
		page.Items = append(page.Items, viewOf(&found[i]))
	}
	if more {
		last := &found[len(found)-1]
		next := in.next(store.Position{CreatedAt: last.CreatedAt, ID: last.ID})
		page.Next = &next
	}
	return page, nil
}

func (s *Server) changeStatus(ctx context.Context, in *statusInput) (*requestOutput, error) {
	body, err := in.read(s.cfg.MaxBody)
	if err != nil {
		return nil, err
	}
	to, err := decodeStatusChange(body)
	if err != nil {
		return nil, err
	}
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	r, err := s.store.MoveRequest(within, in.ID, to, access.Origin(within))
	if err != nil {
		return nil, err
	}
	s.handoff.Changed(r.ID)
	if to == jobs.StatusCancelled {
		s.handoff.Cancelled(r.ID)
		if r.CallbackURL != "" {
			s.handoff.CallbacksOf(r.ID)
		}
	} else {
		s.handoff.Batch(jobs.Batch{ID: r.BatchID, Priority: r.Priority, Lane: r.Lane, Requests: []int64{r.ID}})
	}
	return &requestOutput{viewOf(&r)}, nil
}

func (s *Server) deleteRequest(ctx context.Context, in *requestInput) (*struct{}, error) {
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	err := s.store.DeleteRequest(within, in.ID, access.Origin(within))
	if err != nil {
		return nil, err
	}
	s.handoff.Changed(in.ID)
	s.handoff.Cancelled(in.ID)
	return nil, nil //nolint:nilnil // huma: no body
}

// decodeSubmission decodes a submission. The caller may allow further members.
// The shape of the payload is checked here; a worker checks the payload's
// meaning.
func decodeSubmission(body []byte, lim rules, further ...web.Member) (store.NewRequest, error) {
	r := store.NewRequest{Priority: jobs.Default}
	var faults payload.Faults
	err := web.Decode(body, &faults, append(further,
		web.Member{Name: "payload", Required: true, Set: func(value jsontext.Value, faults *payload.Faults) {
			meta, wrong := signals.Accept(value, lim.Limits)
			for _, f := range wrong {
				faults.Add(jsontext.Pointer("/payload"+f.Pointer), "%s", f.Detail)
			}
			r.Payload, r.SchemaVersion, r.CorrelationID = []byte(value), meta.SchemaVersion, meta.CorrelationID
			r.SiteID, r.ClusterID = meta.SiteID, meta.ClusterID
		}},
		web.ChoiceMember("priority", false, &r.Priority, jobs.Priorities()),
		web.TimeMember("run_at", &r.RunAt),
		web.TimeMember("expires_at", &r.ExpiresAt),
		web.CheckedMember("callback_url", false, &r.CallbackURL, lim.checkCallback),
	)...)
	if !r.ExpiresAt.IsZero() && !r.ExpiresAt.After(r.RunAt) {
		faults.Add("/expires_at", "must be after run_at")
	}
	if err == nil && len(faults) > 0 {
		err = web.InvalidBody(faults)
	}
	return r, err
}

func decodeStatusChange(body []byte) (jobs.Status, error) {
	var to jobs.Status
	err := web.DecodeBody(body, web.ChoiceMember("status", true, &to, jobs.Statuses()))
	return to, err
}

// filter returns the filter of the query. huma has checked each parameter
// against its schema; filter makes the checks that involve several parameters
// or that a schema cannot express.
func (in *listInput) filter() (store.Filter, error) {
	f := store.Filter{
		Status: in.Status, SiteID: payload.CleanText(in.SiteID), ClusterID: payload.CleanText(in.ClusterID),
		CreatedFrom: in.CreatedFrom.Time, CreatedBefore: in.CreatedBefore.Time,
	}
	switch {
	case in.SiteID != "" && f.SiteID == "":
		return f, web.InvalidParameter("site_id", "must not be blank")
	case in.ClusterID != "" && f.ClusterID == "":
		return f, web.InvalidParameter("cluster_id", "must not be blank")
	case !f.CreatedBefore.IsZero() && !f.CreatedFrom.Before(f.CreatedBefore):
		return f, web.InvalidParameter("created_from", "must be before created_before")
	}
	if in.Cursor != "" {
		var err error
		if f.After, err = decodeCursor(in.Cursor); err != nil {
			return f, web.InvalidParameter("cursor", err.Error())
		}
	}
	return f, nil
}

// next returns the path and query of the page after the position, with the same
// filters.
func (in *listInput) next(p store.Position) string {
	q := url.Values{"limit": {strconv.Itoa(in.Limit)}, "cursor": {encodeCursor(p)}}
	set := func(name, value string) {
		if value != "" {
			q.Set(name, value)
		}
	}
	set("status", string(in.Status))
	set("site_id", in.SiteID)
	set("cluster_id", in.ClusterID)
	if !in.CreatedFrom.IsZero() {
		set("created_from", in.CreatedFrom.UTC().Format(time.RFC3339Nano))
	}
	if !in.CreatedBefore.IsZero() {
		set("created_before", in.CreatedBefore.UTC().Format(time.RFC3339Nano))
	}
	return pathRequests + "?" + q.Encode()
}

// instant is a time in RFC 3339 as a query parameter. Its zero value means that
// the parameter is absent.
type instant struct{ time.Time }

// UnmarshalText implements encoding.TextUnmarshaler, for huma.
func (i *instant) UnmarshalText(text []byte) error {
	if err := i.Time.UnmarshalText(text); err != nil || !web.Storable(i.Time) {
		return errors.New("want RFC 3339 such as 2026-03-01T10:00:00Z, in 1970 or later (and + written as %2B)")
	}
	return nil
}

func encodeCursor(p store.Position) string { return web.TimeCursor(p.CreatedAt, p.ID) }

func decodeCursor(text string) (store.Position, error) {
	at, id, err := web.ParseTimeCursor(text)
	return store.Position{CreatedAt: at, ID: id}, err
}

const maxWait = time.Minute

// getInput asks for one request. With wait, the response is delayed until the
// request is final.
type getInput struct {
	Connection
	ID   int64    `path:"id" minimum:"1" doc:"Id of the MassRequest" example:"42"`
	Wait waitTime `query:"wait" doc:"How long to wait for a final status, at most 60s; a number with a unit, such as 500ms or 1m" example:"30s"`
}

// waitTime is a duration as a query parameter. The zero value does not wait.
type waitTime struct{ time.Duration }

// UnmarshalText implements encoding.TextUnmarshaler, for huma.
func (t *waitTime) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil || d < 0 || d > maxWait {
		return errors.New("want a duration from 0s to 60s, such as 30s")
	}
	t.Duration = d
	return nil
}

// awaitEnd returns the request as soon as the request is final, the time is up,
// or the server shuts down.
func (s *Server) awaitEnd(ctx context.Context, in *getInput) (jobs.Request, error) {
	web.Outlast(in.writer, in.Wait.Duration+s.cfg.AnswerTimeout+s.cfg.WriteTimeout)
	return s.waiting.End(ctx, in.ID, in.Wait.Duration)
}
