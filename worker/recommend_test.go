package worker_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/biocore"
	"github.com/leomutto/pilot-in-a-box/internal/biocore/reference"
	"github.com/leomutto/pilot-in-a-box/internal/systemtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/jobs/pipeline"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
	"github.com/leomutto/pilot-in-a-box/store"
	"github.com/leomutto/pilot-in-a-box/worker"
)

// testBioCore is the reference server, which counts the questions.
type testBioCore struct {
	*reference.Server
	url   string
	calls atomic.Int64
}

func newBioCore(t *testing.T) *testBioCore {
	t.Helper()
	b := &testBioCore{Server: reference.New(reference.Options{DripEvery: 20 * time.Millisecond})}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/recommend" {
			b.calls.Add(1)
		}
		b.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	b.url = srv.URL
	return b
}

const (
	testBreakerFailures = 3
	testBreakerPause    = 200 * time.Millisecond
	testMaxCalls        = 2
)

// advised is quick, with a worker that asks BioCore.
func advised(t *testing.T, b *testBioCore, timeout time.Duration) worker.Config {
	t.Helper()
	client, err := biocore.New(biocore.Options{
		URL: b.url, UserAgent: "test", ConnectTimeout: systemtest.Patience, Timeout: timeout, ReadTimeout: timeout, MaxAnswer: 1 << 20,
		MaxCalls: testMaxCalls, MaxTries: 1, RetryDelay: time.Millisecond, BreakerFailures: testBreakerFailures, BreakerPause: testBreakerPause,
	})
	require.NoError(t, err)
	c := quick()
	c.Recommend = worker.RecommendConfig{
		Client: client, Concurrency: testMaxCalls, Timeout: timeout, PollEvery: 50 * time.Millisecond,
		Retry: jobs.RetryPolicy{Base: 50 * time.Millisecond, Max: 200 * time.Millisecond},
	}
	c.Leader.Recommend = store.RecommendPolicy{MaxAge: 24 * time.Hour, Patience: systemtest.Patience}
	return c
}

// signalsOf returns a payload about an asset, with a window that ended some time
// ago. The window names the request, so that BioCore's answers differ.
func signalsOf(t *testing.T, site, zone string, ended time.Duration) string {
	t.Helper()
	var doc map[string]any
	require.NoError(t, json.Unmarshal(signals.Example(), &doc))
	request := doc["request"].(map[string]any)
	end := time.Now().UTC().Add(-ended).Truncate(time.Second)
	request["time_window"] = map[string]any{
		"start_utc": end.Add(-15 * time.Minute).Format(time.RFC3339), "end_utc": end.Format(time.RFC3339), "granularity_seconds": 60,
	}
	assets := request["assets"].(map[string]any)
	assets["site_id"], assets["zone_id"] = site, zone
	delete(request, "timeout_ms")
	delete(request, "service_level_objective_ms")
	raw, err := json.Marshal(doc)
	require.NoError(t, err)
	return string(raw)
}

// submitSignals stores one signals request and enqueues it.
func (s *system) submitSignals(raw string) int64 {
	s.t.Helper()
	in, err := s.store.InsertRequests(s.t.Context(), []store.NewRequest{{
		Payload: json.RawMessage(raw), SchemaVersion: signals.Version, Priority: jobs.Default,
	}})
	require.NoError(s.t, err)
	require.NoError(s.t, s.enq.Enqueue(s.t.Context(), jobs.Batch{ID: in[0].BatchID, Priority: jobs.Default, Requests: []int64{in[0].ID}}))
	return in[0].ID
}

// untilRecommendation waits for the newest recommendation of a request to be in
// a state.
func (s *system) untilRecommendation(request int64, want jobs.RecommendationState) store.Recommendation {
	s.t.Helper()
	var got store.Recommendation
	require.Eventually(s.t, func() bool {
		list, err := s.store.RequestRecommendations(s.t.Context(), request, 10)
		if err != nil || len(list) == 0 {
			return false
		}
		got = list[0]
		return got.State == string(want)
	}, systemtest.Patience, 5*time.Millisecond, "the recommendation of request %d: wants %s", request, want)
	return got
}

