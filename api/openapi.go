package api

import (
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

const (
	tagRequests   = "MassRequests"
	tagOperations = "Operations"

	schemeBearer  = "bearer"
	schemeSession = "session"

	describeAPI = "MASS takes MassRequests (free-form JSON, or signals of a data center's energy, thermal, cooling and workload), " +
		"works on them in the background and keeps their results.\n\n" +
		"Every path works with and without the slash at its end. Every error is an RFC 9457 problem with a `code` for programs " +
		"and a `request_id` for the logs; a sane X-Request-Id of yours is taken over."
	describeSubmit = "The answer comes when the MassRequest is stored for good; from then on it will come to an end, whatever " +
		"happens to the servers. A payload with schema_version 1.1 must have the shape of SignalsDocument; its meaning is judged later, " +
		"by the worker. In it, null counts as absent. Names given twice, U+0000 and lone surrogates are refused."
	describeGet = "With `wait` the answer comes when the MassRequest is final (done, failed or cancelled), and otherwise, with the " +
		"status it has then, when the time is over. Any number of clients may wait: they cost the database nothing each."
	describeEvents = "As JSON: the history, oldest first, in pages; follow `next`. As text/event-stream: the history, and then every " +
		"event at once as it happens. The `id` of an event is that of the JSON form, its name is the `action`, its data is the same JSON " +
		"object. When the MassRequest is final and everything was sent, an event `end` follows and the stream ends: close it " +
		"then, for browsers connect again. Who connects again with the last event's id is answered 204. A stream without `end` was " +
		"cut off: go on with Last-Event-ID, which browsers send by themselves. The events of a deleted MassRequest stay."
	describeList = "Filters restrict together. Follow `next` for the next page: rows that come in between are neither repeated nor " +
		"do they push others out."
	describeStatus = "`cancelled` stops a pending or processing MassRequest; `pending` does a done, failed or cancelled one again. " +
		"Anything else is answered 409, with the statuses that are allowed now."
	describeDelete   = "In whatever status it is; a worker that has it is told to stop. Its audit events stay."
	describeCallback = "When a MassRequest with a `callback_url` is done, failed or cancelled, a message is posted there: " +
		"`{\"type\": \"mass_request.done\", \"timestamp\": …, \"data\": {\"id\", \"status\", \"error\", \"faults\", \"attempt\", \"failures\", \"site_id\", " +
		"\"cluster_id\", \"correlation_id\", \"schema_version\", \"created_at\", \"finished_at\", \"url\"}}`, without payload and result, signed as " +
		"standardwebhooks.com says. 2xx means taken, 410 that no more tries are wanted; everything else is tried again for about a day, and is " +
		"dead then. A message may come more than once; its webhook-id tells."
	describeReplay = "Sends the latest message again, at once and with all its tries, whether it is dead or was delivered; the webhook-id " +
		"stays the same. While it is pending the answer is 409."
	describeReady = "200 as long as submissions can be accepted, which takes Postgres and its schema. Without Redis the status is " +
		"degraded: submissions are stored, and worked on when Redis is back. 503 also while the server shuts down."
)

// humaConfig is huma without what we do ourselves: reading bodies, serving the
// document and showing it.
func humaConfig(version string) huma.Config {
	registry := huma.NewMapRegistry("#/components/schemas/", schemaName)
	for from, to := range map[reflect.Type]reflect.Type{
		reflect.TypeFor[jobs.Status]():     reflect.TypeFor[statusSchema](),
		reflect.TypeFor[jobs.Priority]():   reflect.TypeFor[prioritySchema](),
		reflect.TypeFor[signals.Number]():  reflect.TypeFor[numberSchema](),
		reflect.TypeFor[signals.Bool]():    reflect.TypeFor[boolSchema](),
		reflect.TypeFor[signals.Time]():    reflect.TypeFor[timeSchema](),
		reflect.TypeFor[huma.ErrorModel](): reflect.TypeFor[Problem](),
	} {
		registry.RegisterTypeAlias(from, to)
	}
	format := huma.Format{Marshal: encode}
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "MASS", Version: version, Description: describeAPI,
				License: &huma.License{Name: "MIT", Identifier: "MIT"},
			},
			Tags: []*huma.Tag{{Name: tagRequests}, {Name: tagOperations}},
			Components: &huma.Components{
				Schemas: registry,
				SecuritySchemes: map[string]*huma.SecurityScheme{
					schemeBearer:  {Type: "http", Scheme: "bearer", Description: "An access token of /auth/login, or an API key"},
					schemeSession: {Type: "apiKey", In: "cookie", Name: cookieName, Description: "The session of a browser, by the page /login"},
				},
			},
		},
		Formats:                      map[string]huma.Format{"application/json": format, "json": format},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{transformProblems},
	}
}

// documentAccess says of every operation who may call it, and how those are
// answered who may not.
func documentAccess(doc *huma.OpenAPI, table []rule) {
	problem := doc.Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "")
	rules := map[routeKey]rule{}
	for _, r := range table {
		rules[keyOf(r.method, r.path)] = r
	}
	for path, item := range doc.Paths {
		for _, op := range operationsOf(item) {
			refusal := func(status int, description string) {
				if op.Responses[strconv.Itoa(status)] == nil {
					op.Responses[strconv.Itoa(status)] = &huma.Response{
						Description: http.StatusText(status) + ": " + description,
						Content:     map[string]*huma.MediaType{problemMediaType: {Schema: problem}},
					}
				}
			}
			refusal(http.StatusRequestHeaderFieldsTooLarge, "more header fields than are read")
			r := rules[keyOf(op.Method, path)]
			if r.role == anyone {
				op.Security = []map[string][]string{} // none, said aloud
				if op.Method == http.MethodPost {
					refusal(http.StatusForbidden, "another site's page made the browser ask")
					refusal(http.StatusTooManyRequests, "more requests a second than the address may send")
				}
				continue
			}
			op.Security = []map[string][]string{{schemeBearer: {}}, {schemeSession: {}}}
			op.Description = strings.TrimSpace(op.Description + "\n\nTakes the role " + string(r.role) + ".")
			delete(op.Responses, "401") // of those that name it themselves: here it has a header
			refusal(http.StatusUnauthorized, "no token, or one that does not hold")
			op.Responses["401"].Headers = map[string]*huma.Param{
				"WWW-Authenticate": {Description: "Bearer", Schema: &huma.Schema{Type: huma.TypeString}},
			}
			delete(op.Responses, "403")
			refusal(http.StatusForbidden, "the role does not suffice, or another site's page made the browser ask")
			refusal(http.StatusTooManyRequests, "more requests a second than the caller, or the address without a token, may send")
			refusal(http.StatusServiceUnavailable, "who asks cannot be looked up now")
			if r.page && op.Responses["303"] == nil {
				op.Responses["303"] = &huma.Response{Description: "To a browser that nobody is logged in with: the login page"}
			}
		}
	}
}

// operationsOf lists the operations of a path.
func operationsOf(item *huma.PathItem) []*huma.Operation {
	var list []*huma.Operation
	for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
		if op != nil {
			list = append(list, op)
		}
	}
	return list
}

// schemaName keeps the many short names of package signals apart from others.
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

// The schemas below stand for Go types of packages that do not know huma.
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

// Schema implements huma.SchemaProvider: what a person may ever ask for.
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

// Schema implements huma.SchemaProvider: free form, or the signals document,
// whose schema huma makes of the structs that signals.Decode reads.
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

// TransformSchema implements huma.SchemaTransformer: raw JSON has no type that huma could see.
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
