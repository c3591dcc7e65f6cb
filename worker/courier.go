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
	"time"

	"github.com/hibiken/asynq"

	"github.com/leomutto/pilot-in-a-box/internal/webhook"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// WebhookConfig tunes the delivery of callbacks. The zero value leaves them to
// other workers.
type WebhookConfig struct {
	Client      *webhook.Client  // nil: this worker delivers none
	Concurrency int              // deliveries under way at once; one receiver gets half of them at most
	Timeout     time.Duration    // of the client
	Retry       jobs.RetryPolicy // of a delivery
	PublicURL   string           // of the API, for the link in a message; "" for a path only
}

const (
	deliverySlack = 30 * time.Second // beyond the client's timeout, until a try counts as lost

	// A delivery whose receiver has all it may have waits for so long in its place,
	// and is then put off by this and up to five times this.
	receiverPatience = 500 * time.Millisecond
	receiverWait     = time.Second
)

// errReceiverBusy puts a delivery off because its receiver takes up half of all
// that may be under way. It is no failure of anybody.
var errReceiverBusy = errors.New("too many deliveries to this receiver are under way")

// courier delivers callbacks: a task server of its own, so that receivers that
// hang hold up nothing but callbacks.
type courier struct {
	w        *Worker
	config   WebhookConfig
	doorbell *jobs.Doorbell
	server   *asynq.Server

	mu    sync.Mutex
	hosts map[string]*host // that are being called
}

// newCourier returns nil when there is nothing to deliver with.
func newCourier(w *Worker, c WebhookConfig) *courier {
	if c.Client == nil {
		return nil
	}
	queues := map[string]int{jobs.WebhookQueue: 1}
	co := &courier{w: w, config: c, doorbell: jobs.NewDoorbell(queues, w.config.PollInterval), hosts: map[string]*host{}}
	w.redis.AddHook(co.doorbell)
	return co
}

func (c *courier) start(ctx context.Context) error {
	if c == nil {
		return nil
	}
	queues := map[string]int{jobs.WebhookQueue: 1}
	c.server = asynq.NewServerFromRedisClient(c.w.redis, asynq.Config{
		Concurrency:              c.config.Concurrency,
		Queues:                   queues,
		TaskCheckInterval:        time.Millisecond, // after an empty look; the doorbell does the waiting
		DelayedTaskCheckInterval: time.Second,
		ShutdownTimeout:          c.w.config.ShutdownTimeout + handBackTime,
		RetryDelayFunc: func(n int, err error, t *asynq.Task) time.Duration {
			if errors.Is(err, errReceiverBusy) {
				return receiverWait + rand.N(4*receiverWait)
			}
			return redeliveryDelay(n, err, t)
		},
		IsFailure:   func(err error) bool { return !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, errReceiverBusy) },
		BaseContext: func() context.Context { return context.WithoutCancel(ctx) },
		Logger:      asynqLogger{c.w.log},
		LogLevel:    asynq.WarnLevel,
	})
	mux := asynq.NewServeMux()
	mux.HandleFunc(jobs.TypeWebhook, c.handle)
	if err := c.server.Start(mux); err != nil {
		return fmt.Errorf("start the server of callbacks: %w", err)
	}
	return nil
}

func (c *courier) listen(ctx context.Context) {
	if c != nil {
		c.doorbell.Listen(ctx, c.w.redis)
	}
}

func (c *courier) shutdown() {
	if c != nil {
		c.server.Shutdown()
	}
}

// handle makes one try of one delivery. As with batches, an error means only that
// Postgres could not be asked, or that the receiver is busy; the context of the
// task, which ends when Redis is away, does not end the try.
func (c *courier) handle(_ context.Context, task *asynq.Task) error {
	c.w.handlers.Add(1)
	defer c.w.handlers.Done()

	ref, err := jobs.ParseWebhookPayload(task.Payload())
	if err != nil {
		return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
	}
	ctx := c.w.running
	address, err := c.w.store.DeliveryURL(ctx, ref) //nolint:contextcheck // see above
	if errors.Is(err, store.ErrNotFound) {
		return nil // it was begun before, or its request is gone
	}
	if err != nil {
		return err
	}
	leave, err := c.enter(address)
	if err != nil {
		return err
	}
	defer leave()
	d, err := c.w.store.ClaimDelivery(ctx, ref, c.config.Timeout+deliverySlack) //nolint:contextcheck // see above
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	c.try(ctx, &d) //nolint:contextcheck // see above
	return nil
}

// host is a receiver that is being called.
type host struct {
	slots    chan struct{} // one for each delivery that may be under way
	users    int           // those in a slot and those that wait for one
	progress time.Time     // when a slot was last taken or given back
}

