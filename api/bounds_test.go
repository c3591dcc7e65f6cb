package api_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/api"
	"github.com/leomutto/pilot-in-a-box/internal/auth"
)

// storeLarge stores done requests whose payloads have these sizes in bytes, the
// oldest first. Half of them have results of the same size, the others are
// their own normal form.
func (e *system) storeLarge(sizes ...int) {
	e.t.Helper()
	for i, size := range sizes {
		_, err := e.db.ExecContext(e.t.Context(), `
            INSERT INTO mass_requests (batch_id, payload, schema_version, status, result, normalized_as_submitted, finished_at)
            SELECT 1, p::json, '1.0-simple', 'done', CASE WHEN $2 THEN '{}'::json ELSE p::json END, $2, now()
            FROM (SELECT '{"text":"' || repeat('x', $1) || '"}' AS p) made`, size-len(`{"text":""}`), i%2 == 0)
		require.NoError(e.t, err)
	}
}

// Pages end early by their bytes, and next goes on exactly behind the last row.
func TestAPageEndsByItsBytes(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.storeLarge(100, 100, 1<<20, 1<<20, 1<<20, 1<<20, 1<<20, 1<<20, 9<<20, 100, 1<<20, 100)
	pages := e.walk("/mass-requests/?limit=500")
	var all []int64
	for _, page := range pages {
		all = append(all, page...)
	}
	assert.Equal(t, []int64{12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, all)
	assert.Equal(t, [][]int64{{12, 11, 10}, {9}, {8, 7, 6}, {5, 4, 3, 2, 1}}, pages, "8 MiB a page, and a larger request alone")

	for _, query := range []string{"?limit=500&status=done", "?limit=2"} {
		all = nil
		for _, page := range e.walk("/mass-requests/" + query) {
			all = append(all, page...)
		}
		assert.Equal(t, []int64{12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, all, query)
	}
	assert.Contains(t, e.call(http.MethodGet, "/openapi.json", "").text, "A page may have fewer MassRequests than `limit`")
}

// A caller who does not take what was asked for occupies a bounded part of the
// memory for pages, and no other caller notices.
func TestPagesThatNobodyReadsAreBounded(t *testing.T) {
	t.Parallel()
	e := setup(t, func(c *api.Config) { c.AnswerTimeout = 5 * time.Second })
	e.storeLarge(8<<20, 8<<20, 8<<20, 8<<20)
	viewer := e.as(auth.Viewer)
	for range 2 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.url+"/mass-requests/?limit=1", http.NoBody)
		require.NoError(t, err)
		resp, err := (&http.Client{Transport: &http.Transport{}}).Do(viewer.sign(req))
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		defer resp.Body.Close() // read by nobody until the end of the test
	}
	viewer.call(http.MethodGet, "/mass-requests/?limit=1", "").problem(t, http.StatusTooManyRequests, "rate_limited")
	assert.Equal(t, http.StatusOK, e.as(auth.Admin).call(http.MethodGet, "/mass-requests/?limit=1", "").StatusCode)
}

// The statement of a client that went away ends on the server, too.
func TestNoStatementRunsForNobody(t *testing.T) {
	t.Parallel()
	e := setup(t)
	running := func() (n int) {
		require.NoError(t, e.db.GetContext(t.Context(), &n, `
            SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND state = 'active' AND wait_event_type = 'Lock'`))
		return n
	}
	require.Equal(t, http.StatusOK, e.call(http.MethodGet, "/mass-requests/", "").StatusCode)
	lock, err := e.db.BeginTxx(t.Context(), nil)
	require.NoError(t, err)
	defer lock.Rollback() //nolint:errcheck // it only held the lock
	_, err = lock.ExecContext(t.Context(), `LOCK TABLE mass_submissions IN ACCESS EXCLUSIVE MODE`)
	require.NoError(t, err)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url+"/mass-requests/", http.NoBody)
	require.NoError(t, err)
	e.sign(req)
	ended := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		ended <- err
	}()
	eventually(t, "the list waits for the lock", func() bool { return running() == 1 })
	leave()
	require.ErrorIs(t, <-ended, context.Canceled)
	eventually(t, "the statement is canceled", func() bool { return running() == 0 })
}

// A caller who sends arrays slowly does not keep other callers from sending
// theirs, small or large.
func TestSlowArraysOfOneCallerCloseNothing(t *testing.T) {
	t.Parallel()
	e := setup(t, func(c *api.Config) { c.AnswerTimeout = 5 * time.Second })
	item := `{"payload":{"text":"` + strings.Repeat("x", 500_000) + `"}}`
	slow := e.as(auth.Operator)
	var senders sync.WaitGroup
	defer senders.Wait()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	for range 4 {
		body, pipe := io.Pipe()
		defer pipe.Close()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url+"/mass-requests/batch", body)
		require.NoError(t, err)
		req.ContentLength = 33_000_000
		slow.sign(req).Header.Set("Content-Type", "application/json")
		senders.Go(func() {
			if resp, err := (&http.Client{Transport: &http.Transport{}}).Do(req); err == nil {
				_ = resp.Body.Close()
			}
		})
		_, err = io.WriteString(pipe, "["+item+","+item+","+item+",") // and nothing more
		require.NoError(t, err)
	}
	for name, array := range map[string]string{"small": `[{"payload":{}}]`, "large": "[" + item + "," + item + "," + item + "]"} {
		a := e.as(auth.Admin).call(http.MethodPost, "/mass-requests/batch", array)
		assert.Equal(t, http.StatusOK, a.StatusCode, name+": "+a.text)
	}
	assert.Equal(t, http.StatusOK, slow.call(http.MethodPost, "/mass-requests/batch", `[{"payload":{}}]`).StatusCode, "a small array needs no place")
	slow.call(http.MethodPost, "/mass-requests/batch", "["+item+","+item+","+item+"]").problem(t, http.StatusTooManyRequests, "rate_limited")
}
