// Package waiting is where the callers of this process wait for requests to
// change: callers that want a request's end, and streams that want every event.
//
// However many callers wait, they share one subscription in Redis, one look at
// the rows when a change is announced, and one regular look, because an
// announcement may be lost. The package knows no HTTP.
package waiting

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/store"
)

const (
	lookMax    = 500         // waiters served by one statement of a look
	eventsMax  = 100         // events delivered to one stream at a time
	hubLogging = time.Second // shortest time between two log lines about failed looks
)

// Options are what a Hub needs. All of them must be set.
type Options struct {
	Store    *store.Store
	Redis    redis.UniversalClient
	Interval time.Duration // between regular looks at all requests that are waited for
	Timeout  time.Duration // bound of one statement
	Log      *slog.Logger
}

// Hub serves all waiting callers of a process. Its goroutine starts with the
// first waiter and ends when a regular look finds no waiter. It is safe for
// concurrent use.
type Hub struct {
	store    *store.Store
	redis    redis.UniversalClient
	interval time.Duration
	timeout  time.Duration
	log      *slog.Logger
	closed   chan struct{} // closed when waiting is no longer allowed
	wake     chan struct{}

	mu      sync.Mutex
	waiters map[int64]map[*waiter]struct{} // by request
	due     map[int64]struct{}             // requests to look at
	allDue  bool
	stop    context.CancelFunc // of the goroutine; nil while there is no waiter
	running sync.WaitGroup

	looks      atomic.Int64 // looks at the database so far, one or two statements each
	subscribed atomic.Int64 // times the subscription was established
	logging    rate.Sometimes
}

// forEnd is the position of a waiter that wants no events.
const forEnd = -1

// waiter waits for one request. The hub fills it in and then signals ready.
type waiter struct {
	id    int64
	ready chan struct{}

	// Guarded by the hub.
	after  int64 // the last event that the waiter was given, or forEnd
	found  []store.Event
	more   bool         // there are more events
	missed bool         // the hub passed the waiter over, because found was full
	end    jobs.Request // for a waiter that wants the end
	gone   bool         // the request does not exist
	served bool         // end or gone is set
}

// New returns a Hub. The caller closes it.
func New(o Options) *Hub {
	return &Hub{
		store: o.Store, redis: o.Redis, interval: o.Interval, timeout: o.Timeout, log: o.Log,
		closed: make(chan struct{}), wake: make(chan struct{}, 1),
		waiters: map[int64]map[*waiter]struct{}{}, due: map[int64]struct{}{},
		logging: rate.Sometimes{First: 1, Interval: hubLogging},
	}
}

// End waits until the request is final and returns it. It returns the request as
// it is when patience runs out or the hub is closed. A request that does not
// exist, or that is deleted meanwhile, is a store.NotFoundError.
func (h *Hub) End(ctx context.Context, id int64, patience time.Duration) (jobs.Request, error) {
	r, err := h.read(ctx, id)
	if err != nil || r.Status.Final() {
		return r, err
	}
	over := time.NewTimer(patience)
	defer over.Stop()
	w := h.add(id, forEnd) //nolint:contextcheck // the hub lives longer than this waiter
	defer h.remove(w)
	select {
	case <-w.ready:
		return h.takeEnd(w)
	case <-ctx.Done():
		return jobs.Request{}, ctx.Err()
	case <-over.C:
	case <-h.closed:
	}
	return h.read(ctx, id)
}

func (h *Hub) read(ctx context.Context, id int64) (jobs.Request, error) {
	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	return h.store.Request(ctx, id)
}

// Stream delivers the events of one request, the oldest first.
type Stream struct {
	hub    *Hub
	waiter *waiter
}

// Follow returns a Stream of the events of a request after the event with the
// given id (0: all of them). The caller closes it.
func (h *Hub) Follow(id, after int64) *Stream { return &Stream{h, h.add(id, after)} }

// Ready receives when there are events to take.
func (s *Stream) Ready() <-chan struct{} { return s.waiter.ready }

// Take returns the next events, and whether more of them exist already.
func (s *Stream) Take() (events []store.Event, more bool) { return s.hub.takeEvents(s.waiter) }

// Close ends the stream.
func (s *Stream) Close() { s.hub.remove(s.waiter) }

// Stats are the figures of a hub.
type Stats struct {
	Waiters    int   // at this moment
	Looks      int64 // at the database so far
	Subscribed int64 // times the subscription was established
	Running    bool  // the goroutine of the hub runs
}

// Stats returns the figures at this moment.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	stats := Stats{Looks: h.looks.Load(), Subscribed: h.subscribed.Load(), Running: h.stop != nil}
	for _, list := range h.waiters {
		stats.Waiters += len(list)
	}
	return stats
}

// Closed is closed when the hub is: from then on waiting is not allowed.
func (h *Hub) Closed() <-chan struct{} { return h.closed }

// Close ends all waiting and returns when the goroutine of the hub has ended.
func (h *Hub) Close() {
	h.mu.Lock()
	if !h.isClosed() {
		close(h.closed)
	}
	if h.stop != nil {
		h.stop()
	}
	h.mu.Unlock()
	h.running.Wait()
}

