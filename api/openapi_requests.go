package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/leomutto/pilot-in-a-box/internal/figures"
	"github.com/leomutto/pilot-in-a-box/internal/kpi"
	"github.com/leomutto/pilot-in-a-box/internal/trail"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
	"github.com/leomutto/pilot-in-a-box/store"
)

const (
	describeAPI = "MASS accepts MassRequests (free-form JSON, or signals of a data center's energy, thermal, cooling and workload), " +
		"processes them in the background and keeps their results.\n\n" +
		"Every path works with and without a trailing slash. Every error is an RFC 9457 problem with a `code` for programs " +
		"and a `request_id`, which the logs call `http_request_id`. An X-Request-Id that you send is used if it has 1 to 128 letters, digits, dots, dashes or underscores."
	describeSubmit = "The response is sent once the MassRequest is stored durably. From then on it will reach a final status, whatever " +
		"happens to the servers. A payload with schema_version 1.1 must have the shape of SignalsDocument; the worker checks its meaning " +
		"later. In such a payload, null counts as absent. Duplicate names, U+0000 and lone surrogates are refused."
	describeGet = "With `wait`, the response is sent as soon as the MassRequest is final (done, failed or cancelled), or with its " +
		"current status when the time is up. Any number of clients may wait: each one costs the database almost nothing."
	describeEvents = "As JSON: the history in pages, oldest first; follow `next`. As text/event-stream: the history, and then each " +
		"event as it happens. The `id` of an event is that of the JSON form, its name is the `action`, and its data is the same JSON " +
		"object. When the MassRequest is final and all its events were sent, an event `end` follows and the stream ends; close it " +
		"then, because browsers reconnect. A client that reconnects with the last event's id gets 204. A stream that ends without `end` was " +
		"interrupted: reconnect with Last-Event-ID, as browsers do automatically. The events of a deleted MassRequest are kept."
	describeList = "All filters must match. Follow `next` for the next page: rows inserted while you page cause neither duplicates nor gaps. " +
		"A page may have fewer MassRequests than `limit`: it ends when its payloads and results reach 8 MiB, and has at least one MassRequest. " +
		"Only `next` tells whether there is another page. A caller that reads more than a few large pages at once waits, and then gets 429."
	describeStatus = "`cancelled` stops a pending or processing MassRequest; `pending` processes a done, failed or cancelled one again. " +
		"Any other change is answered with 409 and the statuses that are allowed now."
	describeDelete   = "Works in any status; a worker that is processing the MassRequest stops. The audit events of the MassRequest are kept."
	describeCallback = "When a MassRequest with a `callback_url` becomes done, failed or cancelled, a message is posted there: " +
		"`{\"type\": \"mass_request.done\", \"timestamp\": …, \"data\": {\"id\", \"status\", \"error\", \"faults\", \"attempt\", \"failures\", \"site_id\", " +
		"\"cluster_id\", \"correlation_id\", \"schema_version\", \"created_at\", \"finished_at\", \"url\"}}`, without payload and result, signed as " +
		"described at standardwebhooks.com. A 2xx response accepts the message, and 410 stops all further attempts. After any other response the " +
		"message is sent again for about a day, and is then dead. A message may arrive more than once, with the same webhook-id."
	describeReplay = "Sends the latest message again, at once and with all its attempts, whether it is dead or was delivered; the webhook-id " +
		"stays the same. While the message is pending, the response is 409."
	describeBulk = "The newest requests are taken first. A call moves at most `limit` requests, in steps that are committed one by one: when the call ends " +
		"early, the committed steps remain. While `more` is true, send the same body again with the `cursor` of the response; requests that arrive in the " +
		"meantime are not touched. All filters must match; to take all requests, send `\"all\": true` instead of a filter.\n\n" +
		"`cancel` takes pending and processing requests; `replay` takes failed and cancelled ones, and done ones only when the filter " +
		"names that status. `changed` is less than `matched` when other callers moved a request at the same moment. With `dry_run`, " +
		"nothing is moved, and `matched` is the number of requests that would be."
	describeTable = "\n\nWith `format` (or Accept: text/csv, application/x-ndjson) the response is a table, streamed with all its rows and full precision; an empty cell " +
		"means that there is no value. The trail records it as `export` when it begins, and as `export_end` with the number of rows when it ends. " +
		"A stream whose last chunk is missing was interrupted."
	describeRecommendations = "BioCore is a service outside of MASS that looks at each signals request that ends done, if one is configured and the window is recent. " +
		"Its answers are advice for people: MASS checks every answer against its schema, its request and the hard constraints, refuses the whole answer if anything is wrong, " +
		"and never acts on one. A MassRequest is done without waiting for it. `model` names what made an answer; \"reference model\" is the demonstration that comes with MASS. " +
		"A replay of the MassRequest asks again, and earlier answers stay. Answers are removed with a MassRequest that is deleted, within seconds."
	describeOpinion = "Adds an opinion about an answer that is available, or about one of its recommendations. Opinions are never changed, and nothing follows from them. " +
		"A disagreement needs a reason. The trail records it as `opinion`."
	describeKPIs = "Energies are sums over the readings that count, and ratios are ratios of such sums; nothing is scaled up or interpolated. " +
		"A figure is null when readings with what it needs cover less than half of the time, and partial below 90 %. " +
		"Each instant counts once: docs/readings.md tells which reading counts." + describeTable
	describeSite = "An absent member leaves a setting as it is, and null clears it. The limits are those of alerts; no figure depends on them. " +
		"A new zone moves the edges of days and hours, so the rollups of the site are computed again; answers stay right in the meantime. The trail records each change."
	describeNotes = "A note says what happened at a site and when: a measure, maintenance, a non-routine event in the sense of the IPMVP, a calibration, or a remark. " +
		"Nothing is ever overwritten: a correction is a new version, which names the version that it corrects, and the versions before it stay. The trail records each version."
	describeReadings = "Each signals request that ends done leaves one reading. The answer has the readings whose window overlaps the range, also those that do not count, " +
		"and says why: a correction replaced it, finer or later readings count for its time, or the site has readings of its own beside those of the cluster." + describeTable
	describeTrends = "Intervals begin on the clock of the zone. Figures are those of /kpis, so the energies of the intervals add up to that of the range. " +
		"An interval without enough readings has null." + describeTable
	describeCompare = "By default every hour is compared with the same hour of the week: the hours before are weighted so that each hour of the week weighs " +
		"as much as it does after. An hour counts when readings cover 90 % of it, and an hour of the week when both periods have it twice. Ratios stay ratios of sums.\n\n" +
		"A difference is withheld when a figure is partial, and `withheld` says why. There are no figures when a period is shorter than 14 days, when " +
		"readings cover less than half of it, or when fewer than 84 hours of the week match; `refusals` says so. A difference is not a saving: `pue_trap` " +
		"says how much of the difference of PUE the IT load alone explains." + describeTable
	describeAudit = "Newest first. All filters must match; follow `next` for older events. Each call searches a bounded part of the trail: " +
		"a page may hold fewer events than `limit`, or none, while `next` says that there is more to search. " +
		"`mass_request_id`, `from` and `to` make the search short. With `format` (or Accept: text/csv, application/x-ndjson) the response is a stream of all " +
		"matching events, oldest first. The export itself is recorded in the trail: as `export` when it begins, and as `export_end` with the count when it ends. " +
		"A stream whose last chunk is missing was interrupted."
	describeReady = "200 as long as submissions can be accepted, which requires Postgres and its schema. Without Redis the status is " +
		"degraded: submissions are stored, and processed when Redis is back. The status is also 503 while the server shuts down."
	describeQueues = "Asynqmon: the queues and their tasks"
)

