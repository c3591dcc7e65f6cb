package api

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/access"
	"github.com/leomutto/pilot-in-a-box/internal/auth"
)

// A route without a role, and one that leads past the check of roles, keep the
// server from starting.
func TestEachRouteHasARole(t *testing.T) {
	t.Parallel()
	s := offline(t) // where every caller is an admin
	a, b := routeRow{method: "GET", path: "/a", role: auth.Viewer}, routeRow{method: "POST", path: "/b/", role: access.Anyone}
	require.NoError(t, checkRoles([]routeRow{a, b}))
	require.EqualError(t, checkRoles([]routeRow{a, {method: "GET", path: "/c"}}), "the route GET /c has no role")
	require.EqualError(t, checkRoles([]routeRow{{method: "GET", path: "/c", role: "root"}}), `the route GET /c has the unknown role "root"`)
	require.EqualError(t, checkRoles([]routeRow{b, {method: "POST", path: "/b", role: auth.Admin}}), "the route POST /b is there twice")

	router := mux.NewRouter()
	pageOf(http.NotFoundHandler())(s, router, a)
	require.NoError(t, checkDoors(router))
	router.Path("/d").Handler(s.guard.Door("", false, http.NotFoundHandler()))
	require.EqualError(t, checkDoors(router), "the route /d is not behind a role")
	router = mux.NewRouter()
	router.Path("/e").Handler(http.NotFoundHandler())
	require.EqualError(t, checkDoors(router), "the route /e is not behind a role")
}

// A door without a role is closed, also for admins.
func TestClosedUnlessOpened(t *testing.T) {
	t.Parallel()
	s := offline(t) // where every caller is an admin
	rec := httptest.NewRecorder()
	reached := s.guard.Door("", false, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached") }))
	reached.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/x", nil))
	require.Equal(t, http.StatusForbidden, rec.Code)
}

func TestSafeNext(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"/monitoring": "/monitoring", "/monitoring/queues/default?status=pending": "/monitoring/queues/default?status=pending", "/docs/#/x": "/docs/#/x",
		"": "/docs", "docs": "/docs", "https://evil.example": "/docs", "//evil.example": "/docs", "/\\evil.example": "/docs", "\\\\evil.example": "/docs",
		"/\t/evil.example": "/docs", "/.//evil.example": "/docs", "/%2F ": "/docs", "javascript:alert(1)": "/docs", "https:/evil.example": "/docs", "/%zz": "/docs", "///evil.example": "/docs",
		" //evil.example": "/docs", "/x\r\nSet-Cookie: a=b": "/docs", "mailto:a@b": "/docs", "?x": "/docs", "#x": "/docs",
	} {
		require.Equal(t, want, safeNext(raw), raw)
	}
}

func FuzzNext(f *testing.F) {
	for _, raw := range []string{"/docs", "//evil.example", "/\\evil.example", "/a?b=/c#d", "/%2F/evil.example", "/..//x"} {
		f.Add(raw)
	}
	base, err := url.Parse("https://mass.example/login")
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, raw string) {
		next := safeNext(raw)
		// Browsers read a backslash as a slash, and skip tabs and line ends.
		as := strings.NewReplacer("\\", "/", "\t", "", "\r", "", "\n", "").Replace(next)
		u, err := base.Parse(as)
		if err != nil || u.Host != base.Host || u.Scheme != base.Scheme || strings.HasPrefix(as, "//") {
			t.Fatalf("%q leads to %q", raw, next)
		}
	})
}
