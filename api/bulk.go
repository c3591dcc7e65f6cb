package api

import (
	"context"
	"slices"
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

const (
	bulkDefault = 1000                  // requests per call, unless the body has a limit
	bulkMax     = 10_000                // most requests per call
	bulkStep    = 500                   // requests per SQL statement
	bulkRetries = 3                     // further attempts at requests locked by others
	bulkRetry   = 20 * time.Millisecond // pause before the first further attempt
)

// BulkMove is the body of POST /mass-requests/bulk. Only its schema is used:
// decodeBulk reads the body.
type BulkMove struct {
	Action actionSchema `json:"action" doc:"cancel stops the MassRequests; replay processes them again" example:"replay"`
	Filter *BulkFilter  `json:"filter,omitempty" nullable:"false" doc:"Which MassRequests; all its members must match"`
	All    bool         `json:"all,omitempty" doc:"true instead of a filter: all MassRequests" example:"false"`
	Limit  int          `json:"limit,omitempty" minimum:"1" maximum:"10000" default:"1000" doc:"Maximum number of MassRequests per call" example:"1000"`
	DryRun bool         `json:"dry_run,omitempty" doc:"true only counts the MassRequests and moves none" example:"false"`
	Cursor string       `json:"cursor,omitempty" maxLength:"64" doc:"Where to continue; copy it from the previous response"`
}

// BulkFilter is the filter of a BulkMove. It has the filters of the list.
type BulkFilter struct {
	Status        jobs.Status  `json:"status,omitempty" doc:"Only MassRequests in this status" example:"failed"`
	SiteID        string       `json:"site_id,omitempty" minLength:"1" maxLength:"200" doc:"Only MassRequests of this site" example:"site-1"`
	ClusterID     string       `json:"cluster_id,omitempty" minLength:"1" maxLength:"200" doc:"Only MassRequests of this cluster" example:"gpu-a"`
	CreatedFrom   signals.Time `json:"created_from,omitempty" doc:"Only MassRequests created at this time or later" example:"2026-03-01T00:00:00Z"`
	CreatedBefore signals.Time `json:"created_before,omitempty" doc:"Only MassRequests created before this time" example:"2026-03-02T00:00:00Z"`
}

// BulkResult is the response to a BulkMove.
type BulkResult struct {
	Matched int     `json:"matched" minimum:"0" doc:"Number of MassRequests that were found" example:"1000"`
	Changed int     `json:"changed" minimum:"0" doc:"Number of MassRequests that were moved; 0 in a dry run" example:"1000"`
	More    bool    `json:"more" doc:"true: more may match; send the same body again with this cursor" example:"true"`
	Cursor  *string `json:"cursor" doc:"Where to continue; null when nothing is left" example:"AQAGTEWX1tugAAAAAAAAACo"`
}

type (
	bulkInput  struct{ JSONBody }
	bulkOutput struct{ Body BulkResult }

	actionSchema string
)

// Schema implements huma.SchemaProvider.
func (actionSchema) Schema(huma.Registry) *huma.Schema { return enumOf(bulkActions()) }

func bulkActions() []jobs.Action { return []jobs.Action{jobs.Cancel, jobs.Replay} }

// bulk is a decoded BulkMove.
type bulk struct {
	store.BulkMove
	limit  int
	dryRun bool
}

// moveRequests moves many requests. It stops before the limit when its time is
// up or when a step fails after earlier steps succeeded. The result then
// reports the steps that were committed.
func (s *Server) moveRequests(ctx context.Context, in *bulkInput) (*bulkOutput, error) {
	body, err := in.read(s.cfg.MaxBody)
	if err != nil {
		return nil, err
	}
	b, err := decodeBulk(body)
	if err != nil {
		return nil, err
	}
	b.Origin, b.BatchSize = access.Origin(ctx), s.cfg.BatchMax
	if b.dryRun {
		return s.countMoves(ctx, b)
	}
	var (
		out  BulkResult
		busy []int64
		over = time.Now().Add(min(s.cfg.AnswerTimeout, s.cfg.WriteTimeout/2))
	)
	for more := true; more && out.Matched < b.limit && (out.Matched == 0 || time.Now().Before(over)); {
		b.Filter.Limit = min(bulkStep, b.limit-out.Matched)
		did, err := s.moveStep(ctx, b.BulkMove)
		if err != nil {
			if out.Matched == 0 {
				return nil, err
			}
			s.log.Warn("a bulk ended early", "matched", out.Matched, "changed", out.Changed, "error", err)
			break
		}
		out.Matched += did.Matched
		out.Changed += len(did.Changed)
		busy = append(busy, did.Busy...)
		b.Filter.After, more = did.Next, did.Next.ID != 0
		out.More, out.Cursor = more, cursorOf(did.Next)
	}
	out.Changed += s.moveBusy(ctx, b.BulkMove, busy)
	return &bulkOutput{out}, nil
}

// moveStep moves the requests of one step and notifies the workers.
func (s *Server) moveStep(ctx context.Context, m store.BulkMove) (store.Moved, error) {
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	did, err := s.store.MoveRequests(within, m)
	if err != nil {
		return did, err
	}
	for _, b := range did.Batches {
		s.handoff.Batch(b)
	}
	if len(did.Running) > 0 {
		s.handoff.Cancelled(did.Running...)
	}
	if len(did.Changed) > 0 {
		s.handoff.Changed(did.Changed...)
	}
	return did, nil
}

// moveBusy retries the requests that other transactions had locked. Such locks
// last for milliseconds.
func (s *Server) moveBusy(ctx context.Context, m store.BulkMove, busy []int64) (changed int) {
	m.Filter.After = store.Position{}
	for try := 1; try <= bulkRetries && len(busy) > 0; try++ {
		select {
		case <-ctx.Done():
			return changed
		case <-time.After(time.Duration(try) * bulkRetry):
		}
		var still []int64
		for part := range slices.Chunk(busy, bulkStep) {
			m.Only, m.Filter.Limit = part, len(part)
			did, err := s.moveStep(ctx, m)
			if err != nil {
				return changed // the remaining requests stay as they are and count as not changed
			}
			changed += len(did.Changed)
			still = append(still, did.Busy...)
		}
		busy = still
	}
	return changed
}

func (s *Server) countMoves(ctx context.Context, b bulk) (*bulkOutput, error) {
	b.Filter.Limit = b.limit
	within, cancel := context.WithTimeout(ctx, s.cfg.AnswerTimeout)
	defer cancel()
	found, err := s.store.CountMoves(within, b.BulkMove)
	if err != nil {
		return nil, err
	}
	return &bulkOutput{BulkResult{Matched: found.Matched, More: found.Next.ID != 0, Cursor: cursorOf(found.Next)}}, nil
}

func cursorOf(p store.Position) *string {
	if p.ID == 0 {
		return nil
	}
	text := encodeCursor(p)
	return &text
}

// decodeBulk reads a BulkMove and checks its status against the table of
// transitions.
func decodeBulk(body []byte) (bulk, error) {
	b := bulk{limit: bulkDefault}
	var (
		faults   payload.Faults
		all      bool
		filtered bool
	)
	err := web.Decode(body, &faults,
		web.ChoiceMember("action", true, &b.Action, bulkActions()),
		web.Member{Name: "filter", Set: func(value jsontext.Value, faults *payload.Faults) {
			var inner payload.Faults
			after := b.Filter.After // the cursor may precede the filter in the body
			b.Filter = decodeFilter(value, &inner)
			for _, f := range inner {
				faults.Add(jsontext.Pointer("/filter"+f.Pointer), "%s", f.Detail)
			}
			filtered = b.Filter != store.Filter{} || len(inner) > 0
			b.Filter.After = after
		}},
		web.FlagMember("all", &all),
		web.CountMember("limit", 1, bulkMax, &b.limit),
		web.FlagMember("dry_run", &b.dryRun),
		web.Member{Name: "cursor", Set: func(value jsontext.Value, faults *payload.Faults) {
			text, err := jsontext.AppendUnquote(nil, value)
			if err == nil {
				b.Filter.After, err = decodeCursor(string(text))
			}
			if err != nil {
				faults.Add("/cursor", "must be the cursor of an earlier answer")
			}
		}},
	)
	if err != nil {
		return b, err
	}
	switch {
	case !filtered && !all:
		faults.Add("/filter", `names nothing; to take all requests say "all": true`)
	case filtered && all:
		faults.Add("/all", "cannot be combined with a filter")
	}
	legal := b.Action.From()
	switch status := b.Filter.Status; {
	case len(legal) == 0: // the action itself was refused
	case status == "":
		b.From = slices.DeleteFunc(slices.Clone(legal), func(s jobs.Status) bool { return s == jobs.StatusDone })
	case slices.Contains(legal, status):
		b.From, b.Filter.Status = []jobs.Status{status}, ""
	default:
		faults.Add("/filter/status", "%s takes only requests that are %s", b.Action, web.Joined(legal))
	}
	if len(faults) > 0 {
		return b, web.InvalidBody(faults)
	}
	return b, nil
}

func decodeFilter(value []byte, faults *payload.Faults) store.Filter {
	var f store.Filter
	// The value is part of a body that was parsed, so it is valid JSON.
	_ = web.Decode(value, faults,
		web.ChoiceMember("status", false, &f.Status, jobs.Statuses()),
		web.AssetMember("site_id", &f.SiteID),
		web.AssetMember("cluster_id", &f.ClusterID),
		web.TimeMember("created_from", &f.CreatedFrom),
		web.TimeMember("created_before", &f.CreatedBefore),
	)
	if !f.CreatedBefore.IsZero() && !f.CreatedFrom.Before(f.CreatedBefore) {
		faults.Add("/created_from", "must be before created_before")
	}
	return f
}
