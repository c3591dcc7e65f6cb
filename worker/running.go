package worker

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// holdings are the claims whose tries run in this process, and the statements
// that may bring more of them.
type holdings struct {
	mu     sync.Mutex
	m      map[jobs.Lease]context.CancelCauseFunc
	claims map[*time.Time]struct{} // since when each statement that claims is under way
}

func newHoldings() *holdings {
	return &holdings{m: map[jobs.Lease]context.CancelCauseFunc{}, claims: map[*time.Time]struct{}{}}
}

// claiming says that a statement is on its way that claims; the returned function
// says that it was answered.
func (h *holdings) claiming() (answered func()) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.claims[&now] = struct{}{}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.claims, &now)
	}
}

// unanswered tells whether a statement that claims is under way since before t.
func (h *holdings) unanswered(t time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for since := range h.claims {
		if since.Before(t) {
			return true
		}
	}
	return false
}

func (h *holdings) add(l jobs.Lease, cancel context.CancelCauseFunc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.m[l] = cancel
}

func (h *holdings) remove(l jobs.Lease) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.m, l)
}

func (h *holdings) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.m)
}

func (h *holdings) snapshot() map[jobs.Lease]context.CancelCauseFunc {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.m)
}

// cancelRequest stops the tries of a request that was taken away by a person.
func (h *holdings) cancelRequest(id int64) {
	for l, cancel := range h.snapshot() {
		if l.ID == id {
			cancel(errTaken)
		}
	}
}

// beat gives a sign of life at every interval, and compares what this worker
// holds according to the rows with what it is really doing:
//
//   - A try whose row is not ours anymore is told to stop.
//   - A row that is ours and that nobody here works on, seen so by two beats in
//     turn after no claim could still bring it, is handed back. A claim whose
//     answer got lost leaves such rows.
//   - A worker that was declared dead, because it was paused for instance, gets
//     a new id and drops what it did: it was given to others.
func (w *Worker) beat(ctx context.Context) {
	tick := time.NewTicker(w.config.Heartbeat)
	defer tick.Stop()
	orphans := map[jobs.Lease]orphan{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		orphans = w.compare(ctx, orphans)
	}
}

// orphan is a row that is ours and that nobody here works on.
type orphan struct {
	since time.Time // when it was seen first
	alone bool      // no claim under way is older than that, so none will bring it
}

// compare does one beat; it returns the rows that nobody here works on.
func (w *Worker) compare(ctx context.Context, before map[jobs.Lease]orphan) (orphans map[jobs.Lease]orphan) {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()

	running := w.holdings.snapshot() // before the rows: what is claimed later cannot be missed in them
	held, err := w.store.Beat(ctx, w.id.Load())
	switch {
	case errors.Is(err, store.ErrNotFound):
		w.log.Warn("this worker was declared dead; it starts anew", "worker", w.id.Load(), "dropped", len(running))
		if err := w.register(ctx); err != nil {
			w.log.Error("cannot register again", "error", err)
			return nil
		}
	case err != nil:
		w.log.Warn("no sign of life could be given", "error", err)
		return before
	}

	ours := make(map[jobs.Lease]bool, len(held))
	for _, l := range held {
		ours[l] = true
	}
	for l, stop := range running {
		if !ours[l] {
			stop(errTaken)
		}
	}

	running = w.holdings.snapshot()
	orphans = map[jobs.Lease]orphan{}
	var back []jobs.Lease
	for l := range ours {
		if _, busy := running[l]; busy {
			continue
		}
		o, seen := before[l]
		if seen && o.alone {
			back = append(back, l)
			continue
		}
		if !seen {
			o.since = time.Now()
		}
		o.alone = !w.holdings.unanswered(o.since)
		orphans[l] = o
	}
	if len(back) > 0 {
		w.log.Warn("handing back requests that nobody works on", "count", len(back))
		w.release(ctx, back, "the claim's answer was lost")
	}
	return orphans
}

// beatTimeout bounds one beat; a worker that cannot beat in time is taken for dead.
const beatTimeout = 3 * time.Second
