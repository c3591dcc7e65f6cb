package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/leomutto/pilot-in-a-box/api/intake"
	"github.com/leomutto/pilot-in-a-box/internal/access"
	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/refusal"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/store"
)

// routeDoc is the documentation of a route.
type routeDoc struct {
	id, tag, summary, text string
	status                 int                // of the response; 0: 200, or 204 without a body
	errors                 []int              // statuses of its problems; huma adds 422 and 500
	media                  string             // media type of a page; "": web.MediaHTML
	complete               func(documentedOp) // adds bodies and examples; nil: nothing to add
}

// documentedOp is an operation of the document, to which bodies and examples
// are being added.
type documentedOp struct {
	doc *huma.OpenAPI
	*huma.Operation
}

// document serves the OpenAPI document. huma describes the operations; this
// file adds the bodies that the operations read themselves and an example of
// each response.
type document struct{ json []byte }

// ServeHTTP implements http.Handler.
func (d *document) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", web.MediaJSON)
	w.Header().Set("Content-Length", strconv.Itoa(len(d.json)))
	_, _ = w.Write(d.json) // fails only when the client is gone
}

// render completes the document and stores it as JSON. No route may be added
// after that.
func (d *document) render(doc *huma.OpenAPI, routes []routeRow) (err error) {
	for _, r := range routes {
		if r.doc.complete != nil {
			r.doc.complete(documentedOp{doc, operationOf(doc, r)})
		}
	}
	documentAccess(doc, routes)
	for _, r := range routes {
		exampleProblems(r.path, operationOf(doc, r))
	}
	if d.json, err = json.Marshal(doc); err != nil {
		return fmt.Errorf("render the OpenAPI document: %w", err)
	}
	return nil
}

// operationOf returns the operation of a route.
func operationOf(doc *huma.OpenAPI, r routeRow) *huma.Operation {
	item := doc.Paths[r.path]
	return map[string]*huma.Operation{
		http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodPatch: item.Patch, http.MethodDelete: item.Delete,
	}[r.method]
}

// reads describes a body that the operation reads itself.
func (op documentedOp) reads(schema reflect.Type, examples map[string]*huma.Example) {
	op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		web.MediaJSON: {Schema: op.schema(schema), Examples: examples},
	}}
}

// answers sets the example of the response with the given status.
func (op documentedOp) answers(status int, example any) {
	op.Responses[strconv.Itoa(status)].Content[web.MediaJSON].Example = example
}

// answersTable describes a response that is JSON or a table: an example of each,
// and the first two lines of the table.
func (op documentedOp) answersTable(example any, header, row string) {
	text := &huma.Schema{Type: huma.TypeString}
	names, values := strings.Split(header, ","), strings.Split(row, ",")
	line := fmt.Sprintf("{%q:%q, …, %q:%q}\n", names[0], values[0], names[1], values[1])
	op.Responses["200"].Content = map[string]*huma.MediaType{
		web.MediaJSON:   {Schema: op.schema(reflect.TypeOf(example)), Example: example},
		web.MediaCSV:    {Schema: text, Example: header + "\r\n" + row + "\r\n"},
		web.MediaNDJSON: {Schema: text, Example: line},
	}
}

func (op documentedOp) schema(of reflect.Type) *huma.Schema {
	return op.doc.Components.Schemas.Schema(of, true, "")
}

// oneExample returns the examples of a body that has only one.
func oneExample(summary string, value any) map[string]*huma.Example {
	return map[string]*huma.Example{"one": {Summary: summary, Value: value}}
}

// describePage adds a route that is not a huma operation to the document.
func describePage(doc *huma.OpenAPI, r routeRow) {
	problem := doc.Components.Schemas.Schema(reflect.TypeFor[web.Problem](), true, "")
	status := strconv.Itoa(cmp.Or(r.doc.status, http.StatusOK))
	doc.AddOperation(&huma.Operation{
		OperationID: r.doc.id, Method: r.method, Path: r.path, Tags: []string{tagOperations}, Summary: r.doc.summary,
		Responses: map[string]*huma.Response{
			status: {Description: r.doc.summary, Content: map[string]*huma.MediaType{
				cmp.Or(r.doc.media, web.MediaHTML): {Schema: &huma.Schema{Type: huma.TypeString}, Example: "<!DOCTYPE html>…"},
			}},
			"500": {Description: http.StatusText(http.StatusInternalServerError), Content: map[string]*huma.MediaType{
				web.MediaProblem: {Schema: problem},
			}},
		},
	})
}

// documentDocument describes the document itself.
func documentDocument(op documentedOp) {
	m := op.Responses["200"].Content[web.MediaJSON]
	m.Schema, m.Example = &huma.Schema{Type: huma.TypeObject}, map[string]any{"openapi": op.doc.OpenAPI, "info": op.doc.Info}
}