func TestARecommendationFollowsTheEndOfARequest(t *testing.T) {
	t.Parallel()
	s, b := setup(t), newBioCore(t)
	c := advised(t, b, systemtest.Patience)
	s.startWith(c, pipeline.Default())
	s.startWith(advised(t, b, systemtest.Patience), pipeline.Default()) // two workers, one question
	id := s.submitSignals(signalsOf(t, "oslo-1", "hall-1", time.Minute))
	got := s.untilRecommendation(id, jobs.RecommendationAvailable)
	assert.Equal(t, reference.Name, got.ModelName.String)
	assert.Equal(t, reference.Version, got.ModelVersion.String)
	assert.NotEmpty(t, got.PolicyID.String)
	assert.Positive(t, *got.LatencyMS)
	assert.False(t, got.Reason.Valid)
	assert.Equal(t, 1, got.Tries)
	answer, faults := biocore.Decode(got.Answer)
	require.Empty(t, faults)
	assert.NotEmpty(t, answer.Response.Recommendations)
	assert.Equal(t, "oslo-1", got.Site)
	assert.EqualValues(t, 1, b.calls.Load())
	assert.Equal(t, []string{"submit", "claim", "finish", "recommend"}, s.actions(id))
	events, err := s.store.Events(t.Context(), id, 0, 100)
	require.NoError(t, err)
	assert.Contains(t, events[3].Detail, "available; model "+reference.Name+" "+reference.Version+", policy ")

	// A replay asks again, and the earlier answer stays.
	batch, err := s.store.MoveRequest(t.Context(), id, jobs.StatusPending, store.Origin{Actor: "test"})
	require.NoError(t, err)
	_ = batch
	require.Eventually(t, func() bool {
		list, err := s.store.RequestRecommendations(t.Context(), id, 10)
		return err == nil && len(list) == 2 && list[0].State == string(jobs.RecommendationAvailable)
	}, systemtest.Patience, 5*time.Millisecond)
	list, err := s.store.RequestRecommendations(t.Context(), id, 10)
	require.NoError(t, err)
	assert.Equal(t, []int{2, 1}, []int{list[0].Attempt, list[1].Attempt})
	assert.Equal(t, got.Answer, list[1].Answer)
	assert.EqualValues(t, 2, b.calls.Load())
}

