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

// runningAttempts are the attempts that run in this process, and the claims
// under way that may add more. It is safe for concurrent use.
type runningAttempts struct {
	mu        sync.Mutex
	attempts  map[jobs.Lease]context.CancelCauseFunc
	claims    map[claimID]time.Time // since when each claim has been under way
	lastClaim claimID
}

// claimID identifies a claim under way within this process.
type claimID uint64

func newRunningAttempts() *runningAttempts {
	return &runningAttempts{attempts: map[jobs.Lease]context.CancelCauseFunc{}, claims: map[claimID]time.Time{}}
}

// beginClaim records that a statement that claims requests is about to be sent.
func (r *runningAttempts) beginClaim() claimID {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lastClaim++
	r.claims[r.lastClaim] = time.Now()
	return r.lastClaim
}

// endClaim records that the statement has been answered.
func (r *runningAttempts) endClaim(id claimID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.claims, id)
}

// claimingSince reports whether a claim under way began before t.
func (r *runningAttempts) claimingSince(t time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, since := range r.claims {
		if since.Before(t) {
			return true
		}
	}
	return false
}

func (r *runningAttempts) add(l jobs.Lease, cancel context.CancelCauseFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attempts[l] = cancel
}

func (r *runningAttempts) remove(l jobs.Lease) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.attempts, l)
}

func (r *runningAttempts) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.attempts)
}

func (r *runningAttempts) snapshot() map[jobs.Lease]context.CancelCauseFunc {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.attempts)
}

// cancelRequest stops the attempts at a request that a person cancelled or
// deleted.
func (r *runningAttempts) cancelRequest(id int64) {
	for l, cancel := range r.snapshot() {
		if l.ID == id {
			cancel(errTaken)
		}
	}
}

// beat sends a heartbeat at every interval, and compares the requests that this
// worker holds according to their rows with the attempts that it runs:
//
//   - An attempt whose request the worker no longer holds is stopped.
//   - A request that the worker holds without an attempt is handed back, if two
//     heartbeats in a row found it so and no claim under way could still start its
//     attempt. A claim whose answer was lost leaves such rows.
//   - A worker that was declared dead, for example because it was paused, gets a
//     new id and drops its attempts: their requests were given to other workers.
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

// orphan is a request that the worker holds without an attempt.
type orphan struct {
	since time.Time // when it was first seen
	alone bool      // no claim under way is older than since, so none will start an attempt
}

// compare sends one heartbeat and returns the present orphans.
func (w *Worker) compare(ctx context.Context, before map[jobs.Lease]orphan) (orphans map[jobs.Lease]orphan) {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()

	running := w.running.snapshot() // taken before the rows are read, which therefore include all of it
	held, err := w.store.Beat(ctx, *w.me.Load())
	switch {
	case errors.Is(err, store.ErrNotFound):
		w.log.Warn("this worker was declared dead and registers again", "worker", w.me.Load().ID, "dropped", len(running))
		if err := w.register(ctx); err != nil {
			w.log.Error("the worker could not register again", "error", err)
			return nil
		}
	case err != nil:
		w.log.Warn("heartbeat failed", "worker", w.me.Load().ID, "error", err)
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

	running = w.running.snapshot()
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
		o.alone = !w.running.claimingSince(o.since)
		orphans[l] = o
	}
	if len(back) > 0 {
		w.log.Warn("handing back requests that this worker holds but does not run", "count", len(back))
		w.release(ctx, back, "the claim's answer was lost")
	}
	return orphans
}

// beatTimeout bounds one heartbeat. A worker that cannot send one in time is
// presumed dead.
const beatTimeout = 3 * time.Second
