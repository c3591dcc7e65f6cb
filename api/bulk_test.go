package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/api"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
)

type bulkResult struct {
	Matched int     `json:"matched"`
	Changed int     `json:"changed"`
	More    bool    `json:"more"`
	Cursor  *string `json:"cursor"`
}

func (e *system) bulk(body string) (r bulkResult) {
	e.t.Helper()
	a := e.call(http.MethodPost, "/mass-requests/bulk", body)
	require.Equal(e.t, http.StatusOK, a.StatusCode, a.text)
	require.NoError(e.t, json.Unmarshal([]byte(a.text), &r))
	return r
}

// bulkAll repeats a bulk with its cursor until there is no more.
func (e *system) bulkAll(fields string) (changed, calls int) {
	e.t.Helper()
	cursor := ""
	for {
		r := e.bulk(`{` + fields + cursor + `}`)
		assert.LessOrEqual(e.t, r.Changed, r.Matched)
		changed, calls = changed+r.Changed, calls+1
		if !r.More {
			assert.Nil(e.t, r.Cursor)
			return changed, calls
		}
		cursor = fmt.Sprintf(`,"cursor":%q`, *r.Cursor)
	}
}

func (e *system) count(where string) (n int) {
	e.t.Helper()
	require.NoError(e.t, e.db.GetContext(e.t.Context(), &n, `SELECT count(*) FROM mass_requests WHERE `+where))
	return n
}

func (e *system) fill(n int) {
	e.t.Helper()
	_, err := e.db.ExecContext(e.t.Context(), `
        INSERT INTO mass_requests (batch_id, payload, schema_version, status, error, created_at, finished_at, site_id)
        SELECT nextval('mass_batches'), '{}', '1.0-simple', CASE WHEN n % 2 = 0 THEN 'pending' ELSE 'failed' END, 'no', now() - make_interval(secs => n / 3),
               CASE WHEN n % 2 = 1 THEN now() END, 's' || n % 3
        FROM generate_series(1, $1::int) n`, n)
	require.NoError(e.t, err)
}

func TestBulkIsBoundedAndRepeatable(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.fill(3000)
	dry := e.bulk(`{"action":"cancel","filter":{"site_id":"s0"},"dry_run":true}`)
	assert.Equal(t, bulkResult{Matched: 500}, dry)
	dry = e.bulk(`{"action":"cancel","all":true,"dry_run":true}`)
	assert.Equal(t, 1000, dry.Matched)
	assert.True(t, dry.More)
	assert.Equal(t, 1500, e.count(`status = 'pending'`), "nothing was moved")

	first := e.bulk(`{"action":"cancel","filter":{"site_id":"s0"},"limit":120}`)
	assert.Equal(t, 120, first.Matched)
	assert.Equal(t, 120, first.Changed)
	assert.True(t, first.More)
	changed, calls := e.bulkAll(`"action":"cancel","filter":{"site_id":"s0"},"limit":120`)
	assert.Equal(t, 380, changed)
	assert.Equal(t, 4, calls)
	changed, _ = e.bulkAll(`"action":"cancel","all":true,"limit":10000`)
	assert.Equal(t, 1000, changed)
	assert.Zero(t, e.count(`status = 'pending'`))
	assert.Equal(t, 1500, e.count(`status = 'cancelled'`))
	assert.Zero(t, e.bulk(`{"action":"cancel","all":true}`).Matched)

	var events int
	require.NoError(t, e.db.GetContext(t.Context(), &events,
		`SELECT count(*) FROM audit_events WHERE action = 'cancel' AND from_status = 'pending' AND to_status = 'cancelled' AND detail = 'bulk'`))
	assert.Equal(t, 1500, events)
}

func TestBulkReplayIsEnqueued(t *testing.T) {
	t.Parallel()
	e := setup(t, func(c *api.Config) { c.BatchMax = 50 })
	e.fill(400)
	changed, _ := e.bulkAll(`"action":"replay","filter":{"status":"failed"},"limit":130`)
	assert.Equal(t, 200, changed)
	var batches []struct {
		ID   int64     `db:"batch_id"`
		Lane jobs.Lane `db:"lane"`
	}
	require.NoError(t, e.db.SelectContext(t.Context(), &batches,
		`SELECT batch_id, lane FROM mass_requests WHERE error IS NULL GROUP BY 1, 2 HAVING count(*) <= 50`))
	assert.Len(t, batches, 3+2, "130 in three, 70 in two")
	eventually(t, "every batch has a task", func() bool {
		refs := make([]jobs.BatchRef, len(batches))
		for i, b := range batches {
			refs[i] = jobs.BatchRef{ID: b.ID, Priority: jobs.Default, Lane: b.Lane}
		}
		missing, err := queue.WithoutTask(t.Context(), e.rdb, refs)
		return err == nil && len(missing) == 0
	})
}

// Done requests are done again only when somebody says so.
func TestBulkReplayOfDoneMustBeNamed(t *testing.T) {
	t.Parallel()
	e := setup(t)
	id := e.submit(`{}`)
	_, err := e.db.ExecContext(t.Context(), `UPDATE mass_requests SET status = 'done', result = '{}', finished_at = now() WHERE id = $1`, id)
	require.NoError(t, err)
	assert.Zero(t, e.bulk(`{"action":"replay","all":true}`).Matched)
	assert.Equal(t, 1, e.bulk(`{"action":"replay","filter":{"status":"done"}}`).Changed)
	assert.Equal(t, 1, e.count(`status = 'pending' AND result IS NULL`))
}

