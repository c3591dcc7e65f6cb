package api

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gorilla/mux"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
	"github.com/leomutto/pilot-in-a-box/store"
)

// offline is a server that reaches neither Postgres nor Redis.
func offline(t testing.TB) *Server {
	t.Helper()
	st, err := store.Open(store.Config{URL: "postgres://u@127.0.0.1:1/db"})
	require.NoError(t, err)
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	cfg := DefaultConfig()
	cfg.Access.Off = true
	s, err := New(st, rdb, queue.NewEnqueuer(rdb, 0), cfg, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = s.Close(context.Background())
		_ = rdb.Close()
		_ = st.Close()
	})
	return s
}

// served is the document as clients get it.
func served(t *testing.T, s *Server) map[string]any {
	t.Helper()
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/openapi.json", nil))
	require.Equal(t, http.StatusOK, rec.Code)
	var doc map[string]any
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &doc))
	return doc
}

// at follows names into a JSON value.
func at(v any, names ...string) any {
	for _, n := range names {
		m, _ := v.(map[string]any)
		v = m[n]
	}
	return v
}

func TestEveryRouteIsDocumented(t *testing.T) {
	t.Parallel()
	s := offline(t)
	paths, _ := served(t, s)["paths"].(map[string]any)
	undocumented := map[string]bool{}
	err := s.huma.Adapter().(adapter).Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		template, err := route.GetPathTemplate()
		if err != nil {
			return err
		}
		methods, err := route.GetMethods()
		if err != nil {
			return err
		}
		for _, method := range methods {
			if method == http.MethodHead { // is what GET is
				continue
			}
			documented := false
			for _, form := range bothForms(template) {
				documented = documented || at(paths, form, strings.ToLower(method)) != nil
			}
			if !documented {
				undocumented[method+" "+template] = true
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.Empty(t, undocumented)
	known := map[string]bool{}
	for _, r := range s.routes() {
		known[r.path] = true
	}
	require.Len(t, paths, len(known), "and nothing else is documented")
}

func TestDocumentIsWhole(t *testing.T) {
	t.Parallel()
	s := offline(t)
	doc := served(t, s)
	require.Equal(t, "3.1.0", doc["openapi"])
	require.NotEmpty(t, at(doc, "info", "title"))
	require.NotEmpty(t, at(doc, "info", "version"))

	var walk func(where string, v any)
	walk = func(where string, v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				name, ok := strings.CutPrefix(ref, "#/components/schemas/")
				require.True(t, ok, ref)
				require.NotNil(t, at(doc, "components", "schemas", name), "%s: %s", where, ref)
			}
			for name, member := range v {
				walk(where+"/"+name, member)
			}
		case []any:
			for i, item := range v {
				walk(fmt.Sprintf("%s/%d", where, i), item)
			}
		}
	}
	walk("", doc)

	ids := map[string]bool{}
	paths, _ := doc["paths"].(map[string]any)
	for path, item := range paths {
		operations, _ := item.(map[string]any)
		for method, op := range operations {
			where := method + " " + path
			require.NotEmpty(t, at(op, "summary"), where)
			id, _ := at(op, "operationId").(string)
			require.NotEmpty(t, id, where)
			require.False(t, ids[id], "%s: operationId %s is taken", where, id)
			ids[id] = true

			var declared []string
			parameters, _ := at(op, "parameters").([]any)
			for _, p := range parameters {
				require.NotNil(t, at(p, "schema"), where)
				if at(p, "in") == "path" {
					require.Equal(t, true, at(p, "required"), where)
					declared = append(declared, at(p, "name").(string))
				}
			}
			for _, name := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
				require.Contains(t, declared, name[1], where)
			}

			errors, examples := 0, 0
			responses, _ := at(op, "responses").(map[string]any)
			for status, response := range responses {
				require.NotEmpty(t, at(response, "description"), "%s %s", where, status)
				if status >= "400" {
					errors++
				}
				content, _ := at(response, "content").(map[string]any)
				for media, c := range content {
					require.NotNil(t, at(c, "example"), "%s %s %s", where, status, media)
					examples++
				}
				if status >= "400" && !strings.HasPrefix(path, "/health") && (path != pathLogin || content["text/html"] == nil) {
					require.NotNil(t, content[web.MediaProblem], "%s %s", where, status)
				}
			}
			require.Positive(t, errors, where)
			require.Positive(t, examples, where)
			if body := at(op, "requestBody"); body != nil && path != pathLogin { // which is a form
				require.NotNil(t, at(body, "content", web.MediaJSON, "schema"), where)
				require.NotEmpty(t, at(body, "content", web.MediaJSON, "examples"), where)
			}
		}
	}
}