func documentLive(op documentedOp) {
	op.answers(http.StatusOK, Health{Status: healthOK, Version: op.doc.Info.Version})
}

func documentReady(op documentedOp) {
	ready := Health{Status: healthOK, Version: op.doc.Info.Version, Checks: map[string]*Check{
		"postgres": {Status: healthOK}, "redis": {Status: healthOK}, "migrations": {Status: healthOK},
	}}
	op.Responses["503"] = &huma.Response{Description: "Not ready", Content: map[string]*huma.MediaType{
		web.MediaJSON: {Schema: op.Responses["200"].Content[web.MediaJSON].Schema},
	}}
	away := ready
	away.Status = healthUnavailable
	away.Checks = map[string]*Check{
		"postgres": {Status: healthUnavailable, Detail: "does not answer"}, "redis": {Status: healthOK},
		"migrations": {Status: healthUnavailable, Detail: "does not answer"},
	}
	op.answers(http.StatusOK, ready)
	op.answers(http.StatusServiceUnavailable, away)
}

func documentSubmit(op documentedOp) {
	op.reads(reflect.TypeFor[Submission](), map[string]*huma.Example{
		"signals": {Summary: "Signals", Value: map[string]any{"payload": json.RawMessage(signals.Example()), "priority": jobs.High}},
		"free":    {Summary: "Free form", Value: map[string]any{"payload": map[string]any{"site_id": "site-1", "it_load_kw": 812.5}}},
	})
	op.answers(http.StatusCreated, exampleRequest())
}