func TestBulkTellsTheWorkers(t *testing.T) {
	t.Parallel()
	e := setup(t)
	// Channels are shared by all tests: the id must be nobody else's.
	_, err := e.db.ExecContext(t.Context(), `ALTER SEQUENCE mass_requests_id_seq RESTART 918273645`)
	require.NoError(t, err)
	id := e.submit(`{"n":1}`)
	var heard atomic.Bool
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		queue.HearCancels(ctx, e.rdb, func(got int64) {
			if got == id {
				heard.Store(true)
			}
		})
	})
	defer wg.Wait()
	defer cancel()
	eventually(t, "the bulk is heard", func() bool {
		_, err := e.db.ExecContext(t.Context(), `UPDATE mass_requests SET status = 'processing', claimed_by = 1, finished_at = NULL WHERE id = $1`, id)
		require.NoError(t, err)
		e.bulk(`{"action":"cancel","filter":{"status":"processing"}}`)
		return heard.Load()
	})
}

// While others claim and settle, each request is moved once and ends once.
func TestBulkAmongWorkers(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.fill(1200)
	worker, err := e.store.RegisterWorker(t.Context(), "host", 1, "test")
	require.NoError(t, err)
	var wg sync.WaitGroup
	var batches []int64
	require.NoError(t, e.db.SelectContext(t.Context(), &batches, `SELECT batch_id FROM mass_requests WHERE status = 'pending'`))
	accepted := make([]int, 3)
	for part := range 3 {
		wg.Go(func() {
			for i := part; i < len(batches); i += 3 {
				claimed, _, err := e.store.ClaimBatches(t.Context(), worker, []int64{batches[i]}, 16<<20)
				assert.NoError(t, err)
				for _, c := range claimed {
					s, err := e.store.WriteOutcomes(t.Context(), worker, []jobs.Outcome{{Lease: c.Lease, Action: jobs.Finish, Result: jobs.Result{JSON: json.RawMessage(`{}`)}}})
					assert.NoError(t, err)
					if len(s) == 1 && s[0].Accepted {
						accepted[part]++
					}
				}
			}
		})
	}
	cancelled := 0
	for range 20 {
		cancelled += e.bulk(`{"action":"cancel","filter":{"site_id":"s1"},"limit":40}`).Changed
	}
	wg.Wait()
	assert.Equal(t, cancelled, e.count(`status = 'cancelled'`))
	assert.Equal(t, accepted[0]+accepted[1]+accepted[2], e.count(`status = 'done'`))
	assert.Equal(t, 600, e.count(`status IN ('done', 'cancelled')`))
	var ends int
	require.NoError(t, e.db.GetContext(t.Context(), &ends, `
        SELECT count(*) FROM (SELECT request_id FROM audit_events WHERE to_status IN ('done', 'cancelled') GROUP BY 1 HAVING count(*) <> 1) x`))
	assert.Zero(t, ends, "nobody ends twice")
	t.Logf("%d cancelled", cancelled)
}

func TestBulkRefusals(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.submit(`{}`)
	for body, want := range map[string][]string{
		`{"action":"cancel"}`:                                     {"/filter"},
		`{"action":"cancel","filter":{}}`:                         {"/filter"},
		`{"action":"cancel","all":false}`:                         {"/filter"},
		`{"action":"cancel","all":true,"filter":{"site_id":"s"}}`: {"/all"},
		`{"all":true}`:                                            {"/action"},
		`{"action":"delete","all":true}`:                          {"/action"},
		`{"action":"cancel","filter":{"site":"s"}}`:               {"/filter/site"},
		`{"action":"cancel","all":true,"force":1}`:                {"/force"},
		`{"action":"replay","filter":{"status":"pending"}}`:       {"/filter/status"},
		`{"action":"cancel","filter":{"status":"done"}}`:          {"/filter/status"},
		`{"action":"cancel","filter":{"site_id":"  "}}`:           {"/filter/site_id"},
		`{"action":"cancel","filter":{"site_id":"a\u0000"}}`:      {"/filter/site_id"},
		`{"action":"cancel","all":true,"cursor":"nonsense"}`:      {"/cursor"},
		`{"action":"cancel","all":true,"limit":10001}`:            {"/limit"},
		`{"action":"cancel","filter":{"created_from":"2026-03-02T00:00:00Z","created_before":"2026-03-01T00:00:00Z"}}`: {"/filter/created_from"},
	} {
		a := e.call(http.MethodPost, "/mass-requests/bulk", body)
		a.problem(t, http.StatusUnprocessableEntity, "validation_failed")
		assert.Equal(t, want, a.faults(), body)
	}
	e.call(http.MethodPost, "/mass-requests/bulk", `{`).problem(t, http.StatusBadRequest, "invalid_json")
	assert.Equal(t, 1, e.count(`status = 'pending'`))
	assert.Equal(t, 1, e.bulk(`{"cursor":null,"limit":null,"action":"cancel","all":true}`).Changed, "null is absent")
}
