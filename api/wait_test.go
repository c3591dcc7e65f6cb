package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/api"
	"github.com/leomutto/pilot-in-a-box/api/waiting"
	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/store"
)

// onlyByNotice is an interval in which no test finds anything by looking again.
func onlyByNotice(c *api.Config) { c.WaitInterval = time.Hour }

// onlyByLooking is an interval of a test in which nothing is announced.
func onlyByLooking(c *api.Config) { c.WaitInterval = 20 * time.Millisecond }

// end brings requests to done as a worker does, without telling anybody.
func (e *system) end(ids ...int64) {
	e.t.Helper()
	ctx := e.t.Context()
	worker, err := e.store.RegisterWorker(ctx, "test", 1, "test")
	require.NoError(e.t, err)
	var batches []int64
	require.NoError(e.t, e.db.SelectContext(ctx, &batches, `SELECT DISTINCT batch_id FROM mass_requests WHERE id = ANY ($1)`, pq.Int64Array(ids)))
	claimed, _, err := e.store.ClaimBatches(ctx, worker, batches, 16<<20)
	require.NoError(e.t, err)
	var outcomes []jobs.Outcome
	for _, c := range claimed {
		outcomes = append(outcomes, jobs.Outcome{Lease: c.Lease, Action: jobs.Finish, Result: jobs.Result{JSON: json.RawMessage(`{"n":1}`)}})
	}
	_, err = e.store.WriteOutcomes(ctx, worker, outcomes)
	require.NoError(e.t, err)
}

func (e *system) announce(ids ...int64) {
	e.t.Helper()
	require.NoError(e.t, queue.AnnounceChanges(e.t.Context(), e.rdb, ids...))
}

func requestPath(id int64) string { return fmt.Sprintf("/mass-requests/%d", id) }

// wait begins a long poll; a failure arrives as an answer of status 0.
func (e *system) wait(ctx context.Context, id int64) <-chan answer {
	done := make(chan answer, 1)
	go func() { done <- e.get(ctx, e.url+requestPath(id)+"?wait=60s") }()
	return done
}

// waitOn waits again when a minute was not enough, as clients do: a busy machine may
// need longer until thousands wait at the same time.
func (e *system) waitOn(ctx context.Context, id int64) <-chan answer {
	done := make(chan answer, 1)
	go func() {
		a := <-e.wait(ctx, id)
		for a.json["status"] == "pending" {
			a = <-e.wait(ctx, id)
		}
		done <- a
	}()
	return done
}

func (e *system) get(ctx context.Context, url string) answer {
	failed := func(err error) answer { return answer{Response: new(http.Response), text: err.Error()} }
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return failed(err)
	}
	resp, err := noRedirects.Do(e.sign(req))
	if err != nil {
		return failed(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return failed(err)
	}
	a := answer{Response: resp, text: string(raw)}
	dec := json.NewDecoder(strings.NewReader(a.text))
	dec.UseNumber()
	if err := dec.Decode(&a.json); err != nil {
		return failed(err)
	}
	return a
}

func (e *system) waiting(n int) {
	e.t.Helper()
	eventually(e.t, "those who wait", func() bool { return e.api.WaitStats().Waiters == n })
}

// hears makes sure that nothing but a notice can lead to another look: the
// subscription stands, and what it made due was looked at.
func (e *system) hears() {
	e.t.Helper()
	witness := e.submit(`{}`)
	answered := e.wait(e.t.Context(), witness)
	eventually(e.t, "the subscription", func() bool { return e.api.WaitStats().Subscribed > 0 })
	e.end(witness)
	e.announce(witness)
	(<-answered).is(e.t, http.StatusOK, "done")
}

func (a answer) is(t *testing.T, status int, state string) {
	t.Helper()
	require.Equal(t, status, a.StatusCode, a.text)
	require.Equal(t, state, a.json["status"], a.text)
}

func TestWaitForWhatIsFinal(t *testing.T) {
	t.Parallel()
	e := setup(t, onlyByNotice)
	id := e.submit(`{}`)
	e.end(id)
	for _, slash := range []string{"", "/"} {
		a := e.call(http.MethodGet, requestPath(id)+slash+"?wait=1m", "")
		a.is(t, http.StatusOK, "done")
		require.Equal(t, a.json, e.call(http.MethodGet, requestPath(id), "").json)
	}
	require.Equal(t, http.StatusOK, e.call(http.MethodHead, requestPath(id)+"?wait=1m", "").StatusCode)
	e.call(http.MethodGet, requestPath(4711)+"?wait=1m", "").problem(t, http.StatusNotFound, "not_found")
	require.Equal(t, waiting.Stats{}, e.api.WaitStats(), "nobody had to wait")
}

