package api

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humamux"
	"github.com/gorilla/mux"

	"github.com/leomutto/pilot-in-a-box/internal/access"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

// This file and the files named openapi_* hold all code that depends on huma,
// except for the struct tags of inputs and the responses that are streams.

const (
	tagRequests   = "MassRequests"
	tagOperations = "Operations"
	tagFigures    = "Figures"
	tagUsers      = "Users and tokens"

	schemeBearer  = "bearer"
	schemeSession = "session"
)

// humaConfig returns a configuration of huma without the parts that this
// package implements itself: reading bodies, and serving and displaying the
// document.
func humaConfig(version string) huma.Config {
	registry := huma.NewMapRegistry("#/components/schemas/", schemaName)
	for from, to := range map[reflect.Type]reflect.Type{
		reflect.TypeFor[jobs.Status]():     reflect.TypeFor[statusSchema](),
		reflect.TypeFor[jobs.Priority]():   reflect.TypeFor[prioritySchema](),
		reflect.TypeFor[signals.Number]():  reflect.TypeFor[numberSchema](),
		reflect.TypeFor[signals.Bool]():    reflect.TypeFor[boolSchema](),
		reflect.TypeFor[signals.Time]():    reflect.TypeFor[timeSchema](),
		reflect.TypeFor[huma.ErrorModel](): reflect.TypeFor[web.Problem](),
	} {
		registry.RegisterTypeAlias(from, to)
	}
	format := huma.Format{Marshal: web.Encode}
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "MASS", Version: version, Description: describeAPI,
				License: &huma.License{Name: "MIT", Identifier: "MIT"},
			},
			Tags: []*huma.Tag{{Name: tagRequests}, {Name: tagFigures}, {Name: tagOperations}},
			Components: &huma.Components{
				Schemas: registry,
				SecuritySchemes: map[string]*huma.SecurityScheme{
					schemeBearer:  {Type: "http", Scheme: "bearer", Description: "An access token from /auth/login, or an API key"},
					schemeSession: {Type: "apiKey", In: "cookie", Name: access.SecureCookie, Description: "A browser session, started on the page /login"},
				},
			},
		},
		Formats:                      map[string]huma.Format{"application/json": format, "json": format},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{transformProblems},
	}
}

// metaRoute is the key under which the metadata of a huma operation holds its
// route.
const metaRoute = "route"

// operation returns an endpoint whose parameters huma checks and documents. It
// turns any error of the handler into a problem.
func operation[I, O any](h func(context.Context, *I) (*O, error)) endpoint {
	return func(s *Server, _ *mux.Router, r routeRow) {
		op := huma.Operation{
			OperationID: r.doc.id, Method: r.method, Path: r.path, DefaultStatus: r.doc.status, Tags: []string{r.doc.tag},
			Summary: r.doc.summary, Description: r.doc.text, Errors: r.doc.errors, Metadata: map[string]any{metaRoute: r},
		}
		huma.Register(s.huma, op, func(ctx context.Context, in *I) (*O, error) {
			out, err := h(ctx, in)
			if err == nil {
				return out, nil
			}
			p := problemOf(err)
			if ctx.Err() != nil && p.Status >= http.StatusInternalServerError { // the handler failed because the client is gone
				p = problemOf(ctx.Err())
			}
			return nil, p
		})
	}
}

// adapter is huma's adapter for mux. It registers each path with and without a
// trailing slash, HEAD along with GET, and puts the role check of the route
// before every handler.
type adapter struct {
	*mux.Router
	guard *access.Guard
}

// Handle implements huma.Adapter.
func (a adapter) Handle(op *huma.Operation, handler func(huma.Context)) {
	r, _ := op.Metadata[metaRoute].(routeRow) // a missing route closes the door, and the server then refuses to start
	door := a.guard.Door(r.role, r.page, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler(blind{humamux.NewContext(op, r, w)})
	}))
	for _, path := range bothForms(op.Path) {
		a.Path(path).Methods(withHead(op.Method)...).Handler(door)
	}
}

