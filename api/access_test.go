package api_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/access"
	"github.com/leomutto/pilot-in-a-box/internal/auth"
)

// Every route, in all its forms, called by nobody and by every role.
func TestWhoMayWhat(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for _, rule := range e.api.Routes() {
		method, template, _ := rule.Route()
		needs := auth.Role(rule.Needs())
		path := strings.ReplaceAll(template, "{id}", "999999")
		paths := []string{path}
		if bare, slash := strings.CutSuffix(path, "/"); slash && bare != "" {
			paths = append(paths, bare)
		} else if !slash {
			paths = append(paths, path+"/")
		}
		if template == "/docs" || template == "/monitoring" {
			paths = append(paths, path+"/below")
		}
		methods := []string{method}
		if method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
		for _, path := range paths {
			for _, method := range methods {
				for _, role := range append([]auth.Role{""}, auth.Roles()...) {
					a := e.as(role).call(method, path, "")
					who := fmt.Sprintf("%s %s as %q: %s", method, path, role, a.text)
					allowed := needs == access.Anyone || role.Includes(needs)
					switch {
					case allowed:
						require.NotEqual(t, http.StatusUnauthorized, a.StatusCode, who)
						require.NotEqual(t, http.StatusForbidden, a.StatusCode, who)
						require.Less(t, a.StatusCode, 500, who)
					case role == "":
						require.Equal(t, http.StatusUnauthorized, a.StatusCode, who)
						require.Equal(t, "Bearer", a.Header.Get("WWW-Authenticate"), who)
					default:
						require.Equal(t, http.StatusForbidden, a.StatusCode, who)
					}
					if !allowed && method != http.MethodHead {
						a.problem(t, a.StatusCode, map[int]string{401: "unauthenticated", 403: "forbidden"}[a.StatusCode])
					}
					if a.StatusCode == http.StatusForbidden && method != http.MethodHead {
						require.Contains(t, a.text, string(needs), "the role that is needed is named")
					}
					if needs != access.Anyone {
						require.NotEmpty(t, a.Header.Get("Cache-Control"), who)
						require.NotContains(t, a.Header.Get("Cache-Control"), "public", who)
					}
				}
			}
		}
	}
	require.NotContains(t, e.log.String(), `"level":"ERROR"`)
}

// The document tells the same.
func TestDocumentTellsWhoMay(t *testing.T) {
	t.Parallel()
	e := setup(t)
	doc := e.call(http.MethodGet, "/openapi.json", "").json
	paths, _ := doc["paths"].(map[string]any)
	for _, rule := range e.api.Routes() {
		method, path, _ := rule.Route()
		item, _ := paths[path].(map[string]any)
		op, _ := item[strings.ToLower(method)].(map[string]any)
		require.NotNil(t, op, "%s %s", method, path)
		responses, _ := op["responses"].(map[string]any)
		if rule.Needs() == string(access.Anyone) {
			require.Equal(t, []any{}, op["security"], "%s %s", method, path)
			continue
		}
		require.Len(t, op["security"], 2, "%s %s", method, path)
		require.Contains(t, op["description"], "Requires the role "+rule.Needs())
		require.Contains(t, responses, "401")
		require.Contains(t, responses, "403")
	}
}

// The table of the documentation is the one of the code.
func TestTheDocumentedAccessIsTrue(t *testing.T) {
	t.Parallel()
	var table strings.Builder
	table.WriteString("| method | path | least role |\n|---|---|---|\n")
	for _, rule := range setup(t).api.Routes() {
		method, path, page := rule.Route()
		who := rule.Needs()
		if page {
			who += " (a browser is sent to the login page)"
		}
		fmt.Fprintf(&table, "| %s | `%s` | %s |\n", method, path, who)
	}
	doc, err := os.ReadFile("../docs/access.md")
	require.NoError(t, err)
	require.Contains(t, string(doc), table.String(), "docs/access.md is out of date; the table is:\n%s", table.String())
}

func TestNothingIsReadOfWhoMayNot(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for role, status := range map[auth.Role]int{"": http.StatusUnauthorized, auth.Viewer: http.StatusForbidden} {
		for _, path := range []string{"/mass-requests/", "/mass-requests/batch"} {
			body := &counter{}
			rec := httptest.NewRecorder()
			req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, body)
			req.Header.Set("Content-Type", "application/json")
			e.api.Handler().ServeHTTP(rec, e.as(role).sign(req))
			require.Equal(t, status, rec.Code)
			require.Zero(t, body.n)
		}
	}
	require.Zero(t, e.stored())
}

func TestTokensThatDoNotHold(t *testing.T) {
	t.Parallel()
	e := setup(t).as("")
	for _, given := range []string{"Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Bearer " + noKey, "Bearer a.b.c", "Bearer x", "bearer"} {
		a := e.call(http.MethodGet, "/mass-requests/", "", "Authorization", given)
		a.problem(t, http.StatusUnauthorized, "unauthenticated")
		require.Equal(t, "Bearer", a.Header.Get("WWW-Authenticate"))
	}
}

func TestBrowsersAreSentToTheLoginPage(t *testing.T) {
	t.Parallel()
	e := setup(t).as("")
	const browser = "text/html,application/xhtml+xml,*/*;q=0.8"
	for path, next := range map[string]string{
		"/docs":  "/login?next=%2Fdocs",
		"/docs/": "/login?next=%2Fdocs%2F",
		"/monitoring/queues/default?status=pending": "/login?next=%2Fmonitoring%2Fqueues%2Fdefault%3Fstatus%3Dpending",
	} {
		for _, headers := range [][]string{{"Accept", browser}, {"Accept", browser, "Cookie", "mass=stale"}} {
			a := e.call(http.MethodGet, path, "", headers...)
			require.Equal(t, http.StatusSeeOther, a.StatusCode)
			require.Equal(t, next, a.Header.Get("Location"))
		}
		e.call(http.MethodGet, path, "", "Accept", "*/*").problem(t, http.StatusUnauthorized, "unauthenticated")
	}
	for _, path := range []string{"/openapi.json", "/mass-requests/", "/users"} {
		e.call(http.MethodGet, path, "", "Accept", browser).problem(t, http.StatusUnauthorized, "unauthenticated")
	}
	e.call(http.MethodDelete, "/monitoring/api/queues/default", "", "Accept", browser).problem(t, http.StatusUnauthorized, "unauthenticated")
	a := e.call(http.MethodPost, "/logout", "", "Accept", browser)
	require.Equal(t, "/login", a.Header.Get("Location"))
}

func TestTheLogNamesWhoAsked(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.as(auth.Viewer).call(http.MethodGet, "/mass-requests/", "", "X-Request-Id", "first")
	e.as(auth.Viewer).call(http.MethodDelete, "/mass-requests/1", "", "X-Request-Id", "second")
	e.as("").call(http.MethodDelete, "/mass-requests/1", "", "X-Request-Id", "third")
	for id, subject := range map[string]bool{"first": true, "second": true, "third": false} {
		eventually(t, "the line is written", func() bool { return strings.Contains(e.log.String(), `"http_request_id":"`+id+`"`) })
		for line := range strings.Lines(e.log.String()) {
			if strings.Contains(line, `"http_request_id":"`+id+`"`) {
				require.Equal(t, subject, strings.Contains(line, `"subject":"key:1"`), line)
			}
		}
	}
}