func documentGet(op documentedOp) { op.answers(http.StatusOK, exampleRequest()) }

func documentList(op documentedOp) {
	op.Responses["200"].Content = map[string]*huma.MediaType{web.MediaJSON: {
		Schema: op.schema(reflect.TypeFor[MassRequestList]()), Example: MassRequestList{Items: []MassRequest{exampleRequest()}},
	}}
}

func documentStatus(op documentedOp) {
	op.reads(reflect.TypeFor[StatusChange](), map[string]*huma.Example{
		"cancel": {Summary: "Cancel", Value: map[string]any{"status": jobs.StatusCancelled}},
		"replay": {Summary: "Replay", Value: map[string]any{"status": jobs.StatusPending}},
	})
	cancelled := exampleRequest()
	cancelled.Status, cancelled.FinishedAt = jobs.StatusCancelled, &cancelled.UpdatedAt
	op.answers(http.StatusOK, cancelled)
}

func exampleRequest() MassRequest {
	r := jobs.Request{
		ID: 42, Payload: signals.Example(), Status: jobs.StatusPending, Priority: jobs.High,
		SchemaVersion: payload.VersionSignals, CorrelationID: "corr-7f3a", SiteID: "site-1", ClusterID: "gpu-a", BatchID: 7,
		CreatedAt: time.Date(2026, 3, 1, 11, 0, 2, 500_000_000, time.UTC),
	}
	r.RunAt, r.UpdatedAt = r.CreatedAt, r.CreatedAt
	var compact bytes.Buffer
	if err := json.Compact(&compact, r.Payload); err == nil {
		r.Payload = compact.Bytes()
	}
	return viewOf(&r)
}

// documentEvents describes the two media types of a history, which this package
// writes without huma.
func documentEvents(op documentedOp) {
	pending, processing := string(jobs.StatusPending), string(jobs.StatusProcessing)
	attempt, batch := 1, int64(7)
	claim := RequestEvent{
		ID: 1041, At: "2026-03-01T11:00:02.504113Z", Action: string(jobs.Claim), FromStatus: &pending, ToStatus: &processing,
		Attempt: &attempt, BatchID: &batch, Actor: "worker:3",
	}
	done := string(jobs.StatusDone)
	stream := appendEvent(nil, claim.ID, claim.Action, claim)
	stream = appendEvent(stream, 0, "end", streamEnd{ID: 42, Status: &done})
	op.Responses["200"].Content = map[string]*huma.MediaType{
		web.MediaJSON: {
			Schema:  op.schema(reflect.TypeFor[RequestEventList]()),
			Example: RequestEventList{Items: []RequestEvent{claim}},
		},
		web.MediaEventStream: {Schema: &huma.Schema{Type: huma.TypeString}, Example: string(stream)},
	}
	op.Responses["204"] = &huma.Response{Description: "A client reconnected to the stream with the last event's id: there are no more events"}
}