func TestWaitIsWokenByANotice(t *testing.T) {
	t.Parallel()
	e := setup(t, onlyByNotice)
	// The channel is shared by all databases of the Redis: only ids far from other tests' prove anything.
	_, err := e.db.ExecContext(t.Context(), `SELECT setval('mass_requests_id_seq', 8000000000)`)
	require.NoError(t, err)
	id := e.submit(`{}`)
	first, second := e.wait(t.Context(), id), e.wait(t.Context(), id)
	e.waiting(2)
	e.hears()
	e.end(id)
	e.announce(1, id, 8_999_999_999)
	for _, answered := range []<-chan answer{first, second} {
		a := <-answered
		a.is(t, http.StatusOK, "done")
		require.Equal(t, map[string]any{"n": json.Number("1")}, a.json["result"])
	}
	e.waiting(0)
}

func TestWaitFindsWhatNobodyAnnounced(t *testing.T) {
	t.Parallel()
	e := setup(t, onlyByLooking)
	id, gone := e.submit(`{}`), e.submit(`{}`)
	answered, missed := e.wait(t.Context(), id), e.wait(t.Context(), gone)
	e.waiting(2)
	e.end(id)
	require.NoError(t, e.store.DeleteRequest(t.Context(), gone, store.Origin{Actor: "test"}))
	(<-answered).is(t, http.StatusOK, "done")
	(<-missed).problem(t, http.StatusNotFound, "not_found")
	eventually(t, "the rest of the hub", func() bool { return !e.api.WaitStats().Running })
	again := e.submit(`{}`)
	answered = e.wait(t.Context(), again)
	e.waiting(1)
	e.end(again)
	(<-answered).is(t, http.StatusOK, "done")
}

func TestWaitWithRedisAway(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{
		"refused": "redis://127.0.0.1:1",
		"silent":  "redis://" + silent(t) + "?read_timeout=100ms&dial_timeout=100ms",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := setupOn(t, devtest.Database(t), url, onlyByLooking)
			id := e.submit(`{}`)
			answered := e.wait(t.Context(), id)
			e.waiting(1)
			e.end(id)
			(<-answered).is(t, http.StatusOK, "done")
		})
	}
}

func TestWaitEndsWithWhatPeopleDo(t *testing.T) {
	t.Parallel()
	e := setup(t, onlyByNotice)
	cancelled, deleted := e.submit(`{}`), e.submit(`{}`)
	first, second := e.wait(t.Context(), cancelled), e.wait(t.Context(), deleted)
	e.waiting(2)
	e.call(http.MethodPatch, requestPath(cancelled)+"/status", `{"status":"cancelled"}`).is(t, http.StatusOK, "cancelled")
	(<-first).is(t, http.StatusOK, "cancelled")
	require.Equal(t, http.StatusNoContent, e.call(http.MethodDelete, requestPath(deleted), "").StatusCode)
	(<-second).problem(t, http.StatusNotFound, "not_found")
}

// The deadlines of an ordinary exchange, all shorter than the wait, do not cut it.
func TestWaitOutlastsTheDeadlines(t *testing.T) {
	t.Parallel()
	e := setup(t, onlyByNotice, func(c *api.Config) { c.ReadTimeout, c.WriteTimeout = 8*time.Second, 8*time.Second })
	id := e.submit(`{}`) // without deadlines, and so is the key that the waits show
	stop := e.serve()
	for range 2 { // also on a connection that has waited before
		e.call(http.MethodGet, requestPath(id)+"?wait=9s", "").is(t, http.StatusOK, "pending")
	}
	stop()
}

// serve runs the server on a port of its own until stop is called.
func (e *system) serve() (stop func()) {
	e.t.Helper()
	addr, err := e.api.Listen()
	require.NoError(e.t, err)
	e.url = "http://" + addr.String()
	ctx, shutdown := context.WithCancel(e.t.Context())
	served := make(chan error, 1)
	go func() { served <- e.api.Serve(ctx) }()
	return func() {
		e.t.Helper()
		shutdown()
		require.NoError(e.t, <-served)
	}
}

func TestShutdownWakesThoseWhoWait(t *testing.T) {
	t.Parallel()
	e := setup(t, onlyByNotice)
	stop := e.serve()
	id := e.submit(`{}`)
	var answered []<-chan answer
	for range 20 {
		answered = append(answered, e.wait(t.Context(), id))
	}
	events := e.stream(t.Context(), id, "")
	require.Equal(t, "submit", events.next().name)
	e.waiting(21)
	stop()
	for _, a := range answered {
		(<-a).is(t, http.StatusOK, "pending")
	}
	require.Equal(t, sent{}, events.next(), "it was cut off and has no end")
	require.Zero(t, e.api.WaitStats().Waiters)
	require.NotContains(t, e.log.String(), `"level":"ERROR"`)
}

