package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

const hookURL = "https://example.com/hook"

// delivery makes a request with a callback, cancels it, and returns what there is to deliver.
func (b system) delivery() jobs.Delivery {
	b.t.Helper()
	in, err := b.InsertRequests(b.ctx, []store.NewRequest{{
		Payload: json.RawMessage(`{}`), SchemaVersion: "1.0-simple", Priority: jobs.Default, CallbackURL: hookURL,
	}})
	require.NoError(b.t, err)
	assert.Equal(b.t, hookURL, b.get(in[0].ID).CallbackURL)
	_, err = b.MoveRequest(b.ctx, in[0].ID, jobs.StatusCancelled, store.Origin{Actor: "test"})
	require.NoError(b.t, err)
	return b.latest(in[0].ID)
}

func (b system) latest(request int64) jobs.Delivery {
	b.t.Helper()
	list, err := b.Deliveries(b.ctx, request, 10)
	require.NoError(b.t, err)
	require.NotEmpty(b.t, list)
	return list[0]
}

func (b system) outcome(d jobs.Delivery, status jobs.DeliveryStatus, text string) (jobs.DeliveryRef, error) {
	return b.SettleDelivery(b.ctx, 1, jobs.DeliveryOutcome{
		DeliveryRef: jobs.DeliveryRef{ID: d.ID, Attempts: d.Attempts}, Status: status, Error: text, HTTPStatus: 500, Delay: time.Minute,
	})
}

func TestDeliveryStatusesAreThoseOfTheTable(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var names []string
	err := b.db.SelectContext(b.ctx, &names, `
        SELECT m[1] FROM pg_constraint, regexp_matches(pg_get_constraintdef(oid), '''(\w+)''', 'g') m
        WHERE conname = 'webhook_deliveries_status_known'`)
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprint(jobs.DeliveryStatuses()), fmt.Sprint(names))
}

// Every move of the table of transitions that ends a request makes one delivery,
// and no other does.
func TestEveryEndMakesOneDelivery(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, tr := range jobs.Transitions() {
		if tr.To == "" {
			continue
		}
		for _, from := range tr.From {
			t.Run(fmt.Sprintf("%s/%s", tr.Action, from), func(t *testing.T) {
				b.t = t
				r := b.inStatus(from)
				_, err := b.db.ExecContext(b.ctx, `UPDATE mass_requests SET callback_url = $2 WHERE id = $1`, r.ID, hookURL)
				require.NoError(t, err)
				require.True(t, act(b, tr.Action, r))
				list, err := b.Deliveries(b.ctx, r.ID, 10)
				require.NoError(t, err)
				if !tr.To.Final() {
					assert.Empty(t, list)
					return
				}
				require.Len(t, list, 1)
				d, now := list[0], b.get(r.ID)
				assert.Equal(t, "mass_request."+string(tr.To), d.Event)
				assert.Equal(t, hookURL, d.URL)
				assert.Equal(t, jobs.DeliveryPending, d.Status)
				assert.True(t, now.FinishedAt.Equal(d.CreatedAt))
				refs, err := b.NewDeliveries(b.ctx, []int64{r.ID})
				require.NoError(t, err)
				assert.Equal(t, []jobs.DeliveryRef{{ID: d.ID}}, refs)
			})
		}
	}
}

// A rescue fails a request, too, when too many workers died on it.
func TestAFatalRescueMakesADelivery(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.inStatus(jobs.StatusPending)
	w := b.worker()
	b.claim(w, r.BatchID)
	_, err := b.db.ExecContext(b.ctx, `UPDATE mass_requests SET callback_url = $2, rescues = 5 WHERE id = $1`, r.ID, hookURL)
	require.NoError(t, err)
	_, _, err = b.RescueRequests(b.ctx, w.ID, store.RescueLimits{Step: 10, BatchSize: 64, MaxRescues: 5})
	require.NoError(t, err)
	assert.Equal(t, "mass_request.failed", b.latest(r.ID).Event)
}

