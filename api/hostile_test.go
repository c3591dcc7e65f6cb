package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/api"
	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/limit"
)

// intake is an operation that takes a JSON object, with a body that it would take.
type intake struct {
	method, path string
	body         string   // of strings only
	members      []string // that it must have
	most         int      // bytes
}

// intakes are those of the operations on users, keys and logins; TestRefusals has the others.
var intakes = []intake{
	{http.MethodPost, "/auth/login", `{"email":"a@x","password":"correct horse battery"}`, []string{"email", "password"}, 16 << 10},
	{http.MethodPost, "/auth/refresh", `{"refresh_token":"abc"}`, []string{"refresh_token"}, 16 << 10},
	{http.MethodPost, "/auth/logout", `{"refresh_token":"abc"}`, []string{"refresh_token"}, 16 << 10},
	{http.MethodPost, "/auth/password", `{"current_password":"a","new_password":"correct horse battery"}`, []string{"current_password", "new_password"}, 16 << 10},
	{http.MethodPost, "/auth/register", `{"email":"a@x","password":"correct horse battery"}`, []string{"email", "password"}, 16 << 10},
	{http.MethodPost, "/users/1/password", `{"password":"correct horse battery"}`, []string{"password"}, 16 << 10},
	{http.MethodPatch, "/users/1", `{"role":"admin"}`, nil, 16 << 10},
	{http.MethodPost, "/api-keys", `{"name":"n","role":"admin"}`, []string{"name", "role"}, 16 << 10},
	{http.MethodPost, "/mass-requests/bulk", `{"action":"cancel","cursor":"x"}`, []string{"action"}, 1 << 20},
}