// blind hides the header Accept from huma, whose content negotiation panics on
// some values (";0 "). That negotiation is not needed: most operations have one
// media type, and the others negotiate themselves.
type blind struct{ humaContext }

type humaContext = huma.Context // embedding it as huma.Context would hide its method Context

// Unwrap serves humamux.Unwrap.
func (c blind) Unwrap() huma.Context { return c.humaContext }

// Header implements huma.Context.
func (c blind) Header(name string) string {
	if name == "Accept" {
		return ""
	}
	return c.humaContext.Header(name)
}

// JSONBody lets the handler of a huma operation read the body itself. huma
// would parse the body twice, into values that round numbers, and would report
// faults in less detail.
type JSONBody struct{ request *http.Request }

// Resolve implements huma.Resolver.
func (b *JSONBody) Resolve(ctx huma.Context) []error {
	b.request, _ = humamux.Unwrap(ctx)
	return nil
}

// read returns the body, of at most limit bytes. The request must declare it as
// JSON.
func (b *JSONBody) read(limit int64) ([]byte, error) { return web.ReadJSON(b.request, limit) }

// Connection gives an input of a huma operation access to the HTTP request and
// to the writer of the response.
type Connection struct {
	request *http.Request
	writer  http.ResponseWriter
}

// Resolve implements huma.Resolver.
func (c *Connection) Resolve(ctx huma.Context) []error {
	c.request, c.writer = humamux.Unwrap(ctx)
	return nil
}

// answerJSON returns a JSON response for an operation that also has other media
// types.
func (c *Connection) answerJSON(value any) (*huma.StreamResponse, error) {
	var body bytes.Buffer
	if err := web.Encode(&body, value); err != nil {
		return nil, fmt.Errorf("encode an answer: %w", err)
	}
	return &huma.StreamResponse{Body: func(huma.Context) {
		c.writer.Header().Set("Content-Type", web.MediaJSON)
		c.writer.Header().Set("Content-Length", strconv.Itoa(body.Len()))
		_, _ = c.writer.Write(body.Bytes()) // fails only when the client is gone
	}}, nil
}

// checkQuery is a huma middleware that refuses ambiguous and malformed queries.
func checkQuery(ctx huma.Context, next func(huma.Context)) {
	r, w := humamux.Unwrap(ctx)
	if r.URL.RawQuery == "" {
		next(ctx)
		return
	}
	if name, detail := queryFault(r.URL.RawQuery, ctx.Operation()); detail != "" {
		web.WriteProblem(w, r, web.InvalidParameter(name, detail))
		return
	}
	next(ctx)
}

// queryFault returns a parameter and the detail of its fault. An empty detail
// means that the query has no fault.
func queryFault(raw string, op *huma.Operation) (name, detail string) {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return "", "the query is not well-formed: percent signs and semicolons must be escaped"
	}
	for name, values := range query {
		if len(values) > 1 && !mayRepeat(op, name) {
			return name, "must be given once"
		}
		for _, value := range values {
			switch {
			case value == "":
				return name, "must not be empty"
			case strings.ContainsRune(value, 0) || !utf8.ValidString(value):
				return name, "must be UTF-8 without U+0000"
			}
		}
	}
	return "", ""
}

// mayRepeat reports whether a parameter of an operation may be given several
// times.
func mayRepeat(op *huma.Operation, name string) bool {
	return slices.ContainsFunc(op.Parameters, func(p *huma.Param) bool { return p.Name == name && p.Explode != nil && *p.Explode })
}

// transformProblems is a huma.Transformer: it completes the problems of
// handlers and turns huma's own errors into problems.
func transformProblems(ctx huma.Context, _ string, v any) (any, error) {
	switch v := v.(type) {
	case *web.Problem:
		return v.Complete(ctx.Context()), nil
	case *huma.ErrorModel:
		return ofHuma(v).Complete(ctx.Context()), nil
	}
	return v, nil
}

