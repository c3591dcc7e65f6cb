package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

func TestTheSameKeyGivesTheFirstAnswerAgain(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const body = `{"payload":{"n":1},"priority":"high"}`
	first := e.call(http.MethodPost, "/mass-requests/", body, "Idempotency-Key", "key-1")
	require.Equal(t, http.StatusCreated, first.StatusCode, first.text)
	require.Empty(t, first.Header.Values("Idempotency-Replayed"))

	// Whatever became of the request since, even its deletion.
	id, err := first.json["id"].(json.Number).Int64()
	require.NoError(t, err)
	for _, act := range []func(){
		func() {},
		func() {
			_, err := e.store.MoveRequest(t.Context(), id, jobs.StatusCancelled, store.Origin{Actor: "test"})
			require.NoError(t, err)
		},
		func() { require.NoError(t, e.store.DeleteRequest(t.Context(), id, store.Origin{Actor: "test"})) },
	} {
		act()
		again := e.call(http.MethodPost, "/mass-requests/", body, "Idempotency-Key", "key-1")
		require.Equal(t, http.StatusCreated, again.StatusCode)
		require.Equal(t, "true", again.Header.Get("Idempotency-Replayed"))
		require.Equal(t, first.Header.Get("Location"), again.Header.Get("Location"))
		require.Equal(t, first.text, again.text)
	}
	require.Zero(t, e.stored())
	queued := func() int64 { return e.rdb.LLen(t.Context(), "asynq:{high}:pending").Val() }
	eventually(t, "a task for the request", func() bool { return queued() > 0 })
	require.EqualValues(t, 1, queued(), "enqueued once")
}

func TestAKeyIsGoodForOneBody(t *testing.T) {
	t.Parallel()
	e := setup(t)
	require.Equal(t, http.StatusCreated, e.call(http.MethodPost, "/mass-requests/", `{"payload":{"n":1}}`, "Idempotency-Key", "k").StatusCode)
	a := e.call(http.MethodPost, "/mass-requests/", `{"payload":{"n":2}}`, "Idempotency-Key", "k")
	a.problem(t, http.StatusUnprocessableEntity, "idempotency_key_reused")
	require.Equal(t, 1, e.stored())
}

func TestBadKeysAreRefused(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for _, key := range []string{"two words", "ümlaut", strings.Repeat("k", 256), "tab\tin"} {
		a := e.call(http.MethodPost, "/mass-requests/", `{"payload":{}}`, "Idempotency-Key", key)
		a.problem(t, http.StatusUnprocessableEntity, "validation_failed")
		assert.Contains(t, a.text, "Idempotency-Key")
	}
	require.Zero(t, e.stored())
	require.Equal(t, http.StatusCreated, e.call(http.MethodPost, "/mass-requests/", `{"payload":{}}`, "Idempotency-Key", strings.Repeat("k", 255)).StatusCode)
}

func TestAKeyExpires(t *testing.T) {
	t.Parallel()
	e := setup(t)
	post := func(n string) answer {
		return e.call(http.MethodPost, "/mass-requests/", `{"payload":{"n":`+n+`}}`, "Idempotency-Key", "k")
	}
	first := post("1")
	_, err := e.db.ExecContext(t.Context(), `UPDATE idempotency_keys SET created_at = now() - interval '24 hours 1 second'`)
	require.NoError(t, err)
	second := post("2")
	require.Equal(t, http.StatusCreated, second.StatusCode, "its time is over, so it is a new one")
	require.NotEqual(t, first.json["id"], second.json["id"])
	require.Equal(t, "true", post("2").Header.Get("Idempotency-Replayed"))

	_, err = e.db.ExecContext(t.Context(), `UPDATE idempotency_keys SET created_at = now() - interval '25 hours'`)
	require.NoError(t, err)
	n, err := e.store.RemoveExpiredKeys(t.Context(), 10)
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
}

// Many clients at once, few keys: groups of the group commit hold the same key
// several times, and two statements under way hold the same keys.
func TestTenThousandDuplicatesMakeOneRow(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const clients, each = 50, 200
	var mu sync.Mutex
	ids, replayed := map[string]bool{}, 0
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for i := range each {
				key := "the-key"
				if i%10 == 0 { // and some neighbors, in another order for each client
					key = "other"
				}
				a := e.call(http.MethodPost, "/mass-requests/", `{"payload":{"n":1}}`, "Idempotency-Key", key)
				if !assert.Equal(t, http.StatusCreated, a.StatusCode, a.text) {
					return
				}
				mu.Lock()
				ids[a.Header.Get("Location")] = true
				if a.Header.Get("Idempotency-Replayed") == "true" {
					replayed++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Len(t, ids, 2)
	require.Equal(t, 2, e.stored())
	require.Equal(t, clients*each-2, replayed)
}

func TestScheduledSubmissionsWait(t *testing.T) {
	t.Parallel()
	e := setup(t)
	at := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	a := e.call(http.MethodPost, "/mass-requests/", `{"payload":{},"run_at":"`+at.Format(time.RFC3339)+`","expires_at":"`+at.Add(time.Hour).Format(time.RFC3339)+`"}`)
	require.Equal(t, http.StatusCreated, a.StatusCode, a.text)
	require.Equal(t, at.Format("2006-01-02T15:04:05.000000Z"), a.json["run_at"])
	got := e.call(http.MethodGet, a.Header.Get("Location"), "")
	require.Equal(t, a.json["run_at"], got.json["run_at"])
	require.Equal(t, a.json["expires_at"], got.json["expires_at"])
	require.Eventually(t, func() bool {
		return e.rdb.ZCard(t.Context(), "asynq:{default}:scheduled").Val() == 1
	}, patience, time.Millisecond)
	require.InDelta(t, at.Unix(), e.rdb.ZRangeWithScores(t.Context(), "asynq:{default}:scheduled", 0, 0).Val()[0].Score, 1)
}