// exampleCallback returns a callback that was delivered.
func exampleCallback() Callback {
	took, delivered := http.StatusNoContent, "2026-03-01T11:00:02.600000Z"
	return Callback{URL: "https://example.com/hooks/mass", Deliveries: []CallbackDelivery{{
		ID: "msg_6f1c9a54-5c0d-4c9e-a6a1-0d5b8a3a3f0e", Event: "mass_request.done", Status: jobs.DeliveryDelivered, Attempts: 1,
		LastStatus: &took, CreatedAt: "2026-03-01T11:00:02.500000Z", DeliveredAt: &delivered,
	}}}
}

func documentCallback(op documentedOp) { op.answers(http.StatusOK, exampleCallback()) }

func documentReplay(op documentedOp) {
	c := exampleCallback()
	d := &c.Deliveries[0]
	d.Status, d.LastStatus, d.DeliveredAt, d.NextAt = jobs.DeliveryPending, nil, nil, &d.CreatedAt
	op.answers(http.StatusAccepted, c)
}

func documentBulk(op documentedOp) {
	op.reads(reflect.TypeFor[BulkMove](), map[string]*huma.Example{
		"replay": {Summary: "Replay what failed", Value: map[string]any{"action": jobs.Replay, "filter": map[string]any{"status": jobs.StatusFailed}}},
		"cancel": {Summary: "Cancel all of a site", Value: map[string]any{"action": jobs.Cancel, "filter": map[string]any{"site_id": "site-1"}, "limit": 5000}},
		"count":  {Summary: "How many would be cancelled?", Value: map[string]any{"action": jobs.Cancel, "all": true, "dry_run": true}},
	})
	cursor := encodeCursor(store.Position{CreatedAt: time.Date(2026, 3, 1, 11, 0, 2, 0, time.UTC), ID: 42})
	op.answers(http.StatusOK, BulkResult{Matched: bulkDefault, Changed: bulkDefault, More: true, Cursor: &cursor})
}

// documentAudit describes the media types of the audit trail, which this
// package writes without huma.
func documentAudit(op documentedOp) {
	request, from, to, client, exchange := int64(42), "processing", "cancelled", "192.0.2.7", "WRXY3FPYOUJZ4L6W2PPXG53QCV"
	event := trail.AuditEvent{
		ID: 1041, At: "2026-03-01T11:00:02.504113Z", Action: "cancel", Actor: "user:12", MassRequestID: &request,
		FromStatus: &from, ToStatus: &to, HTTPRequestID: &exchange, Client: &client,
	}
	var line bytes.Buffer
	_ = web.Encode(&line, event) // strings and numbers can always be encoded
	op.Responses["200"].Content = map[string]*huma.MediaType{
		web.MediaJSON: {Schema: op.schema(reflect.TypeFor[AuditPage]()), Example: AuditPage{Items: []trail.AuditEvent{event}}},
		web.MediaCSV: {
			Schema: &huma.Schema{Type: huma.TypeString}, Example: "id,at,action,actor,…\n1041,2026-03-01T11:00:02.504113Z,cancel,user:12,…\n",
		},
		web.MediaNDJSON: {Schema: &huma.Schema{Type: huma.TypeString}, Example: line.String() + "\n"},
	}
}

func documentSites(op documentedOp) {
	op.answers(http.StatusOK, figures.SiteList{Items: []figures.Site{exampleSite()}})
}

func exampleSite() figures.Site {
	country, currency, category, pue := "NO", "EUR", 2, 1.5
	return figures.Site{
		ID: "oslo-1", Zone: "Europe/Oslo", FirstSeenAt: "2026-03-01T11:00:00Z", Country: &country, Currency: &currency, PUECategory: &category, MaxPUE: &pue,
	}
}

func exampleNote() figures.Note {
	return figures.Note{
		ID: 7, Version: 1, Site: "oslo-1", Kind: store.NoteMeasure, From: "2026-03-01T00:00:00+01:00", Text: "Supply air raised from 22 to 24 °C in hall 3",
		Author: "user:12", CreatedAt: "2026-03-01T11:00:00Z",
	}
}

func documentSite(op documentedOp) { op.answers(http.StatusOK, exampleSite()) }

