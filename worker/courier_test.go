package worker_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/systemtest"
	"github.com/leomutto/pilot-in-a-box/internal/webhook"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
	"github.com/leomutto/pilot-in-a-box/worker"
)

var hookSecret = "whsec_" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))

// testReceiver keeps the messages that it is sent, and answers as a test says.
type testReceiver struct {
	url  string
	got  chan received
	next chan int // statuses of the answers; 204 when there is none
}

type received struct {
	header http.Header
	body   []byte
}

func newReceiver(t *testing.T) *testReceiver {
	t.Helper()
	r := &testReceiver{got: make(chan received, 1000), next: make(chan int, 100)}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		status := http.StatusNoContent
		select {
		case status = <-r.next:
		default:
		}
		r.got <- received{req.Header, body}
		w.WriteHeader(status)
	}))
	t.Cleanup(srv.Close)
	r.url = srv.URL + "/hook?who=mass"
	return r
}

func hooks(t *testing.T) worker.WebhookConfig {
	t.Helper()
	signer, err := webhook.ParseSecrets(hookSecret)
	require.NoError(t, err)
	return worker.WebhookConfig{
		Client: webhook.NewClient(webhook.Config{
			Guard:   webhook.Guard{AllowHTTP: true, AllowNets: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
			Timeout: systemtest.Patience, UserAgent: "test",
		}, signer),
		Concurrency: 8, Timeout: systemtest.Patience, PublicURL: "https://mass.example.com",
		Retry: jobs.RetryPolicy{MaxTries: 3, Base: time.Millisecond, Max: time.Millisecond},
	}
}

// submitWith stores one request with a callback, and enqueues it if the test says so.
func (s *system) submitWith(callback string, enqueue bool) int64 {
	s.t.Helper()
	in, err := s.store.InsertRequests(s.t.Context(), []store.NewRequest{{
		Payload: json.RawMessage(`{"site_id": "oslo-1"}`), SchemaVersion: "1.0-simple", SiteID: "oslo-1", Priority: jobs.Default, CallbackURL: callback,
	}})
	require.NoError(s.t, err)
	if enqueue {
		require.NoError(s.t, s.enq.Enqueue(s.t.Context(), jobs.Batch{ID: in[0].BatchID, Priority: jobs.Default, Requests: []int64{in[0].ID}}))
	}
	return in[0].ID
}

// untilDelivery waits for the latest delivery of a request to be in a state.
func (s *system) untilDelivery(request int64, want jobs.DeliveryStatus) jobs.Delivery {
	s.t.Helper()
	var d jobs.Delivery
	require.Eventually(s.t, func() bool {
		list, err := s.store.Deliveries(s.t.Context(), request, 10)
		if err != nil || len(list) == 0 {
			return false
		}
		d = list[0]
		return d.Status == want
	}, systemtest.Patience, 5*time.Millisecond, "a delivery of request %d: wants %s", request, want)
	return d
}

func TestACallbackIsSignedAndDeliveredOnce(t *testing.T) {
	t.Parallel()
	s := setup(t)
	r := newReceiver(t)
	c := quick()
	c.Webhooks = hooks(t)
	s.start(c, echo)
	s.start(c, echo) // two workers, one delivery
	id := s.submitWith(r.url, true)
	d := s.untilDelivery(id, jobs.DeliveryDelivered)
	got := <-r.got
	assert.Empty(t, r.got)
	assert.Equal(t, 1, d.Attempts)
	assert.Equal(t, http.StatusNoContent, d.LastStatus)
	assert.Empty(t, d.LastError)

	w, err := standardwebhooks.NewWebhook(hookSecret)
	require.NoError(t, err)
	require.NoError(t, w.Verify(got.body, got.header))
	assert.Equal(t, d.WebhookID(), got.header.Get("Webhook-Id"))
	assert.Equal(t, "application/json", got.header.Get("Content-Type"))
	var m struct {
		Type      string
		Timestamp time.Time
		Data      map[string]any
	}
	require.NoError(t, json.Unmarshal(got.body, &m))
	done := s.untilStatus(id, jobs.StatusDone)
	assert.Equal(t, "mass_request.done", m.Type)
	assert.True(t, done.FinishedAt.Equal(m.Timestamp))
	assert.Equal(t, map[string]any{
		"id": float64(id), "status": "done", "error": nil, "faults": nil, "attempt": 1., "failures": 0., "schema_version": "1.0-simple",
		"correlation_id": nil, "site_id": "oslo-1", "cluster_id": nil,
		"created_at": done.CreatedAt.Format("2006-01-02T15:04:05.000000Z"), "finished_at": done.FinishedAt.Format("2006-01-02T15:04:05.000000Z"),
		"url": "https://mass.example.com/mass-requests/" + strconv.FormatInt(id, 10),
	}, m.Data)
	assert.Equal(t, []string{"submit", "claim", "finish", "callback_delivered"}, s.actions(id))
}

func TestACallbackIsAttemptedUntilItIsDead(t *testing.T) {
	t.Parallel()
	s := setup(t)
	r := newReceiver(t)
	c := quick()
	c.Webhooks = hooks(t)
	s.start(c, echo)

	r.next <- http.StatusInternalServerError
	id := s.submitWith(r.url, true)
	d := s.untilDelivery(id, jobs.DeliveryDelivered)
	assert.Equal(t, 2, d.Attempts)
	first, second := <-r.got, <-r.got
	assert.Equal(t, first.header.Get("Webhook-Id"), second.header.Get("Webhook-Id"))
	assert.Equal(t, first.body, second.body)

	for range 3 {
		r.next <- http.StatusFound
	}
	id = s.submitWith(r.url, true)
	d = s.untilDelivery(id, jobs.DeliveryDead)
	assert.Equal(t, 3, d.Attempts)
	assert.Equal(t, http.StatusFound, d.LastStatus)
	assert.Equal(t, "gave up after 3 tries: the receiver answered 302; redirects are not followed", d.LastError)
	assert.Equal(t, []string{"submit", "claim", "finish", "callback_dead"}, s.actions(id))

	// The dead letter is replayed.
	ref, err := s.store.ReplayDelivery(t.Context(), id, store.Origin{Actor: "alice"})
	require.NoError(t, err)
	require.NoError(t, s.enq.EnqueueDelivery(t.Context(), ref))
	again := s.untilDelivery(id, jobs.DeliveryDelivered)
	assert.Equal(t, d.MessageID, again.MessageID)
	assert.Equal(t, 4, again.Attempts)
	assert.Zero(t, again.Failures)
	assert.Equal(t, []string{"submit", "claim", "finish", "callback_dead", "callback_replay", "callback_delivered"}, s.actions(id))

	r.next <- http.StatusGone
	id = s.submitWith(r.url, true)
	d = s.untilDelivery(id, jobs.DeliveryDead)
	assert.Equal(t, 1, d.Attempts, "a receiver that is gone is not called again")
}

// Every final state of a request makes a delivery. The states and their names come
// from the table of transitions.
func TestEveryEndCallsBack(t *testing.T) {
	t.Parallel()
	s := setup(t)
	r := newReceiver(t)
	c := quick()
	c.Webhooks = hooks(t)
	c.Retry.MaxTries = 1
	s.start(c, func(context.Context, []byte) (json.RawMessage, error) { return nil, io.ErrUnexpectedEOF })

	failed := s.submitWith(r.url, true)
	assert.Equal(t, "mass_request.failed", s.untilDelivery(failed, jobs.DeliveryDelivered).Event)

	cancelled := s.submitWith(r.url, false)
	_, err := s.store.MoveRequest(t.Context(), cancelled, jobs.StatusCancelled, store.Origin{Actor: "test"})
	require.NoError(t, err)
	assert.Equal(t, "mass_request.cancelled", s.untilDelivery(cancelled, jobs.DeliveryDelivered).Event, "only the leader enqueued it")

	_, err = s.db.ExecContext(t.Context(), `
        INSERT INTO mass_requests (batch_id, payload, schema_version, callback_url, run_at, expires_at)
        VALUES (nextval('mass_batches'), '{}', '1.0-simple', $1, now() + interval '1 hour', now() - interval '1 hour')`, r.url)
	require.NoError(t, err)
	var expired int64
	require.NoError(t, s.db.GetContext(t.Context(), &expired, `SELECT max(id) FROM mass_requests`))
	d := s.untilDelivery(expired, jobs.DeliveryDelivered)
	assert.Equal(t, "mass_request.failed", d.Event)
	assert.Contains(t, string(d.Data), "expired")
}

func TestNoCallbackWithoutURL(t *testing.T) {
	t.Parallel()
	s := setup(t)
	c := quick()
	c.Webhooks = hooks(t)
	s.start(c, echo)
	s.untilStatus(s.submit(true, `{}`)[0], jobs.StatusDone)
	var n int
	require.NoError(t, s.db.GetContext(t.Context(), &n, `SELECT count(*) FROM webhook_deliveries`))
	assert.Zero(t, n)
}

// A worker without a secret ends the request. The task of the callback, if the worker
// made one, is lost with Redis. A later worker delivers the callback.
func TestCallbacksSurviveRedis(t *testing.T) {
	t.Parallel()
	s := setup(t)
	r := newReceiver(t)
	stop := s.start(quick(), echo)
	id := s.submitWith(r.url, true)
	s.untilDelivery(id, jobs.DeliveryPending)
	stop()
	require.NoError(t, s.rdb.FlushDB(t.Context()).Err())

	c := quick()
	c.Webhooks = hooks(t)
	s.start(c, echo)
	assert.Equal(t, 1, s.untilDelivery(id, jobs.DeliveryDelivered).Attempts)
	<-r.got
	assert.Empty(t, r.got)
}

// An attempt whose worker died in the middle of it is repeated once it counts as lost.
func TestALostAttemptIsRepeated(t *testing.T) {
	t.Parallel()
	s := setup(t)
	r := newReceiver(t)
	stop := s.start(quick(), echo)
	id := s.submitWith(r.url, true)
	d := s.untilDelivery(id, jobs.DeliveryPending)
	stop()
	claimed, err := s.store.ClaimDelivery(t.Context(), jobs.DeliveryRef{ID: d.ID}, time.Millisecond)
	require.NoError(t, err)
	require.Equal(t, 1, claimed.Attempts)
	_, err = s.store.ClaimDelivery(t.Context(), jobs.DeliveryRef{ID: d.ID}, time.Millisecond)
	require.ErrorIs(t, err, store.ErrNotFound, "a second delivery of the task finds nothing")

	c := quick()
	c.Webhooks = hooks(t)
	s.start(c, echo)
	assert.Equal(t, 2, s.untilDelivery(id, jobs.DeliveryDelivered).Attempts)
	_, err = s.store.SettleDelivery(t.Context(), 1, jobs.DeliveryOutcome{
		DeliveryRef: jobs.DeliveryRef{ID: d.ID, Attempts: 1}, Status: jobs.DeliveryDead, Error: "late",
	})
	require.ErrorIs(t, err, store.ErrConflict, "the lost attempt changes nothing anymore")
	assert.Equal(t, []string{"submit", "claim", "finish", "callback_delivered"}, s.actions(id))
}

// One receiver hangs for as long as the test lasts. Meanwhile requests are done and
// other receivers are called.
func TestAHangingReceiverDelaysNoOther(t *testing.T) {
	t.Parallel()
	s := setup(t)
	begun, open := make(chan struct{}, 100), make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		begun <- struct{}{}
		<-open
	}))
	t.Cleanup(hanging.Close)
	r := newReceiver(t)
	c := quick()
	c.Webhooks = hooks(t)
	c.Webhooks.Concurrency = 4
	s.start(c, echo)
	t.Cleanup(func() { close(open) }) // before the worker waits for its calls
	var stuck []int64
	for range 20 {
		stuck = append(stuck, s.submitWith(hanging.URL, true))
	}
	<-begun
	<-begun
	for range 20 {
		s.untilDelivery(s.submitWith(r.url, true), jobs.DeliveryDelivered)
	}
	for _, id := range stuck {
		s.untilStatus(id, jobs.StatusDone)
		assert.Equal(t, jobs.DeliveryPending, s.untilDelivery(id, jobs.DeliveryPending).Status)
	}
	assert.Empty(t, begun, "half of the deliveries that may be under way, and no more")
}