// problemsWith validates a value by a schema as huma does.
func problemsWith(s *Server, schema *huma.Schema, value any) []error {
	var res huma.ValidateResult
	huma.Validate(s.huma.OpenAPI().Components.Schemas, schema, huma.NewPathBuffer(nil, 0), huma.ModeWriteToServer, value, &res)
	return res.Errors
}

// generic is a value as JSON has it.
func generic(t *testing.T, v any) any {
	t.Helper()
	raw, err := json.Marshal(v)
	require.NoError(t, err)
	var out any
	require.NoError(t, json.Unmarshal(raw, &out))
	return out
}

func TestExamplesKeepToTheirSchemas(t *testing.T) {
	t.Parallel()
	s := offline(t)
	checked := 0
	check := func(where string, m *huma.MediaType) {
		examples := []any{m.Example}
		for _, e := range m.Examples {
			examples = append(examples, e.Value)
		}
		for _, e := range examples {
			if e != nil {
				require.Empty(t, problemsWith(s, m.Schema, generic(t, e)), where)
				checked++
			}
		}
	}
	for _, r := range s.routes() {
		op := operationOf(s.huma.OpenAPI(), r)
		for status, response := range op.Responses {
			for _, media := range response.Content {
				check(r.method+" "+r.path+" "+status, media)
			}
		}
		if op.RequestBody != nil {
			for _, media := range op.RequestBody.Content {
				check(r.method+" "+r.path, media)
			}
		}
	}
	require.Greater(t, checked, 40)
}

// The schema of a signals payload and the decoder both come of the struct tags
// of package signals. This holds them together where it counts: a document that
// the one refuses is refused by the other.
func TestSchemaAndDecoderAgree(t *testing.T) {
	t.Parallel()
	s := offline(t)
	schema := s.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[signals.Document](), true, "")
	var example map[string]any
	require.NoError(t, json.Unmarshal(signals.Example(), &example))

	tried, refused := 0, 0
	agree := func(what string) {
		raw, err := json.Marshal(example)
		require.NoError(t, err)
		_, faults := signals.Decode(raw)
		problems := problemsWith(s, schema, generic(t, example))
		require.Equal(t, len(faults) > 0, len(problems) > 0, "%s: decoder %v, schema %v", what, faults, problems)
		tried++
		if len(faults) > 0 {
			refused++
		}
	}
	agree("the example")
	var vary func(path string, object map[string]any)
	vary = func(path string, object map[string]any) {
		object["surprise"] = 1
		agree(path + "/surprise added")
		delete(object, "surprise")
		for name, value := range object {
			where := path + "/" + name
			delete(object, name)
			agree(where + " removed")
			for _, other := range []any{
				map[string]any{}, []any{}, "zzz", "", "12.5", "1e5", "+1", "0x10", " 7 ", "true", "1.1", "prod", 12345, -0.5, true,
				strings.Repeat("x", 200), strings.Repeat("x", 201), "2026-03-01T10:00:00Z", "2026-03-01 10:00", "2026-03-01T10:00:00+02:00",
			} {
				object[name] = other
				agree(fmt.Sprintf("%s = %v", where, other))
			}
			object[name] = value
			if inner, ok := value.(map[string]any); ok {
				vary(where, inner)
			}
		}
	}
	vary("", example)
	require.Greater(t, tried, 1000)
	require.Greater(t, refused, 500)
	t.Logf("%d documents, %d of them refused by both", tried, refused)
}

