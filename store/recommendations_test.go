package store_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// askAlways asks about windows of any age.
var askAlways = store.RecommendPolicy{MaxAge: 100 * 365 * 24 * time.Hour, Patience: time.Hour}

// advise follows the trail to its end with a policy, in steps of some events.
func (b system) advise(p store.RecommendPolicy, size int) {
	b.t.Helper()
	mark, err := b.MarkTrail(b.ctx)
	require.NoError(b.t, err)
	position, err := b.ReadingsPosition(b.ctx)
	require.NoError(b.t, err)
	for position < mark.UpTo {
		step, err := b.FollowTrail(b.ctx, position, mark.UpTo, size, p)
		require.NoError(b.t, err)
		position = step.Upto
	}
}

// states returns the states of the recommendations of a request, newest first.
func (b system) states(request int64) (list []string) {
	b.t.Helper()
	found, err := b.RequestRecommendations(b.ctx, request, 10)
	require.NoError(b.t, err)
	for _, r := range found {
		list = append(list, r.State)
	}
	return list
}

func TestRecommendationStatesAreThoseOfTheTable(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var names []string
	err := b.db.SelectContext(b.ctx, &names, `
        SELECT m[1] FROM pg_constraint, regexp_matches(pg_get_constraintdef(oid), '''(\w+)''', 'g') m
        WHERE conname = 'recommendations_state_known'`)
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprint(jobs.RecommendationStates()), fmt.Sprint(names))
}

// However the trail is cut into steps, there is one row for each end, and at most
// one for each asset is asked about.
func TestOneRecommendationForEachEnd(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 3, 1000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			ids := b.finished(
				signalsOf("oslo", "a", 0, 15, 100), signalsOf("oslo", "a", 15, 30, 100), signalsOf("oslo", "b", 0, 15, 100),
				signalsOf("oslo", "a", 5, 20, 100), signalsOf("oslo", "a", 15, 30, 101),
			)
			b.advise(askAlways, size)
			b.advise(askAlways, size) // nothing is left to do
			for {
				n, err := b.SkipRecommendations(b.ctx, 2)
				require.NoError(t, err)
				if n == 0 {
					break
				}
			}
			var states []string
			for _, id := range ids {
				require.Len(t, b.states(id), 1)
				states = append(states, b.states(id)[0])
			}
			assert.Equal(t, []string{"skipped", "skipped", "pending", "skipped", "pending"}, states)

			// A replay has a row of its own.
			moved, err := b.MoveRequest(b.ctx, ids[4], jobs.StatusPending, store.Origin{Actor: "test"})
			require.NoError(t, err)
			_ = moved
			b.advise(askAlways, size)
			assert.Len(t, b.states(ids[4]), 1, "it has not ended again")
			var batch int64
			require.NoError(t, b.db.GetContext(b.ctx, &batch, `SELECT batch_id FROM mass_requests WHERE id = $1`, ids[4]))
			b.end(b.worker(), batch)
			b.advise(askAlways, size)
			_, err = b.SkipRecommendations(b.ctx, 100)
			require.NoError(t, err)
			assert.Equal(t, []string{"pending", "skipped"}, b.states(ids[4]))
		})
	}
}

func TestRecommendationsAreOffOrTooOld(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ids := b.finished(signalsOf("oslo", "a", 0, 15, 100))
	b.advise(store.RecommendPolicy{}, 100)
	assert.Empty(t, b.states(ids[0]))
	ids = b.finished(signalsOf("oslo", "a", 0, 15, 101))
	b.advise(store.RecommendPolicy{MaxAge: time.Hour, Patience: time.Minute}, 100)
	assert.Empty(t, b.states(ids[0]), "the window is older than an hour")
}