// Each way to fail, through the whole system: the request is done, there is one
// row in the state that the failure means, nothing is asked twice that must not
// be, a BioCore that is down is called only now and then, and its return is
// noticed.
func TestEachFailureOfBioCoreHasItsEnd(t *testing.T) {
	t.Parallel()
	const refused, unavailable, pending = jobs.RecommendationRefused, jobs.RecommendationUnavailable, jobs.RecommendationPending
	wants := map[reference.Failure]jobs.RecommendationState{
		reference.Hang: pending, reference.Drip: pending, reference.Reset: pending,
		reference.Status429: pending, reference.Status502: pending, reference.Status503: pending, reference.Status504: pending,
		reference.Status500: unavailable,
		reference.Garbage:   refused, reference.Huge: refused, reference.WrongSchema: refused, reference.WrongRequest: refused,
		reference.ControlActions: refused, reference.BrokenConstraints: refused,
	}
	for _, failure := range reference.Failures() {
		if failure == reference.NoFailure {
			continue
		}
		t.Run(string(failure), func(t *testing.T) {
			t.Parallel()
			require.Contains(t, wants, failure)
			want := wants[failure]
			timeout := systemtest.Patience
			if failure == reference.Hang || failure == reference.Drip {
				timeout = time.Second
			}
			s, b := setup(t), newBioCore(t)
			b.SetFailure(failure)
			s.startWith(advised(t, b, timeout), pipeline.Default())
			id := s.submitSignals(signalsOf(t, "oslo-1", "hall-1", time.Minute))
			s.untilStatus(id, jobs.StatusDone)
			if want != pending {
				got := s.untilRecommendation(id, want)
				assert.Nil(t, got.Answer)
				assert.True(t, got.Reason.Valid)
				assert.EqualValues(t, 1, b.calls.Load(), "the answer is final, so it is not asked for again")
				if want == refused {
					var faults []payload.Fault
					require.NoError(t, json.Unmarshal(got.Faults, &faults))
					assert.NotEmpty(t, faults)
				}
				assert.Equal(t, []string{"submit", "claim", "finish", "recommend"}, s.actions(id))
				return
			}
			begun := time.Now()
			require.Eventually(t, func() bool { return b.calls.Load() > testBreakerFailures+1 }, systemtest.Patience, 5*time.Millisecond)
			open, calls := time.Since(begun), b.calls.Load()
			assert.LessOrEqual(t, calls, int64(testBreakerFailures+testMaxCalls+1)+int64(open/testBreakerPause))
			s.untilRecommendation(id, pending)
			b.SetFailure(reference.NoFailure)
			got := s.untilRecommendation(id, jobs.RecommendationAvailable)
			assert.Positive(t, got.Tries)
			assert.Equal(t, []string{"submit", "claim", "finish", "recommend"}, s.actions(id))
			var rows int
			require.NoError(t, s.db.GetContext(t.Context(), &rows, `SELECT count(*) FROM recommendations`))
			assert.Equal(t, 1, rows)
		})
	}
}

// Only recent windows are asked about, and of one asset only the newest that is
// pending.
func TestOldAndOvertakenWindowsAreNotAskedAbout(t *testing.T) {
	t.Parallel()
	s, b := setup(t), newBioCore(t)
	b.SetFailure(reference.Status503)
	s.startWith(advised(t, b, systemtest.Patience), pipeline.Default())
	old := s.submitSignals(signalsOf(t, "oslo-1", "hall-1", 25*time.Hour))
	earlier := s.submitSignals(signalsOf(t, "oslo-1", "hall-1", 2*time.Hour))
	s.untilRecommendation(earlier, jobs.RecommendationPending)
	elsewhere := s.submitSignals(signalsOf(t, "oslo-1", "hall-2", 3*time.Hour))
	later := s.submitSignals(signalsOf(t, "oslo-1", "hall-1", time.Hour))
	skipped := s.untilRecommendation(earlier, jobs.RecommendationSkipped)
	assert.Equal(t, "a newer window of the same asset has taken its place", skipped.Reason.String)
	s.untilStatus(old, jobs.StatusDone)
	b.SetFailure(reference.NoFailure)
	s.untilRecommendation(later, jobs.RecommendationAvailable)
	s.untilRecommendation(elsewhere, jobs.RecommendationAvailable)
	list, err := s.store.RequestRecommendations(t.Context(), old, 10)
	require.NoError(t, err)
	assert.Empty(t, list)
}

// When the time is over, a pending recommendation is unavailable, and the trail
// says so.
func TestARecommendationIsGivenUp(t *testing.T) {
	t.Parallel()
	s, b := setup(t), newBioCore(t)
	b.SetFailure(reference.Reset)
	c := advised(t, b, systemtest.Patience)
	c.Leader.Recommend.Patience = time.Second
	s.startWith(c, pipeline.Default())
	id := s.submitSignals(signalsOf(t, "oslo-1", "hall-1", time.Minute))
	got := s.untilRecommendation(id, jobs.RecommendationUnavailable)
	assert.True(t, strings.HasPrefix(got.Reason.String, "BioCore did not answer in time"), got.Reason.String)
	assert.Equal(t, []string{"submit", "claim", "finish", "recommend"}, s.actions(id))
}

