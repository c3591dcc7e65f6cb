package api_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/api"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

func TestAFullBacklogIsAnswered429(t *testing.T) {
	t.Parallel()
	e := setup(t, func(c *api.Config) { c.MaxBacklog = 3 })
	post := func() answer { return e.call(http.MethodPost, "/mass-requests/", `{"payload":{}}`) }
	a := post()
	for a.StatusCode == http.StatusCreated {
		a = post()
	}
	a.problem(t, http.StatusTooManyRequests, "backlog_full")
	seconds, err := strconv.Atoi(a.Header.Get("Retry-After"))
	require.NoError(t, err)
	require.Positive(t, seconds)
	stored := e.stored()
	require.GreaterOrEqual(t, stored, 3)
	require.Less(t, stored, 3+3, "about the limit")

	// When the workers have made room, the next count sees it.
	_, err = e.db.ExecContext(t.Context(), `UPDATE mass_requests SET status = 'cancelled', finished_at = now()`)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return post().StatusCode == http.StatusCreated }, patience, 10*time.Millisecond)

	// Another process' submissions are counted, too.
	for range 5 {
		_, err := e.store.InsertRequests(t.Context(), []store.NewRequest{{Payload: []byte(`{}`), SchemaVersion: "1.0-simple", Priority: jobs.Low}})
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return post().StatusCode == http.StatusTooManyRequests }, patience, 10*time.Millisecond)
}