// ofHuma returns the problem for a request whose parameters huma refused. Apart
// from the names of parameters, the problem repeats nothing from the request.
func ofHuma(m *huma.ErrorModel) *web.Problem {
	if m.Status != http.StatusUnprocessableEntity {
		p := web.Internal(m)
		p.Status = m.Status
		return p
	}
	p := &web.Problem{Status: m.Status, Code: web.CodeValidation, Detail: web.DetailValidation}
	for _, e := range m.Errors {
		_, name, _ := strings.Cut(e.Location, ".")
		p.Errors = append(p.Errors, web.FieldError{Parameter: web.Printable(name), Detail: e.Message})
	}
	return p
}

// schemaName adds a prefix to the schemas of package signals, because their
// short names could collide with those of other packages.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.PkgPath() == reflect.TypeFor[signals.Document]().PkgPath() {
		return "Signals" + strings.TrimPrefix(name, "Signals")
	}
	return name
}

// The schemas below replace Go types of packages that do not depend on huma.
type (
	statusSchema   string
	prioritySchema string
	targetSchema   string
	numberSchema   string
	boolSchema     string
	timeSchema     string
	payloadSchema  struct{}
)

// Schema implements huma.SchemaProvider.
func (statusSchema) Schema(huma.Registry) *huma.Schema { return enumOf(jobs.Statuses()) }

// Schema implements huma.SchemaProvider.
func (prioritySchema) Schema(huma.Registry) *huma.Schema { return enumOf(jobs.Priorities()) }

// Schema implements huma.SchemaProvider. It lists the statuses that a client
// can request.
func (targetSchema) Schema(huma.Registry) *huma.Schema {
	var targets []jobs.Status
	for _, t := range jobs.Transitions() {
		if t.Person && t.To != "" {
			targets = append(targets, t.To)
		}
	}
	return enumOf(targets)
}

// Schema implements huma.SchemaProvider.
func (numberSchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{AnyOf: []*huma.Schema{
		{Type: huma.TypeNumber},
		{Type: huma.TypeString, Pattern: `^\s*-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?\s*$`, Description: "a number as a string"},
	}}
}

// Schema implements huma.SchemaProvider.
func (boolSchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{AnyOf: []*huma.Schema{
		{Type: huma.TypeBoolean},
		{Type: huma.TypeString, Pattern: `^\s*(true|false)\s*$`, Description: "a boolean as a string"},
	}}
}

// Schema implements huma.SchemaProvider.
func (timeSchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date-time"}
}

// Schema implements huma.SchemaProvider. A payload is a free-form object or a
// signals document. huma derives the schema of the document from the structs
// into which signals.Decode decodes it.
func (payloadSchema) Schema(r huma.Registry) *huma.Schema {
	free := &huma.Schema{
		Type: huma.TypeObject, Title: "Free form", Description: "Any JSON object; schema_version is absent or 1.0-simple.",
		Properties: map[string]*huma.Schema{
			"schema_version": {Type: huma.TypeString, Enum: []any{payload.VersionFreeForm}},
		},
		AdditionalProperties: true,
	}
	return &huma.Schema{
		Description: "Free form, or a signals document (schema_version 1.1)",
		AnyOf:       []*huma.Schema{free, r.Schema(reflect.TypeFor[signals.Document](), true, "")},
	}
}

// TransformSchema implements huma.SchemaTransformer. It adds the types of
// members that are raw JSON, which huma cannot derive.
func (MassRequest) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	raw := func(name, kind string) *huma.Schema {
		p := s.Properties[name]
		p.Type = kind
		return p
	}
	raw("payload", huma.TypeObject).AdditionalProperties = true
	result := raw("result", huma.TypeObject)
	result.AdditionalProperties, result.Nullable = true, true
	faults := raw("faults", huma.TypeArray)
	faults.Items, faults.Nullable = r.Schema(reflect.TypeFor[payload.Fault](), true, ""), true
	return s
}

func enumOf[T ~string](values []T) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString}
	for _, v := range values {
		s.Enum = append(s.Enum, string(v))
	}
	return s
}
