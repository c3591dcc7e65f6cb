package api_test

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/store"
)

// happen adds n events of each of three actors to the trail, a minute apart, oldest first.
func (e *system) happen(n int) {
	e.t.Helper()
	_, err := e.db.ExecContext(e.t.Context(), `
        INSERT INTO audit_events (at, request_id, action, actor, detail, http_request_id)
        SELECT '2026-03-01T10:00:00Z'::timestamptz + g * interval '1 minute', 1000 + g % 2, 'test', 'actor:' || g % 3, '=1+1', 'http-' || g
        FROM generate_series(0, 3 * $1::int - 1) g`, n)
	require.NoError(e.t, err)
}

// trail follows the pages of the trail and returns the ids of each.
func (e *system) trail(path string) (pages [][]int64) {
	e.t.Helper()
	for {
		a := e.call(http.MethodGet, path, "")
		require.Equal(e.t, http.StatusOK, a.StatusCode, a.text)
		pages = append(pages, a.ids())
		next, more := a.json["next"].(string)
		if !more {
			return pages
		}
		require.True(e.t, strings.HasPrefix(next, "/audit?"), next)
		path = next
	}
}

func flat(pages [][]int64) (all []int64) {
	for _, p := range pages {
		all = append(all, p...)
	}
	return all
}