func documentChangeSite(op documentedOp) {
	site := exampleSite()
	op.reads(reflect.TypeFor[SiteChange](), oneExample("Zone and limit", SiteChange{Zone: &site.Zone, MaxPUE: site.MaxPUE}))
	op.answers(http.StatusOK, site)
}

func documentNotes(op documentedOp) {
	op.answers(http.StatusOK, figures.NoteList{Items: []figures.Note{exampleNote()}})
}

func documentAddNote(op documentedOp) {
	note := exampleNote()
	op.reads(reflect.TypeFor[NoteRequest](), oneExample("A measure", NoteRequest{Kind: note.Kind, From: "2026-03-01", Text: note.Text}))
	op.answers(http.StatusCreated, note)
}

func documentChangeNote(op documentedOp) {
	note, text := exampleNote(), "Supply air raised from 22 to 24 °C in halls 3 and 4"
	op.reads(reflect.TypeFor[NoteChange](), oneExample("Correct the text", NoteChange{Version: note.Version, Text: &text}))
	note.Version, note.Text = 2, text
	op.answers(http.StatusOK, note)
}

func exampleRecommendation() figures.Recommendation {
	latency, ended, kwh, kw, rec := 38.5, "2026-03-01T11:00:04.5Z", -310.0, -12.9, "rec-1"
	return figures.Recommendation{
		ID: 7, RequestID: 42, Attempt: 1, State: jobs.RecommendationAvailable, Site: "oslo-1", Facility: "osl-dc-1", Cluster: "gpu-a", Zone: "hall-3",
		Start: "2026-03-01T10:00:00Z", End: "2026-03-01T11:00:00Z", FinishedAt: "2026-03-01T11:00:02.5Z", EndedAt: &ended, Tries: 1, LatencyMS: &latency,
		Model:  &figures.RecommendationModel{Name: "reference model", Version: "1.0.0", PolicyID: "shadow-advice"},
		Faults: []payload.Fault{},
		Summary: &figures.RecommendationSummary{
			Confidence: 0.8, RiskScore: 0.2, Impact24h: figures.AnswerImpact{EnergyKWh: &kwh},
			Guardrails: figures.AnswerGuards{ShadowReadOnlyEnforced: true, ConstraintsSatisfied: true},
			Warnings:   []string{}, Audit: figures.AnswerService{LatencyMS: 12, ServiceHealth: "ok"},
		},
		Items: []figures.Advice{{
			RecID: rec, Priority: 1, Category: "cooling",
			Action:         figures.AdvisedAction{Type: "setpoint_change", Target: "cooling_setpoint_c", Current: 22, Suggested: 22.8, Delta: 0.8, Units: "C"},
			ExpectedImpact: figures.AdviceImpact{FacilityPowerKW: &kw},
			Explainability: figures.AdviceReasons{Narrative: "The inlets are 2.5 K below their limit.", ReasonCodes: []string{"inlet_headroom"}, OrganismTags: []string{}},
			Trace:          figures.AdviceEvidence{InputFingerprint: "f00d", FeatureSetVersion: "1.0", DecisionID: "d-1", GeneratedAt: "2026-03-01T11:00:03Z"},
		}},
		Opinions: []figures.Opinion{{ID: 3, RecID: &rec, Reason: "Hall 3 is being rebuilt", Author: "user:12", At: "2026-03-01T12:00:00Z"}},
	}
}

func documentRequestRecommendations(op documentedOp) {
	op.answers(http.StatusOK, figures.RequestRecommendations{Items: []figures.Recommendation{exampleRecommendation()}})
}

func documentRecommendations(op documentedOp) {
	op.answers(http.StatusOK, figures.RecommendationList{
		Site: "oslo-1", From: "2026-03-01T00:00:00+01:00", To: "2026-03-08T00:00:00+01:00", Items: []figures.Recommendation{exampleRecommendation()},
	})
}

func documentOpinion(op documentedOp) {
	opinion := exampleRecommendation().Opinions[0]
	op.reads(reflect.TypeFor[OpinionRequest](), oneExample("Disagree with one", OpinionRequest{Opinion: string(disagree), Reason: &opinion.Reason, RecID: opinion.RecID}))
	op.answers(http.StatusCreated, opinion)
}

