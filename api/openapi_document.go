package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

const jsonMediaType = "application/json"

// document serves the OpenAPI document: what huma knows of the operations, with
// the bodies that they read themselves, and with an example of each answer.
type document struct{ text []byte }

func (d *document) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", jsonMediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(d.text)))
	_, _ = w.Write(d.text) // fails only when the client is gone
}

// render completes the document and keeps its text. No operation may be added afterwards.
func (d *document) render(doc *huma.OpenAPI) error {
	request := exampleRequest()
	list := MassRequestList{Items: []MassRequest{request}}
	cancelled := request
	cancelled.Status, cancelled.FinishedAt = jobs.Cancelled, &cancelled.UpdatedAt
	ready := Health{Status: healthOK, Version: doc.Info.Version, Checks: map[string]*Check{
		"postgres": {Status: healthOK}, "redis": {Status: healthOK}, "migrations": {Status: healthOK},
	}}

	post := doc.Paths[pathRequests].Post
	post.RequestBody = bodyOf[Submission](doc, map[string]*huma.Example{
		"signals": {Summary: "Signals", Value: map[string]any{"payload": json.RawMessage(signals.Example()), "priority": jobs.High}},
		"free":    {Summary: "Free form", Value: map[string]any{"payload": map[string]any{"site_id": "site-1", "it_load_kw": 812.5}}},
	})
	status := doc.Paths[pathRequests+"{id}/status"].Patch
	status.RequestBody = bodyOf[StatusChange](doc, map[string]*huma.Example{
		"cancel": {Summary: "Cancel", Value: map[string]any{"status": jobs.Cancelled}},
		"replay": {Summary: "Replay", Value: map[string]any{"status": jobs.Pending}},
	})
	answers(post, http.StatusCreated, request)
	answers(status, http.StatusOK, cancelled)
	answers(doc.Paths[pathRequests].Get, http.StatusOK, list)
	answers(doc.Paths[pathRequests+"{id}"].Get, http.StatusOK, request)
	documentBatch(doc)
	documentEvents(doc)
	documentCallback(doc)
	documentBulk(doc)
	documentAuth(doc)
	answers(doc.Paths["/health/live"].Get, http.StatusOK, Health{Status: healthOK, Version: doc.Info.Version})
	for _, path := range []string{"/health", "/health/ready"} {
		op := doc.Paths[path].Get
		op.Responses["503"] = &huma.Response{Description: "Not ready", Content: map[string]*huma.MediaType{
			jsonMediaType: {Schema: op.Responses["200"].Content[jsonMediaType].Schema},
		}}
		away := ready
		away.Status = healthUnavailable
		away.Checks = map[string]*Check{
			"postgres": {Status: healthUnavailable, Detail: "does not answer"}, "redis": {Status: healthOK},
			"migrations": {Status: healthUnavailable, Detail: "does not answer"},
		}
		answers(op, http.StatusOK, ready)
		answers(op, http.StatusServiceUnavailable, away)
	}
	for path, item := range doc.Paths {
		for _, op := range operationsOf(item) {
			exampleProblems(path, op)
		}
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("render the OpenAPI document: %w", err)
	}
	d.text = text
	return nil
}

// documentEvents describes the two forms of a history, which are written by hand.
func documentEvents(doc *huma.OpenAPI) {
	pending, processing := string(jobs.Pending), string(jobs.Processing)
	attempt, batch := 1, int64(7)
	claim := RequestEvent{
		ID: 1041, At: "2026-03-01T11:00:02.504113Z", Action: string(jobs.Claim), FromStatus: &pending, ToStatus: &processing,
		Attempt: &attempt, BatchID: &batch, Actor: "worker:3",
	}
	done := string(jobs.Done)
	stream := appendEvent(nil, claim.ID, claim.Action, claim)
	stream = appendEvent(stream, 0, "end", streamEnd{ID: 42, Status: &done})

	op := doc.Paths[pathRequests+"{id}/events"].Get
	op.Responses["200"].Content = map[string]*huma.MediaType{
		jsonMediaType: {
			Schema:  doc.Components.Schemas.Schema(reflect.TypeFor[RequestEventList](), true, ""),
			Example: RequestEventList{Items: []RequestEvent{claim}},
		},
		eventStreamType: {Schema: &huma.Schema{Type: huma.TypeString}, Example: string(stream)},
	}
	op.Responses["204"] = &huma.Response{Description: "To a stream's client that comes again with the last event's id: there is nothing more"}
}