// Many workers take the same try, and one of them gets it; its outcome is
// written once.
func TestATryIsBegunAndSettledOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ids := b.finished(signalsOf("oslo", "a", 0, 15, 100))
	b.advise(askAlways, 100)
	due, err := b.DueRecommendations(b.ctx, store.DueRecommendation{}, 10)
	require.NoError(t, err)
	require.Len(t, due, 1)
	var begun, settled atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := b.ClaimRecommendation(b.ctx, due[0].RecommendationRef, time.Hour); err == nil {
				begun.Add(1)
			} else {
				assert.ErrorIs(t, err, store.ErrNotFound)
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 1, begun.Load())
	ref := jobs.RecommendationRef{ID: due[0].ID, Tries: 1}
	for range 8 {
		wg.Go(func() {
			_, err := b.SettleRecommendation(b.ctx, 1, &jobs.RecommendationOutcome{RecommendationRef: ref, State: jobs.RecommendationUnavailable, Reason: "no"})
			if err == nil {
				settled.Add(1)
			} else {
				assert.ErrorIs(t, err, store.ErrConflict)
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 1, settled.Load())
	assert.Equal(t, []string{"unavailable"}, b.states(ids[0]))
	var events int
	require.NoError(t, b.db.GetContext(b.ctx, &events, `SELECT count(*) FROM audit_events WHERE action = 'recommend' AND request_id = $1`, ids[0]))
	assert.Equal(t, 1, events)
}

// A try whose worker died is begun again once its lease is over, and the first
// worker's late outcome is refused. A newer window of the asset ends it instead.
func TestALostTryIsBegunAgainOrSkipped(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ids := b.finished(signalsOf("oslo", "a", 0, 15, 100))
	b.advise(askAlways, 100)
	due, err := b.DueRecommendations(b.ctx, store.DueRecommendation{}, 10)
	require.NoError(t, err)
	lost, err := b.ClaimRecommendation(b.ctx, due[0].RecommendationRef, 0)
	require.NoError(t, err)
	due, err = b.DueRecommendations(b.ctx, store.DueRecommendation{}, 10)
	require.NoError(t, err)
	require.Len(t, due, 1)
	assert.Equal(t, 1, due[0].Tries)
	again, err := b.ClaimRecommendation(b.ctx, due[0].RecommendationRef, 0)
	require.NoError(t, err)
	assert.Equal(t, lost.Key, again.Key, "BioCore sees the same question")
	_, err = b.SettleRecommendation(b.ctx, 1, &jobs.RecommendationOutcome{RecommendationRef: lost.RecommendationRef, State: jobs.RecommendationUnavailable})
	require.ErrorIs(t, err, store.ErrConflict)

	newer := b.finished(signalsOf("oslo", "a", 15, 30, 100))
	b.advise(askAlways, 100)
	_, err = b.ClaimRecommendation(b.ctx, again.RecommendationRef, time.Hour)
	require.ErrorIs(t, err, store.ErrNotFound, "a newer window waits")
	n, err := b.SkipRecommendations(b.ctx, 100)
	require.NoError(t, err)
	assert.Equal(t, 1, n)
	assert.Equal(t, []string{"skipped"}, b.states(ids[0]))
	assert.Equal(t, []string{"pending"}, b.states(newer[0]))
}

// A request that retention removed before BioCore was asked is not asked about;
// one that was answered keeps its answer.
func TestRecommendationsOutliveRetention(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.finished(signalsOf("oslo", "a", 0, 15, 100), signalsOf("oslo", "b", 0, 15, 100))
	b.advise(askAlways, 100)
	due, err := b.DueRecommendations(b.ctx, store.DueRecommendation{}, 10)
	require.NoError(t, err)
	require.Len(t, due, 2)
	first, err := b.ClaimRecommendation(b.ctx, due[0].RecommendationRef, time.Hour)
	require.NoError(t, err)
	_, err = b.SettleRecommendation(b.ctx, 1, &jobs.RecommendationOutcome{
		RecommendationRef: first.RecommendationRef, State: jobs.RecommendationAvailable, Answer: []byte(`{}`), ModelName: "m", ModelVersion: "1",
	})
	require.NoError(t, err)
	_, err = b.RetainRequests(b.ctx, 0, store.Position{}, 100)
	require.NoError(t, err)
	_, err = b.SkipRecommendations(b.ctx, 100)
	require.NoError(t, err)
	var states []string
	require.NoError(t, b.db.SelectContext(b.ctx, &states, `SELECT state FROM recommendations ORDER BY id`))
	assert.ElementsMatch(t, []string{"available", "skipped"}, states)
	opinion, err := b.AddOpinion(b.ctx, store.Opinion{Recommendation: first.ID, Agrees: true}, store.Origin{Actor: "user:1"})
	require.NoError(t, err, "also without the request")
	assert.Equal(t, "user:1", opinion.Actor)
}