// add registers a waiter; every add has its remove. The hub looks at the request
// once afterwards, so a change that happened before is not missed.
func (h *Hub) add(id, after int64) *waiter {
	w := &waiter{id: id, after: after, ready: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.waiters[id] == nil {
		h.waiters[id] = map[*waiter]struct{}{}
	}
	h.waiters[id][w] = struct{}{}
	if h.isClosed() {
		return w
	}
	h.makeDue(id)
	if h.stop == nil {
		ctx, stop := context.WithCancel(context.Background())
		h.stop = stop
		h.running.Go(func() { h.work(ctx, stop) })
	}
	return w
}

func (h *Hub) remove(w *waiter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.waiters[w.id], w)
	if len(h.waiters[w.id]) == 0 {
		delete(h.waiters, w.id)
	}
}

// takeEnd returns the request that a served waiter waited for.
func (h *Hub) takeEnd(w *waiter) (jobs.Request, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if w.gone {
		return jobs.Request{}, &store.NotFoundError{Noun: store.NounRequest}
	}
	return w.end, nil
}

// takeEvents returns the next events of a stream, and whether there are more.
func (h *Hub) takeEvents(w *waiter) (found []store.Event, more bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	found, more = w.found, w.more
	if w.more || w.missed {
		h.makeDue(w.id)
	}
	w.found, w.more, w.missed = nil, false, false
	return found, more
}

func (h *Hub) isClosed() bool {
	select {
	case <-h.closed:
		return true
	default:
		return false
	}
}

// changed marks the requests that have waiters as due; without ids, all of them.
func (h *Hub) changed(ids []int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ids == nil {
		h.subscribed.Add(1)
		h.allDue = true
		h.ring()
	}
	for _, id := range ids {
		if h.waiters[id] != nil {
			h.makeDue(id)
		}
	}
}

func (h *Hub) makeDue(id int64) {
	h.due[id] = struct{}{}
	h.ring()
}

func (h *Hub) ring() {
	select {
	case h.wake <- struct{}{}:
	default: // one signal is enough
	}
}

// work looks whenever a request is due. It ends when there is no waiter.
func (h *Hub) work(ctx context.Context, stop context.CancelFunc) {
	defer stop()
	go queue.HearChanges(ctx, h.redis, h.changed) // a goroutine of its own: it may hang on a Redis that does not answer
	tick := time.NewTicker(h.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		case <-tick.C:
			if h.rest() {
				return
			}
		}
		h.look(ctx)
	}
}

// rest marks every waiter due. It reports true when there is no waiter, so that
// the goroutine may end; the next add starts another one.
func (h *Hub) rest() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.waiters) > 0 {
		h.allDue = true
		return false
	}
	h.stop = nil
	return true
}

// look reads the requests that are due, many waiters per statement.
func (h *Hub) look(ctx context.Context) {
	ends, streams := h.takeDue()
	for ids := range slices.Chunk(ends, lookMax) {
		h.lookForEnds(ctx, ids)
	}
	for part := range slices.Chunk(streams, lookMax) {
		h.lookForEvents(ctx, part)
	}
}

// takeDue lists the requests whose end is waited for, and the streams. A stream
// that has not taken its last events is passed over, so that a slow client does
// not hold up the others.
func (h *Hub) takeDue() (ends []int64, streams []*waiter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	add := func(id int64) {
		end := false
		for w := range h.waiters[id] {
			switch {
			case w.after == forEnd:
				end = end || !w.served
			case len(w.found) > 0:
				w.missed = true
			default:
				streams = append(streams, w)
			}
		}
		if end {
			ends = append(ends, id)
		}
	}
	if h.allDue {
		for id := range h.waiters {
			add(id)
		}
	} else {
		for id := range h.due {
			add(id)
		}
	}
	h.allDue = false
	clear(h.due)
	return ends, streams
}

func (h *Hub) lookForEnds(ctx context.Context, ids []int64) {
	h.looks.Add(1)
	within, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	ended, gone, err := h.store.EndedRequests(within, ids)
	if err != nil {
		h.failed(ctx, err)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range ended {
		h.serve(r.ID, func(w *waiter) { w.end = r })
	}
	for _, id := range gone {
		h.serve(id, func(w *waiter) { w.gone = true })
	}
}

func (h *Hub) serve(id int64, fill func(*waiter)) {
	for w := range h.waiters[id] {
		if w.after == forEnd && !w.served {
			w.served = true
			fill(w)
			w.ready <- struct{}{} // has room for this one
		}
	}
}

func (h *Hub) lookForEvents(ctx context.Context, streams []*waiter) {
	h.looks.Add(1)
	cursors := make([]store.EventCursor, len(streams))
	for i, w := range streams {
		cursors[i] = store.EventCursor{Request: w.id, After: w.after} // only this goroutine writes it
	}
	within, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	found, err := h.store.EventsBehind(within, cursors, eventsMax+1) // one more tells whether there are more
	if err != nil {
		h.failed(ctx, err)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, w := range streams {
		if len(found[i]) == 0 {
			continue
		}
		w.found = found[i][:min(len(found[i]), eventsMax)]
		w.more = len(found[i]) > eventsMax
		w.after = w.found[len(w.found)-1].ID
		select {
		case w.ready <- struct{}{}:
		default: // the signal before has not been received yet
		}
	}
}

// failed logs a look that failed. Nothing is lost: the next regular look covers
// every waiter.
func (h *Hub) failed(ctx context.Context, err error) {
	if ctx.Err() == nil {
		h.logging.Do(func() { h.log.Warn("cannot read the requests that callers wait for", "error", err) })
	}
}
