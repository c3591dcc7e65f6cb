package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// ids lists what is on a page.
func (a answer) ids() []int64 {
	var ids []int64
	items, _ := a.json["items"].([]any)
	for _, item := range items {
		id, _ := item.(map[string]any)["id"].(json.Number).Int64()
		ids = append(ids, id)
	}
	return ids
}

// walk follows a list to its end and returns the ids of its pages.
func (e *system) walk(path string) [][]int64 {
	e.t.Helper()
	var pages [][]int64
	for {
		a := e.call(http.MethodGet, path, "")
		require.Equal(e.t, http.StatusOK, a.StatusCode, a.text)
		pages = append(pages, a.ids())
		next, more := a.json["next"].(string)
		if !more {
			require.Nil(e.t, a.json["next"])
			return pages
		}
		require.True(e.t, strings.HasPrefix(next, "/mass-requests/?"), next)
		path = next
	}
}

func TestListFilters(t *testing.T) {
	t.Parallel()
	e := setup(t)
	require.Contains(t, e.call(http.MethodGet, "/mass-requests/", "").text, `{"items":[],"next":null}`)

	// Six requests, a minute apart, on two sites and two clusters, every third of them done.
	for i := range 6 {
		id := e.submit(fmt.Sprintf(`{"site_id":"site %d","cluster_id":"cluster-%d"}`, i%2, i/3))
		_, err := e.db.ExecContext(t.Context(),
			`UPDATE mass_requests SET created_at = '2026-03-01T10:00:00.000001Z'::timestamptz + $2 * interval '1 minute' WHERE id = $1`, id, i)
		require.NoError(t, err)
	}
	_, err := e.db.ExecContext(t.Context(), `UPDATE mass_requests SET status = 'done', result = '{}', finished_at = now() WHERE id % 3 = 0`)
	require.NoError(t, err)

	for query, want := range map[string][]int64{
		"":                            {6, 5, 4, 3, 2, 1},
		"?status=done":                {6, 3},
		"?status=pending":             {5, 4, 2, 1},
		"?status=failed":              nil,
		"?site_id=site%200":           {5, 3, 1},
		"?site_id=%20site+0%20":       {5, 3, 1}, // identifiers are kept trimmed
		"?cluster_id=cluster-1":       {6, 5, 4},
		"?site_id=site+1&status=done": {6},
		"?created_from=2026-03-01T10:03:00.000001Z":                              {6, 5, 4},
		"?created_from=2026-03-01T11:03:00.000001%2B01:00":                       {6, 5, 4},
		"?created_before=2026-03-01T10:03:00.000001Z":                            {3, 2, 1},
		"?created_from=2026-03-01T10:01:00Z&created_before=2026-03-01T10:03:00Z": {3, 2},
	} {
		a := e.call(http.MethodGet, "/mass-requests"+query, "")
		require.Equal(t, want, a.ids(), query)
		require.Equal(t, want, e.call(http.MethodGet, "/mass-requests/"+query, "").ids(), query)
	}

	for limit := 1; limit <= 7; limit++ {
		var all []int64
		pages := e.walk(fmt.Sprintf("/mass-requests/?limit=%d", limit))
		for i, page := range pages {
			require.LessOrEqual(t, len(page), limit)
			if i < len(pages)-1 {
				require.Len(t, page, limit)
			}
			all = append(all, page...)
		}
		require.Equal(t, []int64{6, 5, 4, 3, 2, 1}, all)
	}
	first := e.call(http.MethodGet, "/mass-requests/?limit=1&site_id=site+0&status=pending&created_from=2026-03-01T10:00:00Z&created_before=2026-03-02T00:00:00Z", "")
	next, err := url.Parse(first.json["next"].(string))
	require.NoError(t, err)
	for name, want := range map[string]string{
		"limit": "1", "site_id": "site 0", "status": "pending", "created_from": "2026-03-01T10:00:00Z", "created_before": "2026-03-02T00:00:00Z",
	} {
		require.Equal(t, want, next.Query().Get(name), "next keeps the filters")
	}
	require.Equal(t, [][]int64{{1}}, e.walk(next.String()))
}

func TestPagesStandStillWhileRowsCome(t *testing.T) {
	t.Parallel()
	e := setup(t)
	before := map[int64]bool{}
	for range 60 {
		before[e.submit(`{}`)] = true
	}
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for range 3 {
		writers.Go(func() {
			for ctx.Err() == nil {
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url+"/mass-requests/", strings.NewReader(`{"payload":{}}`))
				if err != nil {
					continue
				}
				e.sign(req).Header.Set("Content-Type", "application/json")
				if resp, err := http.DefaultClient.Do(req); err == nil {
					_ = resp.Body.Close()
				}
			}
		})
	}
	seen := map[int64]int{}
	for _, page := range e.walk("/mass-requests/?limit=7") {
		for _, id := range page {
			seen[id]++
		}
	}
	stop()
	writers.Wait()
	for id, times := range seen {
		require.Equal(t, 1, times, "request %d", id)
	}
	for id := range before {
		require.Equal(t, 1, seen[id], "request %d", id)
	}
}