func TestWhoLeavesDoesNotWait(t *testing.T) {
	t.Parallel()
	e := setup(t, onlyByLooking)
	id := e.submit(`{}`)
	ctx, leave := context.WithCancel(t.Context())
	answered := e.wait(ctx, id)
	events := e.stream(ctx, id, "")
	require.Equal(t, "submit", events.next().name)
	e.waiting(2)
	leave()
	require.Zero(t, (<-answered).StatusCode)
	e.waiting(0)
	eventually(t, "the rest of the hub", func() bool { return !e.api.WaitStats().Running })
	eventually(t, "a line in the log for each exchange", func() bool {
		return strings.Count(e.log.String(), `"msg":"request"`) == 3 && strings.Contains(e.log.String(), `"status":499`)
	})
	require.NotContains(t, e.log.String(), `"level":"ERROR"`)
}

func TestThousandsWait(t *testing.T) {
	t.Parallel()
	many := 2000
	stack := devtest.Private(t) // its channels are nobody else's
	e := setupOn(t, devtest.Database(t), stack.RedisURL(), onlyByNotice)
	items := make([]store.NewRequest, many)
	for i := range items {
		items[i] = store.NewRequest{Payload: json.RawMessage(`{}`), SchemaVersion: "1.0-simple", Priority: jobs.Default, Group: i / 64}
	}
	rows, err := e.store.InsertRequests(t.Context(), items)
	require.NoError(t, err)
	var ids []int64
	var answered []<-chan answer
	begun := time.Now()
	for chunk := range slices.Chunk(rows, 100) {
		for _, r := range chunk {
			ids = append(ids, r.ID)
			answered = append(answered, e.waitOn(t.Context(), r.ID))
		}
		e.waiting(len(ids))
		if time.Since(begun) > 20*time.Second { // on a slow machine more would not wait at the same time
			many = len(ids)
			break
		}
	}
	for _, a := range answered {
		require.Empty(t, a, "one did not wait")
	}
	e.hears()
	subscriptions, err := e.rdb.PubSubNumSub(t.Context(), "mass:changed").Result()
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"mass:changed": 1}, subscriptions)

	before := e.api.WaitStats().Looks
	e.end(ids...)
	e.announce(ids...) // two messages
	for _, a := range answered {
		(<-a).is(t, http.StatusOK, "done")
	}
	looks := e.api.WaitStats().Looks - before
	require.LessOrEqual(t, looks, int64(max(6, many/10)), "some for each message, none for each waiter")
	t.Logf("%d looks until all were waiting, %d for the end of all", before, looks)
	e.waiting(0)

	// Redis dies, and what is announced meanwhile is lost: whoever waits is looked at when it is back.
	id := e.submit(`{}`)
	last := e.wait(t.Context(), id)
	e.waiting(1)
	require.NoError(t, stack.KillRedis())
	e.end(id)
	require.NoError(t, stack.RestartRedis(t.Context()))
	(<-last).is(t, http.StatusOK, "done")
}

func TestTheSubscriptionEndsWithTheLast(t *testing.T) {
	t.Parallel()
	e := setupOn(t, devtest.Database(t), devtest.Private(t).RedisURL(), onlyByLooking)
	subscribers := func() int64 {
		n, err := e.rdb.PubSubNumSub(t.Context(), "mass:changed").Result()
		require.NoError(t, err)
		return n["mass:changed"]
	}
	id := e.submit(`{}`)
	require.Zero(t, subscribers())
	answered := e.wait(t.Context(), id)
	eventually(t, "the subscription", func() bool { return subscribers() == 1 })
	e.end(id)
	(<-answered).is(t, http.StatusOK, "done")
	eventually(t, "the end of the subscription", func() bool { return subscribers() == 0 })
}

func TestWaitsThatAreRefused(t *testing.T) {
	t.Parallel()
	e := setup(t)
	id := e.submit(`{}`)
	for _, wait := range []string{"30", "-1s", "61s", "1h", "soon", "30%20s", "NaNs", "1e1s", "2m", "60.001s"} {
		a := e.call(http.MethodGet, requestPath(id)+"?wait="+wait, "")
		a.problem(t, http.StatusUnprocessableEntity, "validation_failed")
		require.Equal(t, []string{"wait"}, a.faults(), wait)
	}
	for _, wait := range []string{"0", "0s", "1ms", "0.01s"} {
		e.call(http.MethodGet, requestPath(id)+"?wait="+wait, "").is(t, http.StatusOK, "pending")
	}
}
