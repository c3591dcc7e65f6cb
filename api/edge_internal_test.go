package api

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/web"
)

func TestTableAndRoutesAreHeldTogether(t *testing.T) {
	t.Parallel()
	router := mux.NewRouter()
	for _, path := range []string{"/a", "/a/"} {
		router.Path(path).Methods(http.MethodGet, http.MethodHead).Handler(http.NotFoundHandler())
	}
	router.Path("/b").Methods(http.MethodPost).Handler(http.NotFoundHandler())
	a, b := rule{method: "GET", path: "/a", role: auth.Viewer}, rule{method: "POST", path: "/b", role: anyone}

	table, err := newAccess([]rule{a, b}, router)
	require.NoError(t, err)
	require.Equal(t, a, table[keyOf("HEAD", "/a/")])

	_, err = newAccess([]rule{a}, router)
	require.EqualError(t, err, "POST /b is not in the table of access")
	_, err = newAccess([]rule{a, b, {method: "DELETE", path: "/a", role: auth.Admin}}, router)
	require.EqualError(t, err, "DELETE /a is in the table of access and no route")
	_, err = newAccess([]rule{a, b, {method: "GET", path: "/a/", role: anyone}}, router)
	require.EqualError(t, err, "GET /a/ stands twice in the table of access")
	_, err = newAccess([]rule{a, b, {method: "GET", path: "/c"}}, router)
	require.Error(t, err)
	router.Path("/d").Handler(http.NotFoundHandler())
	_, err = newAccess([]rule{a, b}, router)
	require.ErrorContains(t, err, "/d names no methods")
}

// A route that the table forgot, or whose entry names no role, is closed to everybody.
func TestClosedUnlessOpened(t *testing.T) {
	t.Parallel()
	s := offline(t) // where everybody is an admin
	s.access = access{keyOf("GET", "/none"): {method: "GET", path: "/none"}}
	for _, route := range []string{"/forgotten", "/none"} {
		rec := httptest.NewRecorder()
		reached := s.admit(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached") }))
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, route, nil)
		s.withExchange(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			web.ExchangeOf(r.Context()).route = route
			reached.ServeHTTP(w, r)
		})).ServeHTTP(rec, r)
		require.Equal(t, http.StatusForbidden, rec.Code)
	}
}

func TestSourceOfRequests(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for name, c := range map[string]struct {
		peer   string
		lines  []string
		proto  []string
		client string
		https  bool
	}{
		"nobody between":             {peer: "192.0.2.1:5", client: "192.0.2.1"},
		"a client that lies":         {peer: "192.0.2.1:5", lines: []string{"198.51.100.9"}, proto: []string{"https"}, client: "192.0.2.1"},
		"one proxy":                  {peer: "10.0.0.1:5", lines: []string{"198.51.100.9"}, proto: []string{"https"}, client: "198.51.100.9", https: true},
		"a proxy over plain HTTP":    {peer: "10.0.0.1:5", lines: []string{"198.51.100.9"}, proto: []string{"http"}, client: "198.51.100.9"},
		"a lie in front":             {peer: "10.0.0.1:5", lines: []string{"127.0.0.1, 198.51.100.9"}, client: "198.51.100.9"},
		"a lie in a line of its own": {peer: "10.0.0.1:5", lines: []string{"127.0.0.1", "198.51.100.9"}, client: "198.51.100.9"},
		"two proxies":                {peer: "10.0.0.1:5", lines: []string{"1.1.1.1, 198.51.100.9 , 10.0.0.2"}, client: "198.51.100.9"},
		"two proxies, two lines":     {peer: "10.0.0.1:5", lines: []string{"198.51.100.9", "10.0.0.2"}, client: "198.51.100.9"},
		"a proxy as the client":      {peer: "10.0.0.1:5", lines: []string{"10.0.0.3, 10.0.0.2"}, client: "10.0.0.3"},
		"no list":                    {peer: "10.0.0.1:5", client: "10.0.0.1"},
		"an empty list":              {peer: "10.0.0.1:5", lines: []string{""}, client: "10.0.0.1"},
		"a hidden address":           {peer: "10.0.0.1:5", lines: []string{"198.51.100.9, unknown"}, client: "10.0.0.1"},
		"hidden behind another":      {peer: "10.0.0.1:5", lines: []string{"_secret, 10.0.0.2"}, client: "10.0.0.2"},
		"with a port":                {peer: "10.0.0.1:5", lines: []string{"198.51.100.9:1234"}, client: "198.51.100.9"},
		"IPv6":                       {peer: "[fd00::1]:5", lines: []string{"2001:db8::9"}, client: "2001:db8::9"},
		"IPv6 with a port":           {peer: "[fd00::1]:5", lines: []string{"[2001:db8::9]:1234"}, client: "2001:db8::9"},
		"IPv4 in IPv6":               {peer: "[::ffff:10.0.0.1]:5", lines: []string{"::ffff:198.51.100.9"}, client: "198.51.100.9"},
		"protos of a chain":          {peer: "10.0.0.1:5", lines: []string{"198.51.100.9"}, proto: []string{"http, HTTPS"}, client: "198.51.100.9", https: true},
		"a lie about the proto":      {peer: "10.0.0.1:5", lines: []string{"198.51.100.9"}, proto: []string{"https", "http"}, client: "198.51.100.9"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &http.Request{RemoteAddr: c.peer, Header: http.Header{"X-Forwarded-For": c.lines, "X-Forwarded-Proto": c.proto}}
			client, https := sourceOf(r, trusted)
			require.Equal(t, c.client, client)
			require.Equal(t, c.https, https)
			client, https = sourceOf(r, nil)
			require.NotEqual(t, "198.51.100.9", client, "nobody is trusted by default")
			require.False(t, https)
		})
	}
}

func TestLoopback(t *testing.T) {
	t.Parallel()
	for host, is := range map[string]bool{
		"localhost": true, "localhost:8000": true, "mass.localhost:8000": true, "127.0.0.1:8000": true, "127.9.9.9": true, "[::1]:8000": true, "[::1]": true,
		"": false, ":8000": false, "0.0.0.0:8000": false, "10.0.0.1:8000": false, "localhost.example.com": false, "mass.example.com": false, "evil-localhost": false,
	} {
		require.Equal(t, is, web.IsLoopback(host), host)
	}
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