// hostile are requests that nobody should have sent. The names of all of them
// must differ.
func hostile() []refusal {
	const (
		malformed = "invalid_json"
		invalid   = "validation_failed"
	)
	var list []refusal
	add := func(name, method, path, body string, status int, code, fault string, headers ...string) {
		list = append(list, refusal{name: name, method: method, path: path, body: body, status: status, code: code, fault: fault, headers: headers})
	}
	for _, in := range intakes {
		row := func(what, body string, status int, code, fault string, headers ...string) {
			add(in.method+" "+in.path+" "+what, in.method, in.path, body, status, code, fault, headers...)
		}
		first := strings.SplitN(in.body, `"`, 3)[1]
		row("with nothing", "", 415, "unsupported_media_type", "")
		row("blank", " ", 400, malformed, "")
		row("cut off", in.body[:len(in.body)-2], 400, malformed, "")
		row("with more behind", in.body+"{}", 400, malformed, "")
		row("as a list", "["+in.body+"]", 422, invalid, "")
		row("as null", "null", 422, invalid, "")
		row("with a stranger", `{"is_admin":true,`+in.body[1:], 422, invalid, "/is_admin")
		row("with a name twice", in.body[:len(in.body)-1]+","+in.body[1:], 422, invalid, "/"+first)
		row("with a number", `{"`+first+`":1}`, 422, invalid, "/"+first)
		row("with an object", `{"`+first+`":{"$ne":""}}`, 422, invalid, "/"+first)
		row("deep", `{"`+first+`":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+`}`, 422, invalid, "/"+first)
		row("endless", `{"`+first+`":"`+strings.Repeat("x", in.most)+`"}`, 413, "payload_too_large", "")
		row("as a form", "email=a", 415, "unsupported_media_type", "", "Content-Type", "application/x-www-form-urlencoded")
		row("compressed", in.body, 415, "unsupported_media_type", "", "Content-Encoding", "br")
		row("with a query", in.body, 422, invalid, "dry")
		list[len(list)-1].path += "?dry=1"
		for _, name := range in.members {
			row("without "+name, `{}`, 422, invalid, "/"+name)
			row("with null as "+name, `{"`+name+`":null}`, 422, invalid, "/"+name)
		}
	}
	for path, bodies := range map[string]map[string]string{
		"/auth/register": {
			`{"email":"a","password":"correct horse battery"}`:                                           "/email",
			`{"email":"","password":"correct horse battery"}`:                                            "/email",
			`{"email":"a@x\nBcc: b@x","password":"correct horse battery"}`:                               "/email",
			`{"email":"a@x\u0000","password":"correct horse battery"}`:                                   "/email",
			`{"email":"` + strings.Repeat("a", 255) + `@x","password":"correct horse battery"}`:          "/email",
			`{"email":"a@x","password":"short"}`:                                                         "/password",
			`{"email":"a@x","password":"` + strings.Repeat("x", 5000) + `"}`:                             "/password",
			`{"email":"a@x","password":"correct horse battery","role":"root"}`:                           "/role",
			`{"email":"a@x","password":"correct horse battery","role":"Admin"}`:                          "/role",
			`{"email":"a@x","password":"correct horse battery","role":""}`:                               "/role",
			`{"email":"a@x","password":"correct horse battery","disabled":false}`:                        "/disabled",
			`{"email":"a@x","password":"correct horse battery","id":1}`:                                  "/id",
			`{"email":"a@x","password":"correct horse battery","password_hash":"$argon2id$v=19$m=8"}`:    "/password_hash",
			`{"email":"a@x","password":"correct horse battery","generation":99}`:                         "/generation",
			`{"email":"a@x","password":"correct horse battery","created_at":"2026-01-01T00:00:00.000Z"}`: "/created_at",
		},
		"/api-keys": {
			`{"name":"","role":"admin"}`:                                 "/name",
			`{"name":" ","role":"admin"}`:                                "/name",
			`{"name":"` + strings.Repeat("x", 101) + `","role":"admin"}`: "/name",
			`{"name":"a\u0000","role":"admin"}`:                          "/name",
			`{"name":"a","role":"anyone"}`:                               "/role",
			`{"name":"a","role":"admin' OR 1=1 --"}`:                     "/role",
			`{"name":"a","role":"admin","key":"mass_1_chosen"}`:          "/key",
			`{"name":"a","role":"admin","secret_hash":"00"}`:             "/secret_hash",
			`{"name":"a","role":"admin","created_by":"user:1"}`:          "/created_by",
		},
		"/mass-requests/bulk": {
			`{"action":"cancel"}`:                                         "/filter",
			`{"action":"cancel","filter":{}}`:                             "/filter",
			`{"action":"cancel","all":true,"filter":{"site_id":"s"}}`:     "/all",
			`{"action":"delete","all":true}`:                              "/action",
			`{"action":"cancel; DROP TABLE users","all":true}`:            "/action",
			`{"action":"cancel","filter":{"status":"done"}}`:              "/filter/status",
			`{"action":"cancel","filter":{"status":"' OR 1=1"}}`:          "/filter/status",
			`{"action":"cancel","filter":{"site_id":"\u0000"}}`:           "/filter/site_id",
			`{"action":"cancel","filter":{"site_id":["a"]}}`:              "/filter/site_id",
			`{"action":"cancel","filter":{"cluster_id":" "}}`:             "/filter/cluster_id",
			`{"action":"cancel","filter":{"created_from":"now()"}}`:       "/filter/created_from",
			`{"action":"cancel","filter":{"created_before":"infinity"}}`:  "/filter/created_before",
			`{"action":"cancel","all":true,"limit":-1}`:                   "/limit",
			`{"action":"cancel","all":true,"limit":1e3}`:                  "/limit",
			`{"action":"cancel","all":true,"limit":99999999999999999999}`: "/limit",
			`{"action":"cancel","all":true,"cursor":"../../etc/passwd"}`:  "/cursor",
			`{"action":"cancel","all":true,"cursor":"AgAAAAAAAAQR"}`:      "/cursor",
			`{"action":"cancel","all":"yes"}`:                             "/all",
		},
		"/mass-requests/": {
			`{"payload":{},"id":1}`:                                               "/id",
			`{"payload":{},"status":"done"}`:                                      "/status",
			`{"payload":{},"result":{}}`:                                          "/result",
			`{"payload":{},"created_by":"user:1"}`:                                "/created_by",
			`{"payload":{},"attempt":7}`:                                          "/attempt",
			`{"payload":{},"callback_url":"http://169.254.169.254/latest"}`:       "/callback_url",
			`{"payload":{},"callback_url":"https://169.254.169.254/latest"}`:      "/callback_url",
			`{"payload":{},"callback_url":"https://[::1]/"}`:                      "/callback_url",
			`{"payload":{},"callback_url":"https://0x7f.1/"}`:                     "/callback_url",
			`{"payload":{},"callback_url":"https://user:pw@example.com/"}`:        "/callback_url",
			`{"payload":{},"callback_url":"file:///etc/passwd"}`:                  "/callback_url",
			`{"payload":{},"callback_url":"gopher://example.com:6379/_FLUSHALL"}`: "/callback_url",
			`{"payload":{},"callback_url":"https://example.com:25/"}`:             "/callback_url",
			`{"payload":{},"callback_url":"https://redis.internal\u0000/"}`:       "/callback_url",
		},
	} {
		for body, fault := range bodies {
			add(fmt.Sprintf("POST %s %.90s", path, body), http.MethodPost, path, body, 422, invalid, fault)
		}
	}
	for path, fault := range map[string]string{
		"/users?limit=0": "limit", "/users?limit=501": "limit", "/users?after=-1": "after", "/users?after=x": "after", "/users?role=admin": "role",
		"/users/0": "id", "/users/x": "id", "/users/1%20OR%201=1": "id", "/users/-1": "id", "/users/1?fields=password_hash": "fields", "/users/%00": "id",
		"/api-keys?limit=x": "limit", "/api-keys?after=1e3": "after", "/api-keys?secret=1": "secret",
		"/audit?mass_request_id=0": "mass_request_id", "/audit?mass_request_id=x": "mass_request_id", "/audit?mass_request_id=9223372036854775808": "mass_request_id",
		"/audit?actor=": "actor", "/audit?actor=%00": "actor", "/audit?actor=%ff": "actor", "/audit?action=a&action=b": "action",
		"/audit?actor=" + strings.Repeat("x", 201): "actor", "/audit?from=yesterday": "from", "/audit?to=2026-02-30T00:00:00Z": "to",
		"/audit?from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z": "from", "/audit?format=xlsx": "format", "/audit?format=csv%00": "format",
		"/audit?limit=0": "limit", "/audit?limit=1000000": "limit", "/audit?cursor=x": "cursor", "/audit?cursor=AQAGTEWX1tugAAAAAAAAACo": "cursor",
		"/audit?cursor=Av__________": "cursor", "/audit?order=id;DROP": "", "/audit?where=1": "where",
		"/mass-requests/1?wait=forever": "wait", "/mass-requests/1?wait=61s": "wait", "/mass-requests/1?wait=-1s": "wait", "/mass-requests/1?wait=1": "wait",
		"/mass-requests/1?wait=1s&wait=2s": "wait", "/mass-requests/1/events?after=-1": "after", "/mass-requests/1/events?limit=0": "limit",
		"/mass-requests/x/events": "id", "/mass-requests/0/callback": "id", "/mass-requests/1/callback?url=x": "url",
		"/mass-requests/?site_id=a&site_id=b": "site_id", "/mass-requests/?cursor=%27%20OR%201=1": "cursor", "/mass-requests/?status=done%27--": "status",
		"/mass-requests/?created_from=infinity": "created_from", "/mass-requests/?order_by=id": "order_by", "/mass-requests/?limit=1;limit=2": "",
		"/health?verbose=1": "verbose", "/auth/me?as=admin": "as",
	} {
		add("GET "+path[:min(len(path), 90)], http.MethodGet, path, "", 422, invalid, fault)
	}
	for i, key := range []string{" a", "a b", "a\tb", "schlüssel", strings.Repeat("x", 256), "\u202e"} {
		add(fmt.Sprintf("Idempotency-Key %d", i), http.MethodPost, "/mass-requests/", `{"payload":1}`, 422, invalid, "", "Idempotency-Key", key)
	}
	for i, id := range []string{"-1", "x", "9223372036854775808"} {
		add(fmt.Sprintf("Last-Event-ID %d", i), http.MethodGet, "/mass-requests/1/events", "", 422, invalid, "Last-Event-ID", "Last-Event-ID", id)
	}
	for i, proof := range []string{
		"", "Bearer", "Bearer ", "Bearer  x", "bearer", "Basic YWRtaW46YWRtaW4=", "Bearer mass_1_", "Bearer mass_0_" + strings.Repeat("a", 40), "Bearer mass_1_' OR 1=1",
		"Bearer mass_99999999999999999999_" + strings.Repeat("a", 40), "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1c2VyOjEifQ.", "Bearer a.b", "Bearer a.b.c.d",
		"Bearer " + strings.Repeat("x", 9000), "Bearer ../../etc/passwd", "Digest username=\"admin\"",
		"Bearer eyJhbGciOiJIUzI1NiIsImtpZCI6Ii4uLy4uL2Rldi9udWxsIn0.e30.AAAA", "Bearer eyJhbGciOiJSUzI1NiIsImprdSI6Imh0dHA6Ly94In0.e30.AAAA",
	} {
		if proof == "" {
			proof = " " // or the test would add one
		}
		add(fmt.Sprintf("proof %d", i), http.MethodGet, "/auth/me", "", 401, "unauthenticated", "", "Authorization", proof)
	}
	for _, path := range []string{"/users/999", "/mass-requests/999", "/mass-requests/999/callback", "/mass-requests/999/events", "/.env", "/.git/config", "/admin", "/debug/pprof/", "/api-keys/1/x", "/users/1/../2", "/docs/../users", "/openapi.json.bak", "/monitoringevil", "/%2e%2e/etc/passwd"} {
		add("GET "+path, http.MethodGet, path, "", 404, "not_found", "")
	}
	for _, method := range []string{http.MethodPut, http.MethodTrace, http.MethodOptions, "PROPFIND", http.MethodConnect + "X"} {
		add(method+" of a list", method, "/mass-requests/", "", 405, "method_not_allowed", "")
	}
	for i, head := range [][2]string{{"[", ""}, {"", "]"}, {"[1,", "]"}, {"{", "}"}, {"[[", "]]"}} {
		body := head[0] + `{"payload":{}}` + head[1] + ","
		add(fmt.Sprintf("batch %d", i), http.MethodPost, "/mass-requests/batch", body, 400, malformed, "")
	}
	return list
}

// Whatever is sent, the answer is a problem that names the fault, and nothing is stored.
func TestHostileInput(t *testing.T) {
	t.Parallel()
	e := setup(t, withCallbacks, func(c *api.Config) { c.Access.Throttle.Address = limit.Rate{Burst: 1 << 20, Every: 1} })
	e.as(auth.Admin).token()
	table := hostile()
	require.GreaterOrEqual(t, len(table), 250)
	names := map[string]bool{}
	for _, c := range table {
		require.False(t, names[c.name], "%s stands twice", c.name)
		names[c.name] = true
		t.Run(c.name, func(t *testing.T) {
			e := *e
			e.t = t
			a := e.call(c.method, c.path, c.body, c.headers...)
			a.problem(t, c.status, c.code)
			if c.fault != "" {
				require.Contains(t, a.faults(), c.fault, a.text)
			}
		})
	}
	for table, rows := range map[string]int{"mass_requests": 0, "users": 0, "refresh_tokens": 0, "idempotency_keys": 0, "webhook_deliveries": 0, "api_keys": 1} {
		require.Equal(t, rows, e.rows(table), table)
	}
	queued, err := e.rdb.Keys(t.Context(), "asynq:*").Result()
	require.NoError(t, err)
	require.Empty(t, queued)
	require.NotContains(t, e.log.String(), `"level":"ERROR"`)
}

// rows counts those of a table that the test names.
func (e *system) rows(table string) (n int) {
	e.t.Helper()
	require.NoError(e.t, e.db.GetContext(e.t.Context(), &n, `SELECT count(*) FROM `+table))
	return n
}

// What is text to a client stays text: in the database, in its statements and in answers.
func TestTextStaysText(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for i, text := range []string{
		`'; DROP TABLE mass_requests; --`, `' OR '1'='1`, `$1`, `?`, `%s%n%d`, `\`, `\x00`, `{{7*7}}`, `${7*7}`, `<script>alert(1)</script>`, `=cmd|'/c calc'!A1`,
		"a\r\nSet-Cookie: mass=x", "\u202etxt.exe", "Ａ", "💥", "a\u0301", `{"a":1}`, `NULL`, `-0`, strings.Repeat("x", 200),
	} {
		quoted := jsonOf(t, text)
		id := e.submit(`{"site_id":` + quoted + `,"note":` + quoted + `}`)
		a := e.call(http.MethodGet, fmt.Sprintf("/mass-requests/%d", id), "")
		payload, _ := a.json["payload"].(map[string]any)
		require.Equal(t, text, payload["note"], "text %d", i)
		list := e.call(http.MethodGet, "/mass-requests/?site_id="+url.QueryEscape(text), "")
		if list.StatusCode == http.StatusOK {
			items, _ := list.json["items"].([]any)
			require.Len(t, items, 1, "%q finds itself and nothing else", text)
			item, _ := items[0].(map[string]any)
			require.Equal(t, json.Number(fmt.Sprint(id)), item["id"])
		}
		require.NotContains(t, a.Header, "Set-Cookie")
	}
	require.Equal(t, 20, e.stored())
}
