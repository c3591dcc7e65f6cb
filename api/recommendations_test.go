package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/systemtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// recommended stores a request that is done, and what BioCore said about it. It
// returns the ids of the request and of the recommendation.
func (e *system) recommended(site string, state jobs.RecommendationState) (request, recommendation int64) {
	e.t.Helper()
	ctx := e.t.Context()
	end := time.Now().UTC().Truncate(time.Second).Add(-time.Duration(e.advised) * time.Minute)
	e.advised++
	e.measureAnd(store.RecommendPolicy{MaxAge: 24 * time.Hour, Patience: time.Hour},
		measured{site: site, cluster: "x", from: end.Add(-time.Minute), to: end, it: 10, facility: 13})
	due, err := e.store.DueRecommendations(ctx, store.DueRecommendation{}, 10)
	require.NoError(e.t, err)
	require.Len(e.t, due, 1)
	claimed, err := e.store.ClaimRecommendation(ctx, due[0].RecommendationRef, time.Hour)
	require.NoError(e.t, err)
	o := jobs.RecommendationOutcome{RecommendationRef: claimed.RecommendationRef, State: state}
	switch state {
	case jobs.RecommendationAvailable:
		o.Answer, err = os.ReadFile("../internal/biocore/testdata/answer.json")
		require.NoError(e.t, err)
		o.ModelName, o.ModelVersion, o.PolicyID, o.Latency, o.Categories = "biocore", "4.2.0", "shadow-7", 12*time.Millisecond, []string{"cooling"}
	case jobs.RecommendationRefused:
		o.Faults, o.Reason = []byte(`[{"pointer":"/response/audit/mode","detail":"must be shadow"}]`), "the answer has a fault"
	default:
		o.Reason = "BioCore answered 500"
	}
	_, err = e.store.SettleRecommendation(ctx, 1, &o)
	require.NoError(e.t, err)
	return claimed.RequestID, claimed.ID
}

func TestRecommendationsOfARequest(t *testing.T) {
	t.Parallel()
	e := setup(t)
	request, id := e.recommended("oslo-1", jobs.RecommendationAvailable)
	got := e.call(http.MethodGet, fmt.Sprintf("/mass-requests/%d/recommendations", request), "")
	require.Equal(t, http.StatusOK, got.StatusCode, got.text)
	items := got.json["items"].([]any)
	require.Len(t, items, 1)
	one := items[0].(map[string]any)
	assert.Equal(t, fmt.Sprint(id), fmt.Sprint(one["id"]))
	assert.Equal(t, "available", one["state"])
	assert.Nil(t, one["reason"])
	assert.Equal(t, map[string]any{"name": "biocore", "version": "4.2.0", "policy_id": "shadow-7"}, one["model"])
	advice := one["recommendations"].([]any)[0].(map[string]any)
	assert.Equal(t, "cooling_setpoint_c", advice["action"].(map[string]any)["target"])
	assert.Equal(t, "-84", fmt.Sprint(one["summary"].(map[string]any)["estimated_impact_24h"].(map[string]any)["energy_kwh"]))
	assert.Equal(t, []any{"one sample is missing"}, one["summary"].(map[string]any)["warnings"])
	assert.Empty(t, one["faults"])

	assert.Equal(t, http.StatusNotFound, e.call(http.MethodGet, "/mass-requests/999/recommendations", "").StatusCode)

	// A refused answer shows its faults, and nothing that could be taken for advice.
	request, _ = e.recommended("oslo-1", jobs.RecommendationRefused)
	got = e.call(http.MethodGet, fmt.Sprintf("/mass-requests/%d/recommendations", request), "")
	one = got.json["items"].([]any)[0].(map[string]any)
	assert.Equal(t, "refused", one["state"])
	assert.Equal(t, []any{map[string]any{"pointer": "/response/audit/mode", "detail": "must be shadow"}}, one["faults"])
	assert.Nil(t, one["summary"])
	assert.Empty(t, one["recommendations"])

	// The events of the request tell of it.
	events := e.call(http.MethodGet, fmt.Sprintf("/mass-requests/%d/events", request), "")
	assert.Contains(t, events.text, `"recommend"`)
	assert.Contains(t, events.text, "refused: the answer has a fault")
}

func TestRecommendationsAreListedBySite(t *testing.T) {
	t.Parallel()
	e := setup(t)
	var ids []string
	for i := range 5 {
		state := jobs.RecommendationAvailable
		if i == 2 {
			state = jobs.RecommendationUnavailable
		}
		_, id := e.recommended("oslo-1", state) // each window is older than the one before
		ids = append(ids, strconv.FormatInt(id, 10))
	}
	list := func(query string) (found []string, pages int) {
		for path := "/recommendations?site=oslo-1&from=now-1d&to=now%2B1d&" + query; path != ""; pages++ {
			got := e.call(http.MethodGet, path, "")
			require.Equal(t, http.StatusOK, got.StatusCode, got.text)
			for _, item := range got.json["items"].([]any) {
				found = append(found, fmt.Sprint(item.(map[string]any)["id"]))
			}
			path, _ = got.json["next"].(string)
		}
		return found, pages
	}
	found, pages := list("limit=2")
	assert.Equal(t, ids, found)
	assert.Equal(t, 3, pages)
	found, _ = list("state=unavailable")
	assert.Equal(t, ids[2:3], found)
	found, _ = list("category=cooling&limit=1")
	assert.Equal(t, append(append([]string{}, ids[:2]...), ids[3:]...), found)
	found, _ = list("cluster=y")
	assert.Empty(t, found)
	for query, status := range map[string]int{
		"site=nowhere": http.StatusNotFound, "site=oslo-1&state=maybe": http.StatusUnprocessableEntity, "site=oslo-1&after=x": http.StatusUnprocessableEntity,
		"": http.StatusUnprocessableEntity,
	} {
		assert.Equal(t, status, e.call(http.MethodGet, "/recommendations?"+query, "").StatusCode, query)
	}
}

