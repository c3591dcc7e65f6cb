package api

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/web"
)

func FuzzAuditCursor(f *testing.F) {
	for _, seed := range []string{"", "AgAAAAAAAAQR", "AgAAAAAAAAAA", "Av__________", "AQAGTEWX1tugAAAAAAAAACo", "AgAAAAAAAAQR="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, err := web.ParseIDCursor(text)
		if err != nil {
			return
		}
		require.Positive(t, id)
		require.Equal(t, text, web.IDCursor(id), "one text an id")
	})
}

// FuzzAuditQuery: whatever the filters are, the next page has them, too.
func FuzzAuditQuery(f *testing.F) {
	for _, seed := range []string{
		"", "mass_request_id=42&actor=user:12&action=cancel&http_request_id=a", "from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z", "limit=500",
		"cursor=AgAAAAAAAAQR", "format=csv", "from=9999-12-31T23:59:59Z", "to=1970-01-01T00:00:00Z", "actor=%00", "actor=a&actor=b", "limit=0",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		var in auditInput
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/audit", nil)
		in.request = r
		in.Actor, in.Action, in.HTTPRequestID, in.Cursor = values.Get("actor"), values.Get("action"), values.Get("http_request_id"), values.Get("cursor")
		if in.From.UnmarshalText([]byte(values.Get("from"))) != nil {
			in.From = instant{}
		}
		if in.To.UnmarshalText([]byte(values.Get("to"))) != nil {
			in.To = instant{}
		}
		in.Limit = 10
		filter, before, err := in.filter()
		if err != nil {
			return
		}
		require.GreaterOrEqual(t, before, int64(0))
		next, err := url.Parse(in.next(7))
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(next.String(), "/audit?"))
		q := next.Query()
		require.Equal(t, filter.Actor, q.Get("actor"))
		require.Equal(t, filter.Action, q.Get("action"))
		require.Equal(t, filter.HTTPRequestID, q.Get("http_request_id"))
		at, err := web.ParseIDCursor(q.Get("cursor"))
		require.NoError(t, err)
		require.Equal(t, int64(7), at)
	})
}