func documentCallback(doc *huma.OpenAPI) {
	took, delivered := http.StatusNoContent, "2026-03-01T11:00:02.600000Z"
	d := CallbackDelivery{
		ID: "msg_6f1c9a54-5c0d-4c9e-a6a1-0d5b8a3a3f0e", Event: "mass_request.done", Status: jobs.DeliveryDelivered, Attempts: 1,
		LastStatus: &took, CreatedAt: "2026-03-01T11:00:02.500000Z", DeliveredAt: &delivered,
	}
	item := doc.Paths[pathRequests+"{id}/callback"]
	answers(item.Get, http.StatusOK, Callback{URL: "https://example.com/hooks/mass", Deliveries: []CallbackDelivery{d}})
	next := d.CreatedAt
	d.Status, d.LastStatus, d.DeliveredAt, d.NextAt = jobs.DeliveryPending, nil, nil, &next
	answers(item.Post, http.StatusAccepted, Callback{URL: "https://example.com/hooks/mass", Deliveries: []CallbackDelivery{d}})
}

// bodyOf describes a body that an operation reads itself.
func bodyOf[T any](doc *huma.OpenAPI, examples map[string]*huma.Example) *huma.RequestBody {
	schema := doc.Components.Schemas.Schema(reflect.TypeFor[T](), true, "")
	return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		jsonMediaType: {Schema: schema, Examples: examples},
	}}
}

// answers gives an operation's answer its example.
func answers(op *huma.Operation, status int, example any) {
	op.Responses[strconv.Itoa(status)].Content[jsonMediaType].Example = example
}

// describePage adds what is no operation of huma to the document.
func describePage(doc *huma.OpenAPI, path, summary string, methods []string) {
	problem := doc.Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "")
	for _, method := range methods {
		status, media := "200", "text/html"
		example := any("<!DOCTYPE html>…")
		schema := &huma.Schema{Type: huma.TypeString}
		switch {
		case path == "/":
			status = "302"
		case path == "/openapi.json":
			media, example, schema = jsonMediaType, map[string]any{"openapi": doc.OpenAPI, "info": doc.Info}, &huma.Schema{Type: huma.TypeObject}
		case method != http.MethodGet && path != pathMonitoring:
			status = "303"
		}
		op := &huma.Operation{
			OperationID: "page-" + cmp.Or(strings.TrimSuffix(path[1:], ".json"), "root"),
			Method:      method, Path: path, Tags: []string{tagOperations}, Summary: summary,
			Responses: map[string]*huma.Response{
				status: {Description: summary, Content: map[string]*huma.MediaType{media: {Schema: schema, Example: example}}},
				"500": {Description: http.StatusText(http.StatusInternalServerError), Content: map[string]*huma.MediaType{
					problemMediaType: {Schema: problem},
				}},
			},
		}
		if method != http.MethodGet {
			op.OperationID += "-" + strings.ToLower(method)
		}
		if method == http.MethodPost && path == pathLogin {
			op.RequestBody = loginBody()
			documentLogin(op, problem)
		}
		doc.AddOperation(op)
	}
}

// documentLogin describes what the login page says of a form that it cannot take.
func documentLogin(op *huma.Operation, problem *huma.Schema) {
	for status, why := range map[int]string{
		http.StatusUnauthorized: "the address or the password is wrong", http.StatusConflict: "nobody has to log in here",
		http.StatusUnprocessableEntity: "one of them is missing", http.StatusTooManyRequests: "too many tries",
		http.StatusServiceUnavailable: "the database cannot be reached",
		http.StatusBadRequest:         "", http.StatusRequestTimeout: "", http.StatusRequestEntityTooLarge: "",
	} {
		response := &huma.Response{Description: http.StatusText(status), Content: map[string]*huma.MediaType{}}
		if why != "" {
			response.Description += ": the page again, which says that " + why
			response.Content["text/html"] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}, Example: "<!DOCTYPE html>…"}
		}
		if why == "" || status == http.StatusTooManyRequests {
			response.Content[problemMediaType] = &huma.MediaType{Schema: problem}
		}
		op.Responses[strconv.Itoa(status)] = response
	}
}

