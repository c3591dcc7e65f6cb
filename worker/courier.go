package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"

	"github.com/leomutto/pilot-in-a-box/internal/webhook"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// WebhookConfig tunes the delivery of callbacks. The zero value leaves them to
// other workers; otherwise all fields but PublicURL must be set.
type WebhookConfig struct {
	Client      *webhook.Client  // nil: this worker delivers no callbacks
	Concurrency int              // deliveries under way at once; one receiver gets at most half of them
	Timeout     time.Duration    // of the client
	Retry       jobs.RetryPolicy // of a delivery
	PublicURL   string           // of the API, for the link in a message; "": the link is a path only
}

const (
	// deliverySlack is the time beyond the client's timeout after which an
	// attempt counts as lost.
	deliverySlack = 30 * time.Second

	// A delivery to a busy receiver keeps its place for receiverPatience. Then
	// it is postponed by a random time between receiverWait and five times
	// receiverWait.
	receiverPatience = 500 * time.Millisecond
	receiverWait     = time.Second
)

// errReceiverBusy postpones a delivery because its receiver already takes up
// half of all deliveries under way. It does not count as a failure.
var errReceiverBusy = errors.New("too many deliveries to this receiver are under way")

// courier delivers callbacks. It has a task server of its own, so that a
// receiver that hangs delays only callbacks.
type courier struct {
	backends
	work   context.Context                       // of the attempts
	worker *atomic.Pointer[store.WorkerIdentity] // for the audit trail
	config WebhookConfig

	mu        sync.Mutex
	receivers map[string]*receiver // being called, by host and port
}

func newCourier(work context.Context, b backends, worker *atomic.Pointer[store.WorkerIdentity], c WebhookConfig) *courier {
	return &courier{backends: b, work: work, worker: worker, config: c, receivers: map[string]*receiver{}}
}

// handle makes one attempt at one delivery. As with batches, an error means
// only that Postgres was unavailable or the receiver is busy; the context of
// the task, which ends when Redis is away, does not end the attempt.
func (c *courier) handle(_ context.Context, task *asynq.Task) error {
	ref, err := jobs.ParseWebhookPayload(task.Payload())
	if err != nil {
		return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
	}
	ctx := c.work
	address, err := c.store.DeliveryURL(ctx, ref) //nolint:contextcheck // see above
	if errors.Is(err, store.ErrNotFound) {
		return nil // the attempt was begun before, or the request is gone
	}
	if err != nil {
		return err
	}
	leave, err := c.enter(address)
	if err != nil {
		return err
	}
	defer leave()
	d, err := c.store.ClaimDelivery(ctx, ref, c.config.Timeout+deliverySlack) //nolint:contextcheck // see above
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	c.attempt(ctx, &d) //nolint:contextcheck // see above
	return nil
}

// receiver is a host that is being called.
type receiver struct {
	slots    chan struct{} // one for each delivery that may be under way
	users    int           // deliveries in a slot or waiting for one
	progress time.Time     // when a slot was last taken or given back
}

// enter takes one of the receiver's slots. It waits for a slot while the
// receiver is quick, and postpones the delivery otherwise: a slow receiver must
// not occupy this worker's deliveries.
func (c *courier) enter(address string) (leave func(), err error) {
	var host string
	if u, err := url.Parse(address); err == nil {
		host = u.Host
	}
	c.mu.Lock()
	r := c.receivers[host]
	if r == nil {
		r = &receiver{slots: make(chan struct{}, max(1, c.config.Concurrency/2)), progress: time.Now()}
		c.receivers[host] = r
	}
	r.users++
	patience := receiverPatience - time.Since(r.progress)
	c.mu.Unlock()

	wait := time.NewTimer(max(0, patience))
	defer wait.Stop()
	select {
	case r.slots <- struct{}{}: // a free slot takes precedence over an expired timer
	default:
		select {
		case r.slots <- struct{}{}:
		case <-wait.C:
			c.leave(host, r, false)
			return nil, errReceiverBusy
		}
	}
	c.mu.Lock()
	r.progress = time.Now()
	c.mu.Unlock()
	return func() {
		<-r.slots
		c.leave(host, r, true)
	}, nil
}

// leave counts a delivery as no longer using the receiver. The last one forgets
// the receiver.
func (c *courier) leave(host string, r *receiver, progress bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if progress {
		r.progress = time.Now()
	}
	if r.users--; r.users == 0 {
		delete(c.receivers, host)
	}
}

// attempt sends the message and writes the outcome.
func (c *courier) attempt(ctx context.Context, d *jobs.Delivery) {
	log := c.log.With("delivery", d.ID, "mass_request", d.RequestID, "attempt", d.Attempts)
	body, err := c.body(d)
	if err != nil {
		log.Error("the message of a callback could not be encoded", "error", err) // cannot happen: the data is our own
		return
	}
	started := time.Now()
	reply := c.config.Client.Send(ctx, d.URL, webhook.Message{ID: d.WebhookID(), Body: body})
	if ctx.Err() != nil && !reply.Delivered() {
		log.Info("callback interrupted; it will be attempted again", "error", reply.Err)
		return
	}
	o := c.judge(d, &reply)
	var next jobs.DeliveryRef
	err = c.persist(ctx, "write the outcome of a callback", func() (err error) {
		next, err = c.store.SettleDelivery(ctx, c.worker.Load().ID, o)
		return err
	})
	if err != nil {
		log.Warn("the outcome of a callback could not be written; the callback will be attempted again", "error", err)
		return
	}
	log.Info("callback attempted", "outcome", o.Status, "http_status", o.HTTPStatus, "duration", time.Since(started), "error", reply.Err)
	if next.ID != 0 {
		c.enqueueDelivery(ctx, next)
	}
}

// judge is the one place that decides what follows from an attempt at a
// delivery: it was delivered, is dead, or is attempted again later.
func (c *courier) judge(d *jobs.Delivery, reply *webhook.Reply) jobs.DeliveryOutcome {
	o := jobs.DeliveryOutcome{
		DeliveryRef: jobs.DeliveryRef{ID: d.ID, Attempts: d.Attempts}, HTTPStatus: reply.Status, Error: reply.Reason,
	}
	switch {
	case reply.Delivered():
		o.Status = jobs.DeliveryDelivered
	case reply.Gone():
		o.Status = jobs.DeliveryDead
	case c.config.Retry.Again(d.Failures + 1):
		o.Status = jobs.DeliveryPending
		o.Delay = max(c.config.Retry.Delay(d.Failures+1, rand.Float64()), min(reply.RetryAfter, c.config.Retry.Max))
	default:
		o.Status, o.Error = jobs.DeliveryDead, fmt.Sprintf("gave up after %d tries: %s", d.Failures+1, reply.Reason)
	}
	return o
}

// body returns the message, which is the same for every attempt.
func (c *courier) body(d *jobs.Delivery) ([]byte, error) {
	var data map[string]any
	if err := json.Unmarshal(d.Data, &data); err != nil {
		return nil, fmt.Errorf("read the data of delivery %d: %w", d.ID, err)
	}
	data["id"], data["url"] = d.RequestID, c.config.PublicURL+"/mass-requests/"+strconv.FormatInt(d.RequestID, 10)
	return json.Marshal(struct {
		Type      string         `json:"type"`
		Timestamp time.Time      `json:"timestamp"`
		Data      map[string]any `json:"data"`
	}{d.Event, d.CreatedAt, data})
}