func TestADeletedRequestIsNotCalledBack(t *testing.T) {
	t.Parallel()
	s := setup(t)
	r := newReceiver(t)
	id := s.submitWith(r.url, false)
	_, err := s.store.MoveRequest(t.Context(), id, jobs.StatusCancelled, store.Origin{Actor: "test"})
	require.NoError(t, err)
	d := s.untilDelivery(id, jobs.DeliveryPending)
	claimed, err := s.store.ClaimDelivery(t.Context(), jobs.DeliveryRef{ID: d.ID}, time.Minute)
	require.NoError(t, err)
	require.NoError(t, s.store.DeleteRequest(t.Context(), id, store.Origin{Actor: "test"}))
	_, err = s.store.SettleDelivery(t.Context(), 1, jobs.DeliveryOutcome{
		DeliveryRef: jobs.DeliveryRef{ID: d.ID, Attempts: claimed.Attempts}, Status: jobs.DeliveryDelivered,
	})
	require.ErrorIs(t, err, store.ErrConflict)
	list, err := s.store.Deliveries(t.Context(), id, 10)
	require.NoError(t, err)
	assert.Empty(t, list)
}

// A worker that dies after it took the task of a callback and before it began the
// attempt leaves a task that looks alive until Asynq's own recovery, minutes later.
func TestACallbackTakenByADeadWorkerIsDelivered(t *testing.T) {
	t.Parallel()
	s := setup(t)
	r := newReceiver(t)
	id := s.submitWith(r.url, false)
	_, err := s.store.MoveRequest(t.Context(), id, jobs.StatusCancelled, store.Origin{Actor: "test"})
	require.NoError(t, err)
	list, err := s.store.Deliveries(t.Context(), id, 10)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.NoError(t, s.enq.EnqueueDelivery(t.Context(), jobs.DeliveryRef{ID: list[0].ID}))

	const queue = "asynq:{webhooks}:" // what Asynq 0.26 does when a worker takes a task
	task, err := s.rdb.LMove(t.Context(), queue+"pending", queue+"active", "right", "left").Result()
	require.NoError(t, err)
	require.NoError(t, s.rdb.HSet(t.Context(), queue+"t:"+task, "state", "active").Err())
	lease := redis.Z{Score: float64(time.Now().Add(time.Hour).Unix()), Member: task}
	require.NoError(t, s.rdb.ZAdd(t.Context(), queue+"lease", lease).Err())

	c := rescuing()
	c.Webhooks = hooks(t)
	s.start(c, echo)
	d := s.untilDelivery(id, jobs.DeliveryDelivered)
	assert.Equal(t, 1, d.Attempts)
}