// loginBody describes the form of the login page.
func loginBody() *huma.RequestBody {
	text := func(description string) *huma.Schema {
		return &huma.Schema{Type: huma.TypeString, Description: description}
	}
	form := &huma.Schema{
		Type: huma.TypeObject, Required: []string{"email", "password"},
		Properties: map[string]*huma.Schema{"email": text("Who"), "password": text("Their password"), "next": text("Path to go to afterwards")},
	}
	return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"application/x-www-form-urlencoded": {Schema: form, Example: map[string]any{"email": "ann@example.com", "password": "…", "next": "/monitoring"}},
	}}
}

// exampleProblems gives each error answer of an operation an example of its own.
func exampleProblems(path string, op *huma.Operation) {
	path = strings.ReplaceAll(path, "{id}", "42")
	for code, response := range op.Responses {
		media := response.Content[problemMediaType]
		if media == nil {
			continue
		}
		status, _ := strconv.Atoi(code)
		p := exampleProblem(status, op)
		p.Type, p.Title, p.Status = "about:blank", http.StatusText(status), status
		p.Instance, p.RequestID = path, "WRXY3FPYOUJZ4L6W2PPXG53QCV"
		media.Example = p
	}
}

func exampleProblem(status int, op *huma.Operation) *Problem {
	switch status {
	case http.StatusBadRequest:
		return &Problem{Code: codeInvalidJSON, Detail: "The body is empty; it must be a JSON object."}
	case http.StatusUnauthorized:
		return unauthenticated()
	case http.StatusForbidden:
		return forbidden(auth.Admin, auth.Viewer)
	case http.StatusNotFound:
		return &Problem{Code: codeNotFound, Detail: "There is no such MassRequest."}
	case http.StatusNotAcceptable:
		return notAcceptable()
	case http.StatusRequestTimeout:
		return &Problem{Code: codeTimeout, Detail: "The body did not arrive in time."}
	case http.StatusConflict:
		if op.OperationID == "replay-callback" {
			return &Problem{Code: codeConflict, Detail: detailNoReplay}
		}
		return problemOf(&jobs.TransitionError{From: jobs.Done, To: jobs.Cancelled})
	case http.StatusRequestEntityTooLarge:
		return problemOf(&http.MaxBytesError{Limit: 1 << 20})
	case http.StatusUnsupportedMediaType:
		return &Problem{Code: codeMediaType, Detail: "The Content-Type must be application/json."}
	case http.StatusTooManyRequests:
		return problemOf(errBacklog)
	case http.StatusRequestHeaderFieldsTooLarge:
		return &Problem{Code: codeTooManyHeaders, Detail: "At most 100 header fields are read."}
	case http.StatusServiceUnavailable:
		return &Problem{Code: codeUnavailable, Detail: detailUnavailable}
	case http.StatusInternalServerError:
		return &Problem{Code: codeInternal, Detail: detailInternal}
	}
	switch op.Method {
	case http.MethodPost:
		return invalidBody(payload.Faults{{Pointer: "/payload/request/signals/energy/it_load_kw", Detail: "is required"}})
	case http.MethodPatch:
		return invalidBody(payload.Faults{{Pointer: "/status", Detail: "must be one of " + joined(jobs.Statuses())}})
	}
	if len(op.Parameters) > 0 && op.Parameters[0].In == "path" {
		return invalidParameter("id", "invalid integer")
	}
	return invalidParameter("page", "unknown query parameter")
}

func exampleRequest() MassRequest {
	r := jobs.Request{
		ID: 42, Payload: signals.Example(), Status: jobs.Pending, Priority: jobs.High,
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
