package api_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/api"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

// refusal is a request that must be refused, and what the problem must say.
type refusal struct {
	name               string
	method, path, body string
	headers            []string
	status             int
	code               string
	fault              string // pointer or parameter that must be named; "" when none must
	detail             string // part of the answer
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const (
		malformed = "invalid_json"
		invalid   = "validation_failed"
		media     = "unsupported_media_type"
	)
	post := func(name, body string, status int, code, fault, detail string) refusal {
		return refusal{name: name, method: http.MethodPost, path: "/mass-requests/", body: body, status: status, code: code, fault: fault, detail: detail}
	}
	get := func(name, path, fault, detail string) refusal {
		return refusal{name: name, method: http.MethodGet, path: path, status: 422, code: invalid, fault: fault, detail: detail}
	}
	patch := func(name, body string, status int, code, fault string) refusal {
		return refusal{name: name, method: http.MethodPatch, path: "/mass-requests/1/status", body: body, status: status, code: code, fault: fault}
	}
	sig := func(name, old, changed, fault, detail string) refusal {
		text := string(signals.Example())
		require.Contains(t, text, old, name)
		return post(name, `{"payload":`+strings.Replace(text, old, changed, 1)+`}`, 422, invalid, "/payload"+fault, detail)
	}
	deep := strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 40)

	table := []refusal{
		// Text that is no JSON value.
		post("run_at a word", `{"payload":{},"run_at":"soon"}`, 422, invalid, "/run_at", "RFC 3339"),
		post("run_at a number", `{"payload":{},"run_at":17}`, 422, invalid, "/run_at", "RFC 3339"),
		post("run_at before 1970", `{"payload":{},"run_at":"1969-12-31T23:59:59Z"}`, 422, invalid, "/run_at", "1970"),
		post("run_at on February 30", `{"payload":{},"run_at":"2026-02-30T00:00:00Z"}`, 422, invalid, "/run_at", ""),
		post("expires_at without zone", `{"payload":{},"expires_at":"2026-03-01T00:00:00"}`, 422, invalid, "/expires_at", ""),
		post("expires before it runs", `{"payload":{},"run_at":"2027-03-01T00:00:00Z","expires_at":"2027-03-01T00:00:00Z"}`, 422, invalid, "/expires_at", "after run_at"),
		post("blank body", " \n", 400, malformed, "", "empty"),
		post("word", `nonsense`, 400, malformed, "", "not valid JSON"),
		post("cut off", `{"payload":{"a":1}`, 400, malformed, "", "not valid JSON"),
		post("cut off in a string", `{"payload":{"a":"x`, 400, malformed, "", ""),
		post("cut off after a name", `{"payload"`, 400, malformed, "", ""),
		post("trailing comma", `{"payload":{},}`, 400, malformed, "", ""),
		post("single quotes", `{'payload':{}}`, 400, malformed, "", ""),
		post("comment", `{"payload":{}/**/}`, 400, malformed, "", ""),
		post("NaN", `{"payload":{"a":NaN}}`, 400, malformed, "", ""),
		post("Infinity", `{"payload":{"a":-Infinity}}`, 400, malformed, "", ""),
		post("leading zero", `{"payload":{"a":01}}`, 400, malformed, "", ""),
		post("bad escape", `{"payload":{"a":"\x"}}`, 400, malformed, "", ""),
		post("raw NUL", "{\"payload\":{\"a\":\"\x00\"}}", 400, malformed, "", ""),
		post("raw newline in a string", "{\"payload\":{\"a\":\"\n\"}}", 400, malformed, "", ""),
		post("byte order mark", "\ufeff{\"payload\":{}}", 400, malformed, "", ""),
		post("garbage behind", `{"payload":{}} x`, 400, malformed, "", "more follows"),
		post("two values", `{"payload":{}}{"payload":{}}`, 400, malformed, "", "more follows"),
		post("ten thousand levels", `{"payload":`+strings.Repeat(`[`, 20000), 400, malformed, "", ""),

		// JSON that is no submission.
		post("null", `null`, 422, invalid, "", "must be an object, got null"),
		post("array", `[{"payload":{}}]`, 422, invalid, "", "must be an object, got an array"),
		post("string", `"payload"`, 422, invalid, "", "must be an object, got a string"),
		post("number", `1`, 422, invalid, "", "must be an object, got a number"),
		post("no payload", `{}`, 422, invalid, "/payload", "is required"),
		post("payload null", `{"payload":null}`, 422, invalid, "/payload", "must be a JSON object, got null"),
		post("payload array", `{"payload":[]}`, 422, invalid, "/payload", "got an array"),
		post("payload string", `{"payload":"{}"}`, 422, invalid, "/payload", "got a string"),
		post("payload number", `{"payload":3}`, 422, invalid, "/payload", "got a number"),
		post("unknown field", `{"payload":{},"prio":"high"}`, 422, invalid, "/prio", "not a field"),
		post("field in capitals", `{"Payload":{}}`, 422, invalid, "/Payload", "not a field"),
		post("field with a slash", `{"payload":{},"a/b~c":1}`, 422, invalid, "/a~1b~0c", "not a field"),
		post("payload twice", `{"payload":{},"payload":{}}`, 422, invalid, "/payload", "twice"),
		post("priority unknown", `{"payload":{},"priority":"urgent"}`, 422, invalid, "/priority", "high, default, low"),
		post("priority in capitals", `{"payload":{},"priority":"High"}`, 422, invalid, "/priority", ""),
		post("priority empty", `{"payload":{},"priority":""}`, 422, invalid, "/priority", ""),
		post("priority number", `{"payload":{},"priority":1}`, 422, invalid, "/priority", ""),
		post("both wrong", `{"payload":1,"priority":1}`, 422, invalid, "/priority", "got a number"),

		// Payloads that cannot be stored.
		post("too deep", `{"payload":`+deep+`}`, 422, invalid, "/payload"+strings.Repeat("/a", 32), "nested deeper than 32"),
		post("name twice", `{"payload":{"a":{"b":1,"b":2}}}`, 422, invalid, "/payload/a/b", "twice"),
		post("name twice by escapes", `{"payload":{"a":1,"\u0061":2}}`, 422, invalid, "/payload/a", "twice"),
		post("NUL in a string", `{"payload":{"a":"x\u0000"}}`, 422, invalid, "/payload/a", "U+0000"),
		post("NUL in a name", `{"payload":{"\u0000":1}}`, 422, invalid, "/payload/\ufffd", "U+0000"),
		post("lone surrogate", `{"payload":{"a":"\ud800"}}`, 422, invalid, "/payload/a", ""),
		post("surrogates in the wrong order", `{"payload":{"a":"\udc00\ud800"}}`, 422, invalid, "/payload/a", ""),
		post("bad UTF-8", "{\"payload\":{\"a\":\"\xff\"}}", 422, invalid, "/payload/a", "UTF-8"),
		post("overlong UTF-8", "{\"payload\":{\"a\":\"\xc0\xaf\"}}", 422, invalid, "/payload/a", "UTF-8"),
		post("huge number", `{"payload":{"a":1e999999}}`, 422, invalid, "/payload/a", "digits"),
		post("unknown version", `{"payload":{"schema_version":"2.0"}}`, 422, invalid, "/payload/schema_version", "1.1"),
		post("version is a number", `{"payload":{"schema_version":1.1}}`, 422, invalid, "/payload/schema_version", ""),

		// Signals of the wrong shape.
		sig("no load", `"it_load_kw": 812.5,`, ``, "/request/signals/energy/it_load_kw", "is required"),
		sig("load is null", `"it_load_kw": 812.5`, `"it_load_kw": null`, "/request/signals/energy/it_load_kw", ""),
		sig("load is text", `"it_load_kw": 812.5`, `"it_load_kw": "much"`, "/request/signals/energy/it_load_kw", "number"),
		sig("load is an object", `"it_load_kw": 812.5`, `"it_load_kw": {}`, "/request/signals/energy/it_load_kw", "number"),
		sig("unknown signal", `"chiller_kw"`, `"chiller_mw"`, "/request/signals/cooling/chiller_mw", "not a field"),
		sig("unknown environment", `"environment": "prod"`, `"environment": "moon"`, "/request/environment", "staging"),
		sig("other mode", `"mode": "shadow"`, `"mode": "control"`, "/request/mode", "shadow"),
		sig("bad time", `"start_utc": "2026-03-01T10:00:00Z"`, `"start_utc": "yesterday"`, "/request/time_window/start_utc", "RFC 3339"),
		sig("blank site", `"site_id": "site-1"`, `"site_id": ""`, "/request/assets/site_id", ""),
		sig("long site", `"site_id": "site-1"`, `"site_id": "`+strings.Repeat("x", 201)+`"`, "/request/assets/site_id", "200"),
		sig("bad traceparent", `"00-4bf92f`, `"01-4bf92f`, "/trace/traceparent", "traceparent"),
		sig("bool as a number", `"no_pii": true`, `"no_pii": 1`, "/request/data_contract/no_pii", "boolean"),
		post("no request", `{"payload":{"schema_version":"1.1"}}`, 422, invalid, "/payload/request", "is required"),

		// Media.
		{
			name: "form", method: http.MethodPost, path: "/mass-requests/", body: "payload=1", status: 415, code: media,
			headers: []string{"Content-Type", "application/x-www-form-urlencoded"}, detail: "application/json",
		},
		{
			name: "text", method: http.MethodPost, path: "/mass-requests/", body: `{"payload":{}}`, status: 415, code: media,
			headers: []string{"Content-Type", "text/plain"},
		},
		{
			name: "no type", method: http.MethodPost, path: "/mass-requests/", body: `{"payload":{}}`, status: 415, code: media,
			headers: []string{"Content-Type", ""},
		},
		{name: "nothing at all", method: http.MethodPost, path: "/mass-requests/", status: 415, code: media},
		{
			name: "empty body", method: http.MethodPost, path: "/mass-requests/", status: 400, code: malformed,
			headers: []string{"Content-Type", "application/json"}, detail: "empty",
		},
		{
			name: "not a type", method: http.MethodPost, path: "/mass-requests/", body: `{"payload":{}}`, status: 415, code: media,
			headers: []string{"Content-Type", "application/json; ="},
		},
		{
			name: "other charset", method: http.MethodPost, path: "/mass-requests/", body: `{"payload":{}}`, status: 415, code: media,
			headers: []string{"Content-Type", "application/json; charset=utf-16"}, detail: "UTF-8",
		},
		{
			name: "compressed", method: http.MethodPost, path: "/mass-requests/", body: `{"payload":{}}`, status: 415, code: media,
			headers: []string{"Content-Encoding", "gzip"}, detail: "Content-Encoding",
		},

		// Paths.
		get("id is a word", "/mass-requests/abc", "id", ""),
		get("id zero", "/mass-requests/0", "id", ""),
		get("id negative", "/mass-requests/-1", "id", ""),
		get("id too large", "/mass-requests/9223372036854775808", "id", ""),
		get("id with a fraction", "/mass-requests/1.5", "id", ""),
		get("id with NUL", "/mass-requests/%00", "id", ""),
		get("id in hex", "/mass-requests/0x1", "id", ""),
		{name: "delete a word", method: http.MethodDelete, path: "/mass-requests/abc", status: 422, code: invalid, fault: "id"},
		{name: "patch a word", method: http.MethodPatch, path: "/mass-requests/abc/status", body: `{"status":"pending"}`, status: 422, code: invalid, fault: "id"},
		{name: "unknown id", method: http.MethodGet, path: "/mass-requests/9223372036854775807", status: 404, code: "not_found"},
		{name: "delete unknown id", method: http.MethodDelete, path: "/mass-requests/999", status: 404, code: "not_found"},
		{name: "unknown path", method: http.MethodGet, path: "/mass-request", status: 404, code: "not_found"},
		{name: "two slashes", method: http.MethodGet, path: "//mass-requests/", status: 404, code: "not_found"},
		{name: "slash in the id", method: http.MethodGet, path: "/mass-requests/1%2F2", status: 404, code: "not_found"},
		{name: "put", method: http.MethodPut, path: "/mass-requests/1", status: 405, code: "method_not_allowed", detail: "GET, HEAD, DELETE"},
		{name: "delete all", method: http.MethodDelete, path: "/mass-requests/", status: 405, code: "method_not_allowed", detail: "GET, HEAD, POST"},
		{name: "post to health", method: http.MethodPost, path: "/health", body: "{}", status: 405, code: "method_not_allowed", detail: "GET, HEAD"},
		{name: "post to the document", method: http.MethodPost, path: "/openapi.json", status: 405, code: "method_not_allowed"},

		// Queries.
		get("unknown parameter", "/mass-requests/?page=2", "page", "unknown"),
		{name: "parameter for a post", method: http.MethodPost, path: "/mass-requests/?dry_run=1", body: `{"payload":{}}`, status: 422, code: invalid, fault: "dry_run"},
		get("parameter for one", "/mass-requests/1?fields=id", "fields", "unknown"),
		get("limit zero", "/mass-requests/?limit=0", "limit", ""),
		get("limit negative", "/mass-requests/?limit=-1", "limit", ""),
		get("limit too large", "/mass-requests/?limit=501", "limit", "500"),
		get("limit a word", "/mass-requests/?limit=ten", "limit", ""),
		get("limit empty", "/mass-requests/?limit=", "limit", "empty"),
		get("limit twice", "/mass-requests/?limit=1&limit=2", "limit", "once"),
		get("status unknown", "/mass-requests/?status=lost", "status", ""),
		get("status in capitals", "/mass-requests/?status=Done", "status", ""),
		get("status empty", "/mass-requests/?status=", "status", "empty"),
		get("site blank", "/mass-requests/?site_id=%20", "site_id", "blank"),
		get("site too long", "/mass-requests/?site_id="+strings.Repeat("x", 201), "site_id", ""),
		get("site with NUL", "/mass-requests/?site_id=a%00", "site_id", "U+0000"),
		get("site in bad UTF-8", "/mass-requests/?site_id=%ff", "site_id", "UTF-8"),
		get("cluster with NUL", "/mass-requests/?cluster_id=%00", "cluster_id", "U+0000"),
		get("bad percent sign", "/mass-requests/?site_id=%zz", "", "well-formed"),
		get("semicolon", "/mass-requests/?site_id=a;limit=1", "", "well-formed"),
		get("cursor a word", "/mass-requests/?cursor=hello", "cursor", ""),
		get("cursor of another version", "/mass-requests/?cursor=AgAGTEWX1tugAAAAAAAAACo", "cursor", "cursor"),
		get("cursor too long", "/mass-requests/?cursor="+strings.Repeat("A", 65), "cursor", ""),
		get("cursor with padding", "/mass-requests/?cursor=AQAGTEWX1tugAAAAAAAAACo%3D", "cursor", ""),
		get("time a word", "/mass-requests/?created_from=today", "created_from", "RFC 3339"),
		get("time without zone", "/mass-requests/?created_from=2026-03-01T00:00:00", "created_from", "RFC 3339"),
		get("date only", "/mass-requests/?created_before=2026-03-01", "created_before", "RFC 3339"),
		get("year one", "/mass-requests/?created_before=0001-01-01T00:00:00Z", "created_before", "1970"),
		get("plus not escaped", "/mass-requests/?created_from=2026-03-01T00:00:00+01:00", "created_from", "%2B"),
		get("from after before", "/mass-requests/?created_from=2026-03-02T00:00:00Z&created_before=2026-03-01T00:00:00Z", "created_from", "before"),
		get("from equals before", "/mass-requests/?created_from=2026-03-01T01:00:00%2B01:00&created_before=2026-03-01T00:00:00Z", "created_from", "before"),

		// Status changes.
		patch("status unknown", `{"status":"paused"}`, 422, invalid, "/status"),
		patch("status missing", `{}`, 422, invalid, "/status"),
		patch("status null", `{"status":null}`, 422, invalid, "/status"),
		patch("status number", `{"status":1}`, 422, invalid, "/status"),
		patch("status and more", `{"status":"pending","force":true}`, 422, invalid, "/force"),
		patch("malformed", `{"status":`, 400, malformed, "/status"),
		patch("no such request", `{"status":"cancelled"}`, 404, "not_found", ""),
	}
	for _, c := range table {
		t.Run(c.name, func(t *testing.T) {
			e := *e
			e.t = t
			a := e.call(c.method, c.path, c.body, c.headers...)
			a.problem(t, c.status, c.code)
			if c.fault != "" {
				require.Contains(t, a.faults(), c.fault, a.text)
			}
			require.Contains(t, a.text, c.detail)
			text := strings.ToLower(strings.ReplaceAll(a.text, a.Header.Get("X-Request-Id"), "")) // random letters
			require.NotContains(t, text, "pq:")
			require.NotContains(t, text, "sql")
		})
	}
	require.Zero(t, e.stored(), "nothing that was refused may be stored")
	require.Zero(t, e.rdb.DBSize(t.Context()).Val(), "nothing that was refused may be enqueued")
	require.NotContains(t, e.log.String(), `"level":"ERROR"`)
}

