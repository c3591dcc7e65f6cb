package api

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

const (
	lookMax    = 500         // waiters that one look serves with one statement of each kind
	eventsMax  = 100         // events that one look brings to one stream
	hubLogging = time.Second // one line about looks that failed in this time at most
)

// hub is where everybody of this process waits for requests to change: those
// who want the end of one, and the streams that want every event. However many
// they are, they cost one subscription, one look at the rows when something was
// announced, and one look now and then because announcements may be lost.
//
// It works from the first waiter until a look now and then finds nobody waiting.
type hub struct {
	hear   func(ctx context.Context, changed func(ids []int64)) // jobs.HearChanges
	ended  func(ctx context.Context, ids []int64) ([]jobs.Request, []int64, error)
	events func(ctx context.Context, cursors []store.EventCursor, limit int) ([][]store.Event, error)
	every  time.Duration // between two looks that nothing announced
	within time.Duration // of one statement
	log    *slog.Logger
	closed chan struct{} // closed when nobody may wait anymore
	wake   chan struct{}

	mu      sync.Mutex
	waiters map[int64]map[*waiter]struct{} // by request
	due     map[int64]struct{}             // requests to be looked at
	allDue  bool
	stop    context.CancelFunc // of the work; nil while nobody waits
	works   sync.WaitGroup

	looks   atomic.Int64 // looks at the database so far, a statement or two each
	heard   atomic.Int64 // times the subscription came to stand
	logging rate.Sometimes
}

// forEnd is the place of a waiter that wants no events.
const forEnd = -1

// waiter is one who waits for a request. The hub fills it in and says so by
// ready; take empties it.
type waiter struct {
	id    int64
	ready chan struct{}

	// Guarded by the hub.
	after  int64 // the last event that it was given, or forEnd
	found  []store.Event
	more   bool         // there are more events
	missed bool         // the hub passed it over, because found was full
	end    jobs.Request // for one that wants the end
	gone   bool         // there is no such request
	served bool         // end or gone holds
}

func newHub(cfg Config, hear func(context.Context, func([]int64)), st *store.Store, log *slog.Logger) *hub {
	return &hub{
		hear: hear, ended: st.EndedRequests, events: st.EventsBehind, every: cfg.WaitInterval, within: cfg.AnswerTimeout, log: log,
		closed: make(chan struct{}), wake: make(chan struct{}, 1),
		waiters: map[int64]map[*waiter]struct{}{}, due: map[int64]struct{}{},
		logging: rate.Sometimes{First: 1, Interval: hubLogging},
	}
}

// add lets somebody wait for a request; every add has its remove. The request is
// looked at once afterwards, so what happened before is not missed.
func (h *hub) add(id, after int64) *waiter {
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
		h.works.Go(func() { h.work(ctx, stop) })
	}
	return w
}

func (h *hub) remove(w *waiter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.waiters[w.id], w)
	if len(h.waiters[w.id]) == 0 {
		delete(h.waiters, w.id)
	}
}

// takeEnd returns what a waiter that is ready waited for.
func (h *hub) takeEnd(w *waiter) (r jobs.Request, gone bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return w.end, w.gone
}

// takeEvents returns the next events of a stream, and whether there are more.
func (h *hub) takeEvents(w *waiter) (found []store.Event, more bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	found, more = w.found, w.more
	if w.more || w.missed {
		h.makeDue(w.id)
	}
	w.found, w.more, w.missed = nil, false, false
	return found, more
}

// close ends all waiting: who waits sees closed. It returns when the hub rests.
func (h *hub) close() {
	h.mu.Lock()
	if !h.isClosed() {
		close(h.closed)
	}
	if h.stop != nil {
		h.stop()
	}
	h.mu.Unlock()
	h.works.Wait()
}

func (h *hub) isClosed() bool {
	select {
	case <-h.closed:
		return true
	default:
		return false
	}
}

// changed makes requests due that somebody waits for; without ids, all of them.
func (h *hub) changed(ids []int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ids == nil {
		h.heard.Add(1)
		h.allDue = true
		h.ring()
	}
	for _, id := range ids {
		if h.waiters[id] != nil {
			h.makeDue(id)
		}
	}
}

func (h *hub) makeDue(id int64) {
	h.due[id] = struct{}{}
	h.ring()
}

func (h *hub) ring() {
	select {
	case h.wake <- struct{}{}:
	default: // one ring is enough
	}
}

// work looks whenever something is due. It ends when nobody waits.
func (h *hub) work(ctx context.Context, stop context.CancelFunc) {
	defer stop()
	go h.hear(ctx, h.changed) // may hang on a Redis that does not answer, which holds nobody up
	tick := time.NewTicker(h.every)
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

// rest makes everybody due. When there is nobody it tells so, and the next one
// starts the work anew.
func (h *hub) rest() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.waiters) > 0 {
		h.allDue = true
		return false
	}
	h.stop = nil
	return true
}

// look reads what is due, many waiters a statement.
func (h *hub) look(ctx context.Context) {
	ends, streams := h.takeDue()
	for ids := range slices.Chunk(ends, lookMax) {
		h.lookForEnds(ctx, ids)
	}
	for part := range slices.Chunk(streams, lookMax) {
		h.lookForEvents(ctx, part)
	}
}

// takeDue lists the requests whose end is waited for, and the streams. A stream
// that has not taken its last events is passed over: it holds nobody up.
func (h *hub) takeDue() (ends []int64, streams []*waiter) {
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

func (h *hub) lookForEnds(ctx context.Context, ids []int64) {
	type answer struct {
		ended []jobs.Request
		gone  []int64
	}
	h.looks.Add(1)
	found, err := bounded(ctx, h.within, func(ctx context.Context) (a answer, err error) {
		a.ended, a.gone, err = h.ended(ctx, ids)
		return a, err
	})
	if err != nil {
		h.failed(ctx, err)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range found.ended {
		h.serve(r.ID, func(w *waiter) { w.end = r })
	}
	for _, id := range found.gone {
		h.serve(id, func(w *waiter) { w.gone = true })
	}
}

func (h *hub) serve(id int64, fill func(*waiter)) {
	for w := range h.waiters[id] {
		if w.after == forEnd && !w.served {
			w.served = true
			fill(w)
			w.ready <- struct{}{} // has room for this one
		}
	}
}

func (h *hub) lookForEvents(ctx context.Context, streams []*waiter) {
	h.looks.Add(1)
	cursors := make([]store.EventCursor, len(streams))
	for i, w := range streams {
		cursors[i] = store.EventCursor{Request: w.id, After: w.after} // nobody else writes it
	}
	found, err := bounded(ctx, h.within, func(ctx context.Context) ([][]store.Event, error) {
		return h.events(ctx, cursors, eventsMax+1) // one more tells whether there are more
	})
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
		default: // it was told and has not looked yet
		}
	}
}

// failed logs a look that failed. Nothing is lost: all are looked at again soon.
func (h *hub) failed(ctx context.Context, err error) {
	if ctx.Err() == nil {
		h.logging.Do(func() { h.log.Warn("cannot look at the requests that are waited for", "error", err) })
	}
}