// enter takes one of the receiver's slots. It waits for one while the receiver is
// quick, and puts the delivery off when it is not: a slow receiver must not hold
// the slots of this server.
func (c *courier) enter(address string) (leave func(), err error) {
	var name string
	if u, err := url.Parse(address); err == nil {
		name = u.Host
	}
	c.mu.Lock()
	h := c.hosts[name]
	if h == nil {
		h = &host{slots: make(chan struct{}, max(1, c.config.Concurrency/2)), progress: time.Now()}
		c.hosts[name] = h
	}
	h.users++
	patience := receiverPatience - time.Since(h.progress)
	c.mu.Unlock()

	wait := time.NewTimer(max(0, patience))
	defer wait.Stop()
	select {
	case h.slots <- struct{}{}: // preferred to a timer that has fired
	default:
		select {
		case h.slots <- struct{}{}:
		case <-wait.C:
			c.left(name, h, false)
			return nil, errReceiverBusy
		}
	}
	c.mu.Lock()
	h.progress = time.Now()
	c.mu.Unlock()
	return func() {
		<-h.slots
		c.left(name, h, true)
	}, nil
}

func (c *courier) left(name string, h *host, progress bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if progress {
		h.progress = time.Now()
	}
	if h.users--; h.users == 0 {
		delete(c.hosts, name)
	}
}

// try sends the message and writes what became of it.
func (c *courier) try(ctx context.Context, d *jobs.Delivery) {
	log := c.w.log.With("delivery", d.ID, "request", d.RequestID, "attempt", d.Attempts)
	body, err := c.body(d)
	if err != nil {
		log.Error("a callback cannot be written", "error", err) // its data is ours: this cannot happen
		return
	}
	started := time.Now()
	reply := c.config.Client.Send(ctx, d.URL, webhook.Message{ID: d.WebhookID(), Body: body})
	if ctx.Err() != nil && !reply.Delivered() {
		log.Info("a callback was broken off; it will be tried again", "error", reply.Err)
		return
	}
	o := c.judge(d, &reply)
	var next jobs.DeliveryRef
	err = c.w.persist(ctx, "settle a delivery", func() (err error) {
		next, err = c.w.store.SettleDelivery(ctx, c.w.id.Load(), o)
		return err
	})
	if err != nil {
		log.Warn("what became of a callback could not be written; it will be tried again", "error", err)
		return
	}
	log.Info("callback tried", "outcome", o.Status, "http_status", o.HTTPStatus, "duration", time.Since(started), "error", reply.Err)
	if next.ID != 0 {
		c.w.enqueueDelivery(ctx, next)
	}
}

// judge is the one place that decides what follows from a try to deliver.
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

// body is the message; the same for every try.
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

// callBack enqueues the callbacks of requests that came to their end, without
// making anybody wait. What gets lost is found by the reconciler.
func (w *Worker) callBack(requests []int64) {
	if len(requests) == 0 {
		return
	}
	w.handlers.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(w.running), enqueueTimeout)
		defer cancel()
		refs, err := w.store.NewDeliveries(ctx, requests)
		if err != nil {
			w.log.Warn("callbacks not enqueued; the reconciler will do it", "error", err)
		}
		for _, ref := range refs {
			w.enqueueDelivery(ctx, ref)
		}
	})
}

func (w *Worker) enqueueDelivery(ctx context.Context, ref jobs.DeliveryRef) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), enqueueTimeout)
	defer cancel()
	if err := w.enqueuer.EnqueueDelivery(ctx, ref); err != nil {
		w.log.Warn("callback not enqueued; the reconciler will do it", "delivery", ref.ID, "error", err)
	}
}

// deliverAgain enqueues deliveries that are due and have no task: Redis lost it,
// or a worker died between the row and the task, or in the middle of a try. It
// goes on like walk.
func (r *reconciler) deliverAgain(ctx context.Context, now time.Time) error {
	for {
		due, err := r.store.DueDeliveries(ctx, r.due, r.config.Grace, r.config.Step)
		if err != nil {
			return err
		}
		if len(due) == 0 {
			r.due = store.DueDelivery{}
			r.taken, r.takenNow = r.takenNow, map[jobs.DeliveryRef]time.Time{}
			return nil
		}
		refs := make([]jobs.DeliveryRef, len(due))
		for i, d := range due {
			refs[i] = d.DeliveryRef
		}
		missing, taken, err := jobs.DeliveriesWithoutTask(ctx, r.redis, refs)
		if err != nil {
			return err
		}
		missing = append(missing, r.overdue(taken, now)...)
		if len(missing) > 0 {
			r.log.Info("callbacks without a task enqueued again", "deliveries", len(missing), "first", missing[0].ID)
		}
		for _, ref := range missing {
			bounded, cancel := context.WithTimeout(ctx, enqueueTimeout)
			err := r.enqueuer.EnqueueDelivery(bounded, ref)
			cancel()
			if err != nil {
				return err
			}
		}
		r.due = due[len(due)-1]
		if 2*len(missing) < len(due) || time.Since(now) >= r.config.Interval {
			return nil
		}
	}
}

// overdue returns those of the tries that have been due, and taken by a worker
// that does not begin them, for as long as a worker may be silent. They get
// another task; of two that begin the same try Postgres lets one go on.
func (r *reconciler) overdue(taken []jobs.DeliveryRef, now time.Time) []jobs.DeliveryRef {
	var list []jobs.DeliveryRef
	for _, ref := range taken {
		first, known := r.taken[ref]
		if !known {
			first = now
		}
		if r.takenNow[ref] = first; now.Sub(first) < r.config.SilentAfter {
			continue
		}
		r.takenNow[ref] = now
		ref.Again = int(now.Unix())
		list = append(list, ref)
	}
	return list
}