func TestBodyLimit(t *testing.T) {
	t.Parallel()
	e := setup(t)
	body := func(size int) string {
		const frame = `{"payload":{"a":""}}`
		return frame[:17] + strings.Repeat("x", size-len(frame)) + frame[17:]
	}
	a := e.call(http.MethodPost, "/mass-requests/", body(1<<20))
	require.Equal(t, http.StatusCreated, a.StatusCode, "a body of exactly the limit passes")
	e.call(http.MethodPost, "/mass-requests/", body(1<<20+1)).problem(t, http.StatusRequestEntityTooLarge, "payload_too_large")

	// Without a Content-Length the limit is found by reading, and no more is read than that takes.
	endless := &counter{}
	rec := httptest.NewRecorder()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/mass-requests/", endless)
	e.sign(req).Header.Set("Content-Type", "application/json")
	e.api.Handler().ServeHTTP(rec, req)
	require.Equal(t, http.StatusRequestEntityTooLarge, rec.Code)
	require.Less(t, endless.n, int64(4<<20))
	require.Equal(t, 1, e.stored())
}

// counter is an endless body.
type counter struct{ n int64 }

func (c *counter) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	c.n += int64(len(p))
	return len(p), nil
}

func TestMediaTypesThatPass(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for i, media := range []string{"application/json; charset=UTF-8", "Application/JSON", "application/vnd.mass+json"} {
		a := e.call(http.MethodPost, "/mass-requests/", `{"payload":{}}`, "Content-Type", media, "Content-Encoding", "identity", "Accept", "text/html")
		require.Equal(t, http.StatusCreated, a.StatusCode, a.text)
		require.Equal(t, "application/json", a.Header.Get("Content-Type"))
		require.Equal(t, fmt.Sprint(i+1), a.json["id"].(interface{ String() string }).String())
	}
}

func TestBodiesThatDoNotArrive(t *testing.T) {
	t.Parallel()
	e := setup(t, func(c *api.Config) { c.ReadTimeout = 10 * time.Second })
	addr, err := e.api.Listen()
	require.NoError(t, err)
	ctx, shutdown := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- e.api.Serve(ctx) }()

	token := e.token() // before the clock runs
	post := func() *net.TCPConn {
		conn, err := net.Dial("tcp", addr.String())
		require.NoError(t, err)
		_, err = fmt.Fprint(conn, "POST /mass-requests/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+token+
			"\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{")
		require.NoError(t, err)
		return conn.(*net.TCPConn)
	}
	status := func(conn net.Conn) int {
		defer conn.Close()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		defer resp.Body.Close()
		return resp.StatusCode
	}
	cut := post()
	require.NoError(t, cut.CloseWrite())
	require.Equal(t, http.StatusBadRequest, status(cut))
	require.Equal(t, http.StatusRequestTimeout, status(post()))
	shutdown()
	require.NoError(t, <-served)
	require.Zero(t, e.stored())
}