func TestTheDataOfADeliveryIsBounded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.inStatus(jobs.StatusPending)
	_, err := b.db.ExecContext(b.ctx, `UPDATE mass_requests SET callback_url = $2 WHERE id = $1`, r.ID, hookURL)
	require.NoError(t, err)
	w := b.worker()
	c := b.claim(w, r.BatchID)[0]
	long := strings.Repeat(`ü"\`, 100_000)
	faults, err := json.Marshal([]map[string]string{{"pointer": "/a", "detail": long}})
	require.NoError(t, err)
	require.True(t, b.settle(w, jobs.Outcome{Lease: c.Lease, Action: jobs.Fail, Error: long, Faults: faults}).Accepted)
	d := b.latest(r.ID)
	assert.Less(t, len(d.Data), 24<<10)
	var data struct {
		Error  string
		Faults json.RawMessage
	}
	require.NoError(t, json.Unmarshal(d.Data, &data))
	assert.Len(t, []rune(data.Error), 2000)
	assert.Equal(t, "null", string(data.Faults))
}

func TestOneOfManyBeginsATry(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.delivery()
	var begun atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			_, err := b.ClaimDelivery(context.WithoutCancel(b.ctx), jobs.DeliveryRef{ID: d.ID}, time.Minute)
			if err == nil {
				begun.Add(1)
			} else {
				assert.ErrorIs(t, err, store.ErrNotFound)
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 1, begun.Load())
	_, err := b.DeliveryURL(b.ctx, jobs.DeliveryRef{ID: d.ID})
	require.ErrorIs(t, err, store.ErrNotFound)
}

func TestTheLifeOfADelivery(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.delivery()
	_, err := b.ReplayDelivery(b.ctx, d.RequestID, store.Origin{Actor: "alice"})
	require.ErrorIs(t, err, store.ErrConflict, "it is under way")

	ref := jobs.DeliveryRef{ID: d.ID}
	for try := 1; try <= 2; try++ {
		url, err := b.DeliveryURL(b.ctx, ref)
		require.NoError(t, err)
		require.Equal(t, hookURL, url)
		c, err := b.ClaimDelivery(b.ctx, ref, time.Minute)
		require.NoError(t, err)
		require.Equal(t, try, c.Attempts)
		require.Equal(t, try-1, c.Failures)
		ref, err = b.outcome(c, jobs.DeliveryPending, "no")
		require.NoError(t, err)
		require.Equal(t, try, ref.Attempts)
		require.False(t, ref.At.IsZero())
		_, err = b.outcome(c, jobs.DeliveryDelivered, "")
		require.ErrorIs(t, err, store.ErrConflict, "a try ends once")
	}
	for _, end := range []jobs.DeliveryStatus{jobs.DeliveryDead, jobs.DeliveryDelivered} {
		c, err := b.ClaimDelivery(b.ctx, ref, time.Minute)
		require.NoError(t, err)
		next, err := b.outcome(c, end, "no")
		require.NoError(t, err)
		require.Zero(t, next)
		if end == jobs.DeliveryDead {
			require.Equal(t, 3, b.latest(d.RequestID).Failures)
			ref, err = b.ReplayDelivery(b.ctx, d.RequestID, store.Origin{Actor: "alice"})
			require.NoError(t, err)
			require.Equal(t, 3, ref.Attempts)
			require.Zero(t, b.latest(d.RequestID).Failures)
		}
	}
	got := b.latest(d.RequestID)
	assert.Equal(t, jobs.DeliveryDelivered, got.Status)
	assert.Equal(t, d.MessageID, got.MessageID)
	assert.NotZero(t, got.DeliveredAt)
	events, err := b.Events(b.ctx, d.RequestID, 0, 100)
	require.NoError(t, err)
	var actions []string
	for _, e := range events {
		actions = append(actions, e.Action)
		if strings.HasPrefix(e.Action, "callback") {
			_, changes := e.Ends()
			assert.False(t, changes)
		}
	}
	assert.Equal(t, []string{"submit", "cancel", "callback_dead", "callback_replay", "callback_delivered"}, actions)
}

func TestDueDeliveriesAreWalkedInOrder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var want []int64
	for range 5 {
		want = append(want, b.delivery().ID)
	}
	later, err := b.ClaimDelivery(b.ctx, jobs.DeliveryRef{ID: want[1]}, time.Hour)
	require.NoError(t, err)
	want = slices.Delete(want, 1, 2)
	var got []int64
	var behind store.DueDelivery
	for {
		list, err := b.DueDeliveries(b.ctx, behind, 0, 2)
		require.NoError(t, err)
		if len(list) == 0 {
			break
		}
		for _, d := range list {
			got = append(got, d.ID)
		}
		behind = list[len(list)-1]
	}
	assert.Equal(t, want, got)
	list, err := b.DueDeliveries(b.ctx, store.DueDelivery{}, time.Hour, 10)
	require.NoError(t, err)
	assert.Empty(t, list, "none is that old")
	assert.Equal(t, jobs.DeliveryPending, later.Status)
}

func TestReplayErrors(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.ReplayDelivery(b.ctx, 4711, store.Origin{Actor: "x"})
	require.ErrorIs(t, err, store.ErrNotFound)
	_, err = b.ReplayDelivery(b.ctx, b.inStatus(jobs.StatusDone).ID, store.Origin{Actor: "x"})
	require.True(t, errors.Is(err, store.ErrConflict))
}

func TestStatementsOfDeliveriesUseTheirIndexes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.db.ExecContext(b.ctx, `
        INSERT INTO webhook_deliveries (request_id, url, event, data, status, delivered_at, next_at)
        SELECT n, 'https://example.com/', 'mass_request.done', '{}', CASE WHEN n % 10 > 0 THEN 'delivered' ELSE 'pending' END,
               CASE WHEN n % 10 > 0 THEN now() END, now() + make_interval(secs => n)
        FROM generate_series(1, 50000) n`)
	require.NoError(t, err)
	_, err = b.db.ExecContext(b.ctx, `ANALYZE webhook_deliveries`)
	require.NoError(t, err)
	for query, index := range map[string]string{
		`SELECT id FROM webhook_deliveries WHERE status = 'pending' AND next_at <= now() AND (next_at, id) > ('0001-01-01', 0) ORDER BY next_at, id LIMIT 500`: "webhook_deliveries_due",
		`SELECT id FROM webhook_deliveries WHERE request_id = 7 ORDER BY id DESC LIMIT 50`:                                                                     "webhook_deliveries_request",
		`SELECT max(id) FROM webhook_deliveries WHERE request_id = 7`:                                                                                          "webhook_deliveries_request",
	} {
		var plan []string
		require.NoError(t, b.db.SelectContext(b.ctx, &plan, `EXPLAIN `+query), query)
		assert.Contains(t, strings.Join(plan, "\n"), index, query)
	}
}
