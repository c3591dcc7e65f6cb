package store_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

func TestInsertKeepsOrderValuesAndGroups(t *testing.T) {
	t.Parallel()
	b := setup(t)
	items := []store.NewRequest{
		{Payload: json.RawMessage(`{"text": "a\"b\\c{},' ü \u2028", "big": 123456789012345678901234567890, "dec": 1.500}`), SchemaVersion: "1.0-simple", Priority: jobs.High, SiteID: "s\\1", CorrelationID: `"q"`, CreatedBy: "bob"},
		{Payload: json.RawMessage(`{}`), SchemaVersion: "1.1", Priority: jobs.Low, ClusterID: "c1", Group: 1},
		{Payload: json.RawMessage(`{"n": 3}`), SchemaVersion: "1.0-simple", Priority: jobs.High},
	}
	in, err := b.InsertRequests(b.ctx, items)
	require.NoError(t, err)
	assert.Less(t, in[0].ID, in[1].ID)
	assert.Equal(t, in[0].BatchID, in[2].BatchID)
	assert.NotEqual(t, in[0].BatchID, in[1].BatchID)

	first := b.get(in[0].ID)
	assert.Equal(t, jobs.StatusPending, first.Status)
	assert.Equal(t, jobs.High, first.Priority)
	assert.Equal(t, `s\1`, first.SiteID)
	assert.Equal(t, `"q"`, first.CorrelationID)
	assert.Equal(t, "bob", first.CreatedBy)
	assert.Contains(t, string(first.Payload), "123456789012345678901234567890")
	assert.Contains(t, string(first.Payload), "1.500")
	assert.JSONEq(t, string(items[0].Payload), string(first.Payload))
	assert.Zero(t, first.Attempt)
	assert.Nil(t, first.Result)
	assert.True(t, first.CreatedAt.Equal(in[0].CreatedAt))
	second := b.get(in[1].ID)
	assert.Equal(t, "c1", second.ClusterID)
	assert.Empty(t, second.SiteID)
}

// A payload is stored as it is, unless no query could read it.
func TestPayloadsAreStoredAsTheyAreOrRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	exact := []string{
		`{}`, ` { "b" : [1e2, 1.0, -0.0] , "a":{} } `, `{"e":"\u00e9\/\\u0000 \ud83d\ude00","long":"` + strings.Repeat(`\\u0000`, 2000) + `"}`,
	}
	for i, row := range b.submit(exact...) {
		assert.Equal(t, exact[i], string(b.get(row.ID).Payload))
	}
	for _, wrong := range []string{`[]`, `1`, `null`, ``, `{"a":1`, `{"nul":"\u0000"}`, `{"\u0000":1}`, `{"half":"\ud83d"}`, `{"half":"\ude00"}`, `{"half":"\\\ud83d x"}`, "{\"utf8\":\"\xff\"}"} {
		_, err := b.InsertRequests(b.ctx, []store.NewRequest{{Payload: json.RawMessage(wrong), SchemaVersion: "1.0-simple", Priority: jobs.Default}})
		require.ErrorIs(t, err, store.ErrInvalid, wrong)
	}
}

// The view has payload and whole result as jsonb, for operators that json lacks.
func TestTheViewIsForQueriesByMember(t *testing.T) {
	t.Parallel()
	b := setup(t)
	in := b.submit(`{"b": 1e2, "a": {"x": "\u00e9"}}`, `{"b": 1}`)
	w := b.worker()
	claimed := b.claim(w, in[0].BatchID)
	b.settle(w, jobs.Outcome{Lease: claimed[0].Lease, Action: jobs.Finish, Result: jobs.Result{JSON: json.RawMessage(`{"warnings":[]}`), AsSubmitted: true}})
	var ids []int64
	require.NoError(t, b.db.SelectContext(b.ctx, &ids, `
        SELECT id FROM mass_requests_jsonb WHERE payload @> '{"b": 100, "a": {"x": "é"}}' AND result #>> '{normalized,a,x}' = 'é' AND status = 'done'`))
	assert.Equal(t, []int64{in[0].ID}, ids)
}

func TestEachGroupGetsABatch(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, key := range []string{"", "k"} { // both of the statements
		item := func(group int, key string) store.NewRequest {
			return store.NewRequest{
				Payload: json.RawMessage(`{}`), SchemaVersion: "1.0-simple", Priority: jobs.Default, Group: group,
				IdempotencyKey: key, Digest: make([]byte, 32),
			}
		}
		in, err := b.InsertRequests(b.ctx, []store.NewRequest{item(1, key), item(0, ""), item(1, "")})
		require.NoError(t, err)
		assert.Equal(t, in[0].BatchID, in[2].BatchID)
		assert.NotEqual(t, in[0].BatchID, in[1].BatchID)
		for _, r := range in {
			assert.Equal(t, r.BatchID, b.get(r.ID).BatchID)
		}
	}
}

