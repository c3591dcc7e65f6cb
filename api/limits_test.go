package api_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/leomutto/pilot-in-a-box/api"
	"github.com/leomutto/pilot-in-a-box/internal/auth"
)

// atOnce sends the same request n times at the same time.
func (e *system) atOnce(n int, method, path, body string, headers ...string) []answer {
	e.t.Helper()
	answers := make([]answer, n)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = e.call(method, path, body, headers...) })
	}
	all.Wait()
	return answers
}

func TestACallerHasARate(t *testing.T) {
	t.Parallel()
	e := setup(t, func(c *api.Config) { c.Access.CallerRate, c.Access.CallerBurst = 1, 3 })
	e.token() // made before the calls that share it
	taken, refused := 0, 0
	for refused == 0 { // many at once: one after the other they may be slower than the rate
		for _, a := range e.atOnce(50, http.MethodPost, "/mass-requests/", `{"payload":{}}`) {
			if a.StatusCode == http.StatusCreated {
				taken++
				assert.Equal(t, `"caller";q=1;w=1`, a.Header.Get("RateLimit-Policy"))
				assert.Contains(t, a.Header.Get("RateLimit"), `"caller";r=`)
				continue
			}
			refused++
			a.problem(t, http.StatusTooManyRequests, "rate_limited")
			assert.Equal(t, "1", a.Header.Get("Retry-After"))
		}
	}
	assert.GreaterOrEqual(t, taken, 3, "the burst, and what came back meanwhile")
	assert.Equal(t, taken, e.stored())
	assert.Equal(t, http.StatusOK, e.as(auth.Viewer).call(http.MethodGet, "/mass-requests/", "").StatusCode, "another caller has its own")
	assert.Equal(t, http.StatusOK, e.call(http.MethodGet, "/health/live", "").StatusCode, "health is asked for by nobody")
}

// Each item of a batch counts; those beyond the rate are refused alone and may be
// sent again.
func TestItemsOfABatchCount(t *testing.T) {
	t.Parallel()
	e := setup(t, func(c *api.Config) { c.Access.CallerRate, c.Access.CallerBurst = 1, 5 })
	const items = 200 // more than grow back while a slow machine reads them
	a := e.call(http.MethodPost, "/mass-requests/batch", strings.Repeat(`{"payload":{}}`+"\n", items), "Content-Type", "application/x-ndjson")
	assert.Equal(t, http.StatusOK, a.StatusCode, a.text)
	refused := strings.Count(a.text, `"rate_limited"`)
	assert.Positive(t, refused, a.text)
	assert.GreaterOrEqual(t, e.stored(), 4, "five, less the request itself")
	assert.Equal(t, items, e.stored()+refused)
}

func TestAnAddressWithoutATokenHasARate(t *testing.T) {
	t.Parallel()
	e := setup(t, func(c *api.Config) { c.Access.AddressRate = 1 })
	statuses := map[int]int{}
	for _, a := range e.atOnce(50, http.MethodGet, "/mass-requests/", "", "Authorization", "Bearer nonsense") {
		statuses[a.StatusCode]++
		if a.StatusCode == http.StatusTooManyRequests {
			a.problem(t, http.StatusTooManyRequests, "rate_limited")
		}
	}
	assert.GreaterOrEqual(t, statuses[http.StatusUnauthorized], 2)
	assert.Positive(t, statuses[http.StatusTooManyRequests])
	assert.Len(t, statuses, 2)
	assert.Equal(t, http.StatusOK, e.call(http.MethodGet, "/mass-requests/", "").StatusCode, "who shows a token is counted by it")
}