func documentReadings(op documentedOp) {
	op.answersTable(figures.ReadingList{
		Site: "oslo-1", From: "2026-03-01T00:00:00+01:00", To: "2026-03-08T00:00:00+01:00",
		Items: []figures.Reading{{
			RequestID: 42, Site: "oslo-1", Facility: "osl-dc-1", Start: "2026-03-01T11:00:00+01:00", End: "2026-03-01T12:00:00+01:00",
			AcceptedAt: "2026-03-01T11:00:02.504113Z", State: string(kpi.Counts), StateSite: string(kpi.Counts), Why: "counts for all of its window",
			Values: map[string]float64{"it_load_kw": 812.5, "facility_power_kw": 1056.25},
		}},
	}, "request_id,start_utc,start_local,…,it_load_kw,facility_power_kw,…",
		"42,2026-03-01T10:00:00Z,2026-03-01T11:00:00,…,812.5,1056.25,…")
}

func documentKPIs(op documentedOp) {
	pue := 1.31
	k, _ := kpi.Named("pue")
	op.answersTable(figures.KPIAnswer{
		Sites: []string{"oslo-1"}, From: "2026-03-01T00:00:00+01:00", To: "2026-03-08T00:00:00+01:00", Zone: "Europe/Oslo", InterimPUE: true, CompletenessPct: 99.5, Readings: 168,
		Figures: []figures.Figure{{
			Name: k.Name, Title: k.Title, Unit: k.Unit, Value: &pue, Quality: string(kpi.Complete), CompletenessPct: 99.5, Better: string(k.Better),
			Formula: k.Formula, Standard: k.Standard, Needs: k.Needs,
		}},
	}, "start_utc,start_local,…,site_id,cluster_id,figure,unit,value,…",
		"2026-02-28T23:00:00Z,2026-03-01T00:00:00,…,oslo-1,,pue,,1.31,…")
}

func documentTrends(op documentedOp) {
	pue := 1.31
	op.answersTable(figures.TrendAnswer{
		Sites: []string{"oslo-1"}, Zone: "Europe/Oslo", Bucket: kpi.Day.Name(),
		Items: []figures.Bucket{
			{From: "2026-03-01T00:00:00+01:00", To: "2026-03-02T00:00:00+01:00", CompletenessPct: 100, Values: map[string]*float64{"pue": &pue}},
			{From: "2026-03-02T00:00:00+01:00", To: "2026-03-03T00:00:00+01:00", CompletenessPct: 20, Values: map[string]*float64{"pue": nil}},
		},
	}, "start_utc,start_local,…,site_id,cluster_id,pue,completeness_pct",
		"2026-02-28T23:00:00Z,2026-03-01T00:00:00,…,oslo-1,,1.31,100")
}

func documentCompare(op documentedOp) {
	before, after, difference, cells := 1.41, 1.37, -0.04, 168
	k, _ := kpi.Named("pue")
	op.answersTable(figures.CompareAnswer{
		Site: "oslo-1", Zone: "Europe/Oslo", Method: "hour_of_week", MatchedCells: &cells, MatchedHours: 672, Refusals: []string{},
		Weather: "the mean outdoor temperature was 8.2 °C before and 8.6 °C after (+0.4 K)",
		Before:  figures.Period{From: "2026-02-01T00:00:00+01:00", To: "2026-03-01T00:00:00+01:00", CompletenessPct: 99.5},
		After:   figures.Period{From: "2026-03-01T00:00:00+01:00", To: "2026-03-29T00:00:00+01:00", CompletenessPct: 100},
		Figures: []figures.ComparedFigure{
			{Name: k.Name, Title: k.Title, Unit: k.Unit, Better: string(k.Better), Before: &before, After: &after, Difference: &difference},
		},
	}, "before_start_utc,…,site_id,cluster_id,method,figure,unit,before,after,difference,…",
		"2026-01-31T23:00:00Z,…,oslo-1,,hour_of_week,pue,,1.41,1.37,-0.04,…")
}