// documentAccess documents which role every operation requires and which
// responses other callers get.
func documentAccess(doc *huma.OpenAPI, routes []routeRow) {
	problem := doc.Components.Schemas.Schema(reflect.TypeFor[web.Problem](), true, "")
	for _, r := range routes {
		op := operationOf(doc, r)
		refusal := func(status int, description string) {
			if op.Responses[strconv.Itoa(status)] == nil {
				op.Responses[strconv.Itoa(status)] = &huma.Response{
					Description: http.StatusText(status) + ": " + description,
					Content:     map[string]*huma.MediaType{web.MediaProblem: {Schema: problem}},
				}
			}
		}
		refusal(http.StatusRequestHeaderFieldsTooLarge, "too many header fields")
		if r.role == access.Anyone {
			op.Security = []map[string][]string{} // explicitly none
			if op.Method == http.MethodPost {
				refusal(http.StatusForbidden, "the page of another site made the browser send the request")
				refusal(http.StatusTooManyRequests, "the rate limit of the address is exceeded")
			}
			continue
		}
		op.Security = []map[string][]string{{schemeBearer: {}}, {schemeSession: {}}}
		op.Description = strings.TrimSpace(op.Description + "\n\nRequires the role " + string(r.role) + ".")
		delete(op.Responses, "401") // replace the response that the operation lists; this one has a header
		refusal(http.StatusUnauthorized, "no token, or one that is not valid")
		op.Responses["401"].Headers = map[string]*huma.Param{
			"WWW-Authenticate": {Description: "Bearer", Schema: &huma.Schema{Type: huma.TypeString}},
		}
		delete(op.Responses, "403")
		refusal(http.StatusForbidden, "the caller's role does not suffice, or the page of another site made the browser send the request")
		refusal(http.StatusTooManyRequests, "the rate limit of the caller, or of the address of requests without a valid token, is exceeded")
		refusal(http.StatusServiceUnavailable, "the caller cannot be looked up now")
		if r.page && op.Responses["303"] == nil {
			op.Responses["303"] = &huma.Response{Description: "Redirects a browser without a session to the login page"}
		}
	}
}

// documentLogin describes the form of the login page and the responses to a
// form that the page refuses.
func documentLogin(op documentedOp) {
	op.RequestBody = loginBody()
	problem := op.schema(reflect.TypeFor[web.Problem]())
	for status, why := range map[int]string{
		http.StatusUnauthorized: "the address or the password is wrong", http.StatusConflict: "there is nothing to log in to",
		http.StatusUnprocessableEntity: "one of them is missing", http.StatusTooManyRequests: "there were too many attempts",
		http.StatusServiceUnavailable: "the database cannot be reached",
		http.StatusBadRequest:         "", http.StatusRequestTimeout: "", http.StatusRequestEntityTooLarge: "",
	} {
		response := &huma.Response{Description: http.StatusText(status), Content: map[string]*huma.MediaType{}}
		if why != "" {
			response.Description += ": the page again, which says that " + why
			response.Content["text/html"] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}, Example: "<!DOCTYPE html>…"}
		}
		if why == "" || status == http.StatusTooManyRequests {
			response.Content[web.MediaProblem] = &huma.MediaType{Schema: problem}
		}
		op.Responses[strconv.Itoa(status)] = response
	}
}

// loginBody describes the form of the login page.
func loginBody() *huma.RequestBody {
	field := func(description string) *huma.Schema {
		return &huma.Schema{Type: huma.TypeString, Description: description}
	}
	form := &huma.Schema{
		Type: huma.TypeObject, Required: []string{"email", "password"},
		Properties: map[string]*huma.Schema{"email": field("E-mail address"), "password": field("Password"), "next": field("Path to go to afterwards")},
	}
	return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"application/x-www-form-urlencoded": {Schema: form, Example: map[string]any{"email": "ann@example.com", "password": "…", "next": "/monitoring"}},
	}}
}

// exampleProblems gives each problem response of an operation its own example.
func exampleProblems(path string, op *huma.Operation) {
	path = strings.ReplaceAll(path, "{id}", "42")
	for code, response := range op.Responses {
		media := response.Content[web.MediaProblem]
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

func exampleProblem(status int, op *huma.Operation) *web.Problem {
	switch status {
	case http.StatusBadRequest:
		return web.EmptyBody()
	case http.StatusUnauthorized:
		return access.Unauthenticated()
	case http.StatusForbidden:
		return access.Forbidden(auth.Admin, auth.Viewer)
	case http.StatusNotFound:
		return problemOf(&store.NotFoundError{Noun: store.NounRequest})
	case http.StatusNotAcceptable:
		return web.NotAcceptable(web.MediaJSON, web.MediaEventStream)
	case http.StatusRequestTimeout:
		return web.BodyTimeout()
	case http.StatusConflict:
		if op.OperationID == "replay-callback" {
			return problemOf(&store.ConflictError{Noun: store.NounCallback})
		}
		return problemOf(&jobs.TransitionError{From: jobs.StatusDone, To: jobs.StatusCancelled})
	case http.StatusRequestEntityTooLarge:
		return web.TooLarge(1 << 20)
	case http.StatusUnsupportedMediaType:
		return web.UnsupportedMedia(web.MediaJSON)
	case http.StatusTooManyRequests:
		return problemOf(intake.ErrBacklogFull)
	case http.StatusRequestHeaderFieldsTooLarge:
		return web.TooManyHeaders(100)
	case http.StatusServiceUnavailable:
		return refusal.Unavailable(nil)
	case http.StatusInternalServerError:
		return web.Internal(nil)
	}
	switch op.Method {
	case http.MethodPost:
		return web.InvalidBody(payload.Faults{{Pointer: "/payload/request/signals/energy/it_load_kw", Detail: "is required"}})
	case http.MethodPatch:
		return web.InvalidBody(payload.Faults{{Pointer: "/status", Detail: "must be one of " + web.Joined(jobs.Statuses())}})
	}
	if len(op.Parameters) > 0 && op.Parameters[0].In == "path" {
		return web.InvalidParameter("id", "invalid integer")
	}
	return web.InvalidParameter("page", "unknown query parameter")
}