// A worker dies while it asks, and Redis loses everything: the question is asked
// again, and ends once.
func TestARecommendationSurvivesADeadWorkerAndAWipedRedis(t *testing.T) {
	t.Parallel()
	s, b := setup(t), newBioCore(t)
	c := advised(t, b, systemtest.Patience)
	c.Recommend = worker.RecommendConfig{} // makes the rows and asks nothing
	stop := s.startWith(c, pipeline.Default())
	var ids []int64
	for i := range 20 {
		ids = append(ids, s.submitSignals(signalsOf(t, "oslo-1", fmt.Sprintf("hall-%d", i), time.Minute)))
	}
	for _, id := range ids {
		s.untilRecommendation(id, jobs.RecommendationPending)
	}
	// Half of them are begun by a worker that never returns.
	due, err := s.store.DueRecommendations(t.Context(), store.DueRecommendation{}, 10)
	require.NoError(t, err)
	require.Len(t, due, 10)
	for _, d := range due {
		_, err := s.store.ClaimRecommendation(t.Context(), d.RecommendationRef, time.Millisecond)
		require.NoError(t, err)
	}
	stop()
	require.NoError(t, s.rdb.FlushDB(t.Context()).Err())
	s.startWith(advised(t, b, systemtest.Patience), pipeline.Default())
	s.startWith(advised(t, b, systemtest.Patience), pipeline.Default())
	for _, id := range ids {
		s.untilRecommendation(id, jobs.RecommendationAvailable)
		assert.Equal(t, []string{"submit", "claim", "finish", "recommend"}, s.actions(id))
	}
	assert.EqualValues(t, len(ids), b.calls.Load())

	// The outcome of a try that counted as lost is refused.
	_, err = s.store.SettleRecommendation(t.Context(), 1, &jobs.RecommendationOutcome{
		RecommendationRef: due[0].RecommendationRef, State: jobs.RecommendationUnavailable, Reason: "late",
	})
	require.ErrorIs(t, err, store.ErrConflict)
}

// Without BioCore there are neither rows nor tasks.
func TestWithoutBioCoreNothingIsAsked(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.startWith(quick(), pipeline.Default())
	id := s.submitSignals(signalsOf(t, "oslo-1", "hall-1", time.Minute))
	s.untilStatus(id, jobs.StatusDone)
	require.Eventually(t, func() bool {
		_, err := s.store.Site(t.Context(), "oslo-1") // the projection has followed
		return err == nil
	}, systemtest.Patience, 5*time.Millisecond)
	list, err := s.store.RequestRecommendations(t.Context(), id, 10)
	require.NoError(t, err)
	assert.Empty(t, list)
	missing, _, err := queue.RecommendationsWithoutTask(t.Context(), s.rdb, []jobs.RecommendationRef{{ID: 1}})
	require.NoError(t, err)
	assert.Len(t, missing, 1)
}

// A worker reports the state of its circuit breaker and what it finds out by
// polling, so that the API can tell.
func TestAWorkerReportsWhatItKnowsOfBioCore(t *testing.T) {
	t.Parallel()
	s, b := setup(t), newBioCore(t)
	s.startWith(advised(t, b, systemtest.Patience), pipeline.Default())
	until := func(what string, ok func(store.BioCoreReport) bool) {
		require.Eventually(t, func() bool {
			list, err := s.store.BioCoreReports(t.Context())
			return err == nil && len(list) == 1 && ok(list[0])
		}, systemtest.Patience, 5*time.Millisecond, what)
	}
	until("is well", func(r store.BioCoreReport) bool { return r == store.BioCoreReport{State: "closed"} })
	b.SetFailure(reference.Status503)
	s.submitSignals(signalsOf(t, "oslo-1", "hall-1", time.Minute))
	until("is down", func(r store.BioCoreReport) bool { return r.State != "closed" && strings.Contains(r.Problem, "503") })
	b.SetFailure(reference.NoFailure)
	until("is well again", func(r store.BioCoreReport) bool { return r == store.BioCoreReport{State: "closed"} })
}