func TestOpinions(t *testing.T) {
	t.Parallel()
	e := setup(t)
	request, id := e.recommended("oslo-1", jobs.RecommendationAvailable)
	path := fmt.Sprintf("/recommendations/%d/opinions", id)
	for body, status := range map[string]int{
		`{"opinion":"disagree"}`:                http.StatusUnprocessableEntity,
		`{"opinion":"maybe"}`:                   http.StatusUnprocessableEntity,
		`{}`:                                    http.StatusUnprocessableEntity,
		`{"opinion":"agree","reason":""}`:       http.StatusUnprocessableEntity,
		`{"opinion":"agree","rec_id":"rec-99"}`: http.StatusNotFound,
		`{"opinion":"disagree","reason":"` + strings.Repeat("x", 2001) + `"}`: http.StatusUnprocessableEntity,
		`{"opinion":"agree"}`: http.StatusCreated,
		`{"opinion":"disagree","reason":"Hall 3 is being rebuilt","rec_id":"rec-1"}`: http.StatusCreated,
	} {
		got := e.call(http.MethodPost, path, body)
		assert.Equal(t, status, got.StatusCode, "%s: %s", body, got.text)
	}
	got := e.call(http.MethodGet, fmt.Sprintf("/mass-requests/%d/recommendations", request), "")
	opinions := got.json["items"].([]any)[0].(map[string]any)["opinions"].([]any)
	require.Len(t, opinions, 2)
	reasons := map[any]any{}
	for _, o := range opinions {
		reasons[o.(map[string]any)["agrees"]] = o.(map[string]any)["reason"]
	}
	assert.Equal(t, map[any]any{true: "", false: "Hall 3 is being rebuilt"}, reasons)
	events := e.call(http.MethodGet, fmt.Sprintf("/mass-requests/%d/events", request), "")
	assert.Contains(t, events.text, "rec-1: disagrees, Hall 3 is being rebuilt")

	_, refused := e.recommended("oslo-1", jobs.RecommendationRefused)
	got = e.call(http.MethodPost, fmt.Sprintf("/recommendations/%d/opinions", refused), `{"opinion":"agree"}`)
	assert.Equal(t, http.StatusConflict, got.StatusCode)
	assert.Contains(t, got.text, "refused")
	assert.Equal(t, http.StatusNotFound, e.call(http.MethodPost, "/recommendations/999/opinions", `{"opinion":"agree"}`).StatusCode)

	// Nobody changes an opinion, and a deleted request takes everything with it.
	_, err := e.db.ExecContext(t.Context(), `UPDATE recommendation_opinions SET agrees = true`)
	require.ErrorContains(t, err, "append-only")
	require.Equal(t, http.StatusNoContent, e.call(http.MethodDelete, fmt.Sprintf("/mass-requests/%d", request), "").StatusCode)
	e.measure(measured{site: "oslo-2", from: time.Now().Add(-2 * time.Hour), to: time.Now().Add(-time.Hour), it: 10, facility: 13})
	list := e.ask("/recommendations", url.Values{"site": {"oslo-1"}, "from": {"now-1d"}})
	require.Len(t, list["items"], 1)
	assert.Equal(t, "refused", list["items"].([]any)[0].(map[string]any)["state"])
	var left int
	require.NoError(t, e.db.GetContext(t.Context(), &left, `SELECT count(*) FROM recommendation_opinions`))
	assert.Zero(t, left)
}

// The readiness report says what the workers found out about BioCore, and leaves
// it out where no worker asks it.
func TestHealthTellsOfBioCore(t *testing.T) {
	t.Parallel()
	e := setup(t)
	check := func() any {
		return e.call(http.MethodGet, "/health/ready", "").json["checks"].(map[string]any)["biocore"]
	}
	assert.Nil(t, check())
	worker, err := e.store.RegisterWorker(t.Context(), "host", 1, "test")
	require.NoError(t, err)
	for _, step := range []struct {
		report store.BioCoreReport
		want   map[string]any
	}{
		{store.BioCoreReport{State: "closed"}, map[string]any{"status": "ok"}},
		{store.BioCoreReport{State: "open"}, map[string]any{"status": "unavailable", "detail": "the circuit breaker is open in 1 of 1 workers"}},
		{store.BioCoreReport{State: "half-open"}, map[string]any{"status": "ok"}},
		{store.BioCoreReport{State: "closed", Problem: "BioCore answered 503"}, map[string]any{
			"status": "unavailable", "detail": "does not answer GET /health and GET /version in 1 of 1 workers",
		}},
	} {
		require.NoError(t, e.store.ReportBioCore(t.Context(), worker, step.report))
		require.Eventually(t, func() bool { return assert.ObjectsAreEqual(step.want, check()) }, systemtest.Patience, 20*time.Millisecond, "%+v", step)
	}
	got := e.call(http.MethodGet, "/health/ready", "")
	assert.Equal(t, http.StatusOK, got.StatusCode, "submissions do not need BioCore")
}