func TestListFiltersAndPages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var all []int64
	for i := range 12 {
		in, err := b.InsertRequests(b.ctx, []store.NewRequest{{
			Payload: json.RawMessage(`{}`), SchemaVersion: "1.0-simple", Priority: jobs.Default,
			SiteID: fmt.Sprintf("s%d", i%2), ClusterID: fmt.Sprintf("c%d", i%3),
		}})
		require.NoError(t, err)
		all = append(all, in[0].ID)
	}
	_, err := b.MoveRequest(b.ctx, all[3], jobs.StatusCancelled, store.Origin{Actor: "test"})
	require.NoError(t, err)

	ids := func(f store.Filter) (list []int64) {
		t.Helper()
		if f.Limit == 0 {
			f.Limit = 100
		}
		rs, _, err := b.ListRequests(b.ctx, f, store.PageBytes)
		require.NoError(t, err)
		for _, r := range rs {
			list = append(list, r.ID)
		}
		return list
	}
	newestFirst := func(places ...int) (list []int64) {
		for i := len(places) - 1; i >= 0; i-- {
			list = append(list, all[places[i]])
		}
		return list
	}
	assert.Equal(t, newestFirst(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11), ids(store.Filter{}))
	assert.Equal(t, newestFirst(3), ids(store.Filter{Status: jobs.StatusCancelled}))
	assert.Empty(t, ids(store.Filter{Status: jobs.StatusDone}))
	assert.Equal(t, newestFirst(1, 3, 5, 7, 9, 11), ids(store.Filter{SiteID: "s1"}))
	assert.Equal(t, newestFirst(0, 6), ids(store.Filter{SiteID: "s0", ClusterID: "c0"}))
	assert.Empty(t, ids(store.Filter{SiteID: "' OR true --"}))
	third, sixth := b.get(all[3]).CreatedAt, b.get(all[6]).CreatedAt
	assert.Equal(t, newestFirst(3, 4, 5), ids(store.Filter{CreatedFrom: third, CreatedBefore: sixth}))

	var paged []int64
	position := store.Position{}
	for {
		page, _, err := b.ListRequests(b.ctx, store.Filter{Limit: 5, After: position}, store.PageBytes)
		require.NoError(t, err)
		for _, r := range page {
			paged = append(paged, r.ID)
			position = store.Position{CreatedAt: r.CreatedAt, ID: r.ID}
		}
		b.submit(`{}`) // newer rows never disturb the pages that follow
		if len(page) < 5 {
			break
		}
	}
	assert.Equal(t, newestFirst(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11), paged)
}

// Each index earns its keep: with many rows, the statements that need one use
// it and never read the whole table.
func TestStatementsUseTheirIndexes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.db.ExecContext(b.ctx, `
        INSERT INTO mass_requests (batch_id, payload, schema_version, status, site_id, cluster_id, result, created_at, finished_at, claimed_by)
        SELECT n / 10, '{}', '1.0-simple', s, 's' || n % 50, 'c' || n % 500, '{}', now() - make_interval(secs => 50000 - n),
               CASE WHEN s IN ('done', 'failed') THEN now() END, CASE WHEN s = 'processing' THEN n % 7 END
        FROM (SELECT n, CASE WHEN n % 1000 = 1 THEN 'pending' WHEN n % 1000 = 2 THEN 'processing' WHEN n % 1000 = 3 THEN 'failed' ELSE 'done' END AS s
              FROM generate_series(1, 50000) n) x`)
	require.NoError(t, err)
	_, err = b.db.ExecContext(b.ctx, `ANALYZE mass_requests, mass_submissions`)
	require.NoError(t, err)

	longAgo := time.Now().Add(-10 * time.Hour)
	for index, query := range map[string]string{
		"mass_submissions_submitted": store.ExplainList(store.Filter{CreatedBefore: longAgo, Limit: 50}),
		"mass_requests_ended_badly":  store.ExplainList(store.Filter{Status: jobs.StatusFailed, Limit: 50}),
		"mass_submissions_site":      store.ExplainList(store.Filter{SiteID: "s7", Limit: 50}),
		"mass_submissions_cluster":   store.ExplainList(store.Filter{ClusterID: "c7", Limit: 50}),
		"mass_requests_open_batch":   `SELECT id FROM mass_requests WHERE batch_id = ANY ('{17,18}'::bigint[]) AND status = 'pending' AND NOT parked`,
		"mass_requests_claimed_by":   `SELECT id FROM mass_requests WHERE claimed_by = 3 AND status = 'processing' ORDER BY id LIMIT 100`,
		"mass_requests_pkey":         `SELECT id FROM mass_requests WHERE id = 7`,
		" Index":                     store.ExplainList(store.Filter{Status: jobs.StatusPending, Limit: 50}), // one of several, as the figures say
	} {
		var plan []string
		require.NoError(t, b.db.SelectContext(b.ctx, &plan, `EXPLAIN `+query), query)
		text := strings.Join(plan, "\n")
		assert.Contains(t, text, index, query)
		assert.NotContains(t, text, "Seq Scan", query)
	}
}

func TestADataSourceNameNeverShowsItsPassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"mysql://u:secret@h/d", "host=h password=secret port", "postgres://u:secret@h:notaport/d\x7f"} {
		_, err := store.Open(store.Config{URL: url})
		require.Error(t, err, url)
		assert.NotContains(t, err.Error(), "secret")
	}
}

func TestSettingsReachTheServer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var app, timeout string
	require.NoError(t, store.Raw(b.Store).GetContext(b.ctx, &app, `SHOW application_name`))
	require.NoError(t, store.Raw(b.Store).GetContext(b.ctx, &timeout, `SHOW statement_timeout`))
	assert.Equal(t, "test", app)
	assert.Equal(t, "10min", timeout)
}