func TestAuditFiltersAndPages(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.happen(4)
	var first int64
	require.NoError(t, e.db.GetContext(t.Context(), &first, `SELECT min(id) FROM audit_events WHERE action = 'test'`))
	at := func(places ...int64) (ids []int64) {
		for _, p := range places {
			ids = append(ids, first+p)
		}
		return ids
	}
	for query, want := range map[string][]int64{
		"action=test":                           at(11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
		"actor=actor:1":                         at(10, 7, 4, 1),
		"mass_request_id=1001&actor=nine":       nil,
		"mass_request_id=1001":                  at(11, 9, 7, 5, 3, 1),
		"http_request_id=http-5":                at(5),
		"action=test&from=2026-03-01T10:09:00Z": at(11, 10, 9),
		"action=test&to=2026-03-01T10:02:00Z":   at(1, 0),
		"action=test&from=2026-03-01T10:03:00Z&to=2026-03-01T12:05:00%2B02:00": at(4, 3),
		"actor=actor:0&from=2026-03-01T10:03:00Z&to=2026-03-01T10:07:00Z":      at(6, 3),
		"from=2036-03-01T10:03:00Z":                                            nil,
		"to=2020-03-01T10:03:00Z":                                              nil,
	} {
		require.Equal(t, want, flat(e.trail("/audit?"+query)), query)
		for limit := 1; limit <= 13; limit += 3 {
			pages := e.trail(fmt.Sprintf("/audit/?%s&limit=%d", query, limit))
			require.Equal(t, want, flat(pages), query)
			for _, page := range pages[:len(pages)-1] {
				require.Len(t, page, limit)
			}
		}
	}
	a := e.call(http.MethodGet, "/audit?http_request_id=http-5", "")
	event, _ := a.json["items"].([]any)[0].(map[string]any)
	assert.Equal(t, json.Number("1001"), event["mass_request_id"])
	assert.Equal(t, "2026-03-01T10:05:00.000000Z", event["at"])
	assert.Contains(t, event, "biocore_version")
	assert.Nil(t, event["commit"])
}

func TestAuditSkipsWhatIsFarBetween(t *testing.T) {
	t.Parallel()
	e := setup(t)
	_, err := e.db.ExecContext(t.Context(), `
        INSERT INTO audit_events (id, action, actor) OVERRIDING SYSTEM VALUE
        SELECT g, 'test', 'many' FROM generate_series(1001, 1000 + $1) g UNION ALL
        SELECT g, 'test', 'rare' FROM unnest(ARRAY[1000, 2000000, 2000001, 4000000000000000000]) g`, 2*store.AuditWindow)
	require.NoError(t, err)
	require.Equal(t, []int64{4e18, 2000001, 2000000, 1000}, flat(e.trail("/audit?actor=rare&limit=1")))
	a := e.call(http.MethodGet, "/audit?format=csv&actor=rare", "")
	require.Equal(t, 5, strings.Count(a.text, "\n"))
}

func TestAuditStreams(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.happen(1000) // more than a step
	export := func(path string, headers ...string) answer {
		t.Helper()
		a := e.call(http.MethodGet, path, "", headers...)
		require.Equal(t, http.StatusOK, a.StatusCode, a.text)
		return a
	}
	a := export("/audit?format=csv&action=test")
	require.Equal(t, "text/csv; charset=utf-8; header=present", a.Header.Get("Content-Type"))
	require.Contains(t, a.Header.Get("Content-Disposition"), "audit.csv")
	list, err := csv.NewReader(strings.NewReader(a.text)).ReadAll()
	require.NoError(t, err)
	require.Len(t, list, 3001)
	assert.Equal(t, "2026-03-01T10:00:00.000000Z", list[1][1], "oldest first")
	assert.Equal(t, "'=1+1", list[1][9])

	a = export("/audit?actor=actor:2&from=2026-03-01T10:00:00Z", "Accept", "text/html;q=0.1, application/x-ndjson")
	require.Equal(t, "application/x-ndjson", a.Header.Get("Content-Type"))
	lines := bufio.NewScanner(strings.NewReader(a.text))
	n := 0
	for ; lines.Scan(); n++ {
		var event map[string]any
		require.NoError(t, json.Unmarshal(lines.Bytes(), &event))
		require.Equal(t, "actor:2", event["actor"])
	}
	require.Equal(t, 1000, n)

	var trail []struct{ Action, Actor, Detail, Client string }
	require.NoError(t, e.db.SelectContext(t.Context(), &trail, `
        SELECT action, actor, detail, client FROM audit_events WHERE action LIKE 'export%' AND http_request_id IS NOT NULL AND trace_id IS NULL ORDER BY id`))
	require.Len(t, trail, 4)
	assert.Equal(t, "export", trail[0].Action)
	assert.Equal(t, "csv action=test", trail[0].Detail)
	assert.Equal(t, "127.0.0.1", trail[0].Client)
	assert.True(t, strings.HasPrefix(trail[0].Actor, "key:"), trail[0].Actor)
	assert.Equal(t, "export_end", trail[3].Action)
	assert.Equal(t, "1000 events, complete: ndjson actor=actor%3A2&from=2026-03-01T10%3A00%3A00Z", trail[3].Detail)
}

func TestAuditRefusals(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for _, role := range []auth.Role{auth.Viewer, auth.Operator} {
		e.as(role).call(http.MethodGet, "/audit?format=csv", "").problem(t, http.StatusForbidden, "forbidden")
	}
	e.as("").call(http.MethodGet, "/audit", "").problem(t, http.StatusUnauthorized, "unauthenticated")
	for query, name := range map[string]string{
		"limit=501": "limit", "format=xml": "format", "mass_request_id=0": "mass_request_id", "from=yesterday": "from",
		"from=2026-03-02T00:00:00Z&to=2026-03-02T00:00:00Z": "from", "cursor=AQAGTEWX1tugAAAAAAAAACo": "cursor", "cursor=AgAAAAAAAAAA": "cursor",
		"who=me": "who",
	} {
		a := e.call(http.MethodGet, "/audit?"+query, "")
		a.problem(t, http.StatusUnprocessableEntity, "validation_failed")
		require.Equal(t, []string{name}, a.faults(), query)
	}
	e.call(http.MethodGet, "/audit", "", "Accept", "image/png").problem(t, http.StatusNotAcceptable, "not_acceptable")
	require.Equal(t, http.StatusOK, e.call(http.MethodHead, "/audit?format=csv", "").StatusCode)
	var n int
	require.NoError(t, e.db.GetContext(t.Context(), &n, `SELECT count(*) FROM audit_events WHERE action LIKE 'export%'`))
	require.Zero(t, n, "nothing was given out")
}

func TestAnExportThatIsCutOffSaysSo(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.happen(40_000) // more than the buffers between server and client hold
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.url+"/audit?format=ndjson", nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(e.sign(req))
	require.NoError(t, err)
	_, err = resp.Body.Read(make([]byte, 100))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close()) // the client goes away
	eventually(t, "the end is recorded", func() bool {
		var detail string
		err := e.db.GetContext(t.Context(), &detail, `SELECT detail FROM audit_events WHERE action = 'export_end'`)
		return err == nil && strings.HasSuffix(detail, "events, cut off: ndjson all")
	})
}