// Envelopes are read by decode and described by structs.
func TestEnvelopesAgree(t *testing.T) {
	t.Parallel()
	s := offline(t)
	schemas := s.huma.OpenAPI().Components.Schemas
	submission := schemas.Schema(reflect.TypeFor[Submission](), true, "")
	change := schemas.Schema(reflect.TypeFor[StatusChange](), true, "")
	bulk := schemas.Schema(reflect.TypeFor[BulkMove](), true, "")
	for _, body := range []string{
		`{}`, `[]`, `"x"`, `{"payload":{}}`, `{"payload":[]}`, `{"payload":null}`, `{"payload":{"a":1},"priority":"low"}`,
		`{"payload":{},"run_at":"2026-03-01T10:00:00Z"}`, `{"payload":{},"run_at":"tomorrow"}`, `{"payload":{},"expires_at":3}`,
		`{"payload":{},"callback_url":"https://example.com/hook"}`, `{"payload":{},"callback_url":3}`, `{"payload":{},"callback_url":"://"}`,
		`{"payload":{},"priority":"urgent"}`, `{"payload":{},"priority":3}`, `{"payload":{},"more":1}`,
		`{"payload":{"schema_version":"1.0-simple"}}`, `{"payload":{"schema_version":"1.1"}}`, `{"payload":{"schema_version":"9"}}`,
		`{"payload":` + string(signals.Example()) + `}`, `{"status":"pending"}`, `{"status":"cancelled"}`, `{"status":"lost"}`, `{"status":1}`,
		`{"action":"cancel","all":true}`, `{"action":"delete","all":true}`, `{"action":1,"all":true}`, `{"action":"cancel","all":1}`,
		`{"action":"replay","filter":{"status":"done","site_id":"s","cluster_id":"c","created_from":"2026-03-01T10:00:00Z"},"limit":5,"dry_run":true}`,
		`{"action":"replay","filter":{"status":"lost"}}`, `{"action":"replay","filter":{"site_id":""}}`, `{"action":"replay","filter":{"site_id":3}}`,
		`{"action":"replay","filter":{"created_before":"today"}}`, `{"action":"replay","filter":{"page":1}}`, `{"action":"replay","filter":[]}`,
		`{"action":"replay","all":true,"limit":0}`, `{"action":"replay","all":true,"limit":10001}`, `{"action":"replay","all":true,"limit":1.5}`,
		`{"action":"replay","all":true,"dry_run":"yes"}`, `{"action":"replay","all":true,"cursor":1}`, `{"action":"replay","all":true,"more":1}`,
	} {
		var value any
		require.NoError(t, json.Unmarshal([]byte(body), &value))
		_, err := decodeSubmission([]byte(body), limits)
		require.Equal(t, err != nil, len(problemsWith(s, submission, value)) > 0, "%s: %v", body, err)
		_, err = decodeStatusChange([]byte(body))
		require.Equal(t, err != nil, len(problemsWith(s, change, value)) > 0, "%s: %v", body, err)
		_, err = decodeBulk([]byte(body))
		require.Equal(t, err != nil, len(problemsWith(s, bulk, value)) > 0, "%s: %v", body, err)
	}
}

func TestCodesAreListed(t *testing.T) {
	t.Parallel()
	field, ok := reflect.TypeFor[web.Problem]().FieldByName("Code")
	require.True(t, ok)
	listed := strings.Split(field.Tag.Get("enum"), ",")
	for _, code := range []string{
		web.CodeInvalidJSON, web.CodeUnauthenticated, web.CodeCrossOrigin, web.CodeForbidden, web.CodeTooManyHeaders, web.CodeNotFound, web.CodeMethod, web.CodeNotAcceptable, web.CodeTimeout, web.CodeConflict, web.CodeTransition, web.CodeTooLarge, web.CodeMediaType,
		web.CodeValidation, web.CodeKeyReused, web.CodeBacklogFull, web.CodeClientClosed, web.CodeInternal, web.CodeUnavailable,
	} {
		require.Contains(t, listed, code)
	}
}
