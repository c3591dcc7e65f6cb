package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/jobs"
)

func FuzzDecodeBulk(f *testing.F) {
	for _, seed := range []string{
		`{"action":"cancel","all":true,"limit":7,"dry_run":true}`, `{"cursor":"AQAGTEWX1tugAAAAAAAAACo","action":"replay","filter":{"status":"done"}}`,
		`{"action":"replay","filter":{"site_id":"s","cluster_id":"\u0000","created_from":"2026-03-01T00:00:00Z","created_before":"x"}}`, `{"filter":[]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b, err := decodeBulk(body)
		if err != nil {
			require.Less(t, problemOf(err).Status, http.StatusInternalServerError)
			return
		}
		require.True(t, json.Valid(body))
		require.NotEmpty(t, b.From)
		for _, from := range b.From { // what a person may move, and nothing else
			require.Contains(t, b.Action.From(), from)
		}
		require.True(t, b.limit >= 1 && b.limit <= bulkMax)
	})
}

func FuzzDecodeStatusChange(f *testing.F) {
	for _, seed := range []string{`{"status":"cancelled"}`, `{"status":"\u0070ending"}`, `{"status":null}`, `{"status":"done","status":"done"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		to, err := decodeStatusChange(body)
		if err != nil {
			require.Less(t, problemOf(err).Status, http.StatusInternalServerError)
			return
		}
		require.True(t, slices.Contains(jobs.Statuses(), to), "%q", to)
	})
}

// answersOf calls a server that reaches nothing: what it cannot take is refused,
// what it could is answered 503. It never fails otherwise.
func answersOf(t *testing.T, s *Server, r *http.Request) {
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, r)
	require.True(t, rec.Code < http.StatusInternalServerError || rec.Code == http.StatusServiceUnavailable, "%s %q: %d %s", r.Method, r.URL, rec.Code, rec.Body)
	if rec.Code >= http.StatusBadRequest {
		require.Equal(t, web.MediaProblem, rec.Header().Get("Content-Type"))
		require.True(t, json.Valid(rec.Body.Bytes()), "%s", rec.Body)
	}
	for name, values := range rec.Header() {
		require.NotContains(t, strings.Join(values, ""), "\n", name)
	}
}

// Filters, limits, cursors and times of the lists.
func FuzzQueries(f *testing.F) {
	for _, seed := range []string{
		"limit=1&status=done", "site_id=%00", "cursor=AQAGTEWX1tugAAAAAAAAACo", "created_from=2026-03-01T00:00:00Z&created_before=x", "a=1&a=2", "%zz", ";",
		"wait=1ms", "after=1", "mass_request_id=1&actor=user:1&format=csv", "from=2026-03-01T00:00:00%2B01:00",
	} {
		for place := range uint8(4) {
			f.Add(place, seed)
		}
	}
	s := offline(f)
	paths := []string{pathRequests, pathRequests + "1", pathRequests + "1/events", pathUsers}
	f.Fuzz(func(t *testing.T, place uint8, query string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, paths[int(place)%len(paths)], nil)
		r.URL.RawQuery = query
		answersOf(t, s, r)
	})
}

// Idempotency keys, tokens, and whatever else stands in headers.
func FuzzHeaders(f *testing.F) {
	for _, seed := range []string{
		"key-1", "a b", "\xff", "Bearer mass_1_x", "Bearer a.b.c", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "text/html;q=0.1, */*;q=zz",
		"10.0.0.1, [::1%25x]:80", "https", "17", "mass=x; mass=y", "https://evil.example", "application/json; charset=latin1",
	} {
		f.Add(seed)
	}
	s := offline(f)
	s.cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} // httptest's client is there
	f.Fuzz(func(t *testing.T, value string) {
		for _, name := range []string{
			"Idempotency-Key", "Authorization", "Traceparent", "Accept", "X-Forwarded-For", "X-Forwarded-Proto", "Last-Event-ID", "Cookie", "Origin",
			"Content-Type", "Content-Encoding", "X-Request-Id", "Sec-Fetch-Site",
		} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, pathRequests, strings.NewReader(`{"payload":1}`))
			r.Header.Set("Content-Type", web.MediaJSON)
			r.Header.Set(name, value)
			answersOf(t, s, r)
		}
	})
}
