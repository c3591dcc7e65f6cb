package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/leomutto/pilot-in-a-box/store"
)

const (
	retainStep     = 1000                   // rows looked at in one statement, at most
	retainStepMin  = 10                     // and when Postgres is slow
	retainSlow     = 200 * time.Millisecond // a statement that takes longer makes the next one smaller
	retainShare    = 10                     // one part in so many of the time goes into retention
	retainPauseMax = time.Minute            // from the end of the table to the next walk
	retainTimeout  = 2 * time.Second        // of one statement: the other duties wait for it
)

// retention is where the walk over old requests stands.
type retention struct {
	next  store.Position // behind the last row looked at
	pause time.Time      // no look before this time; zero: none
	step  int            // rows of the next statement; 0: retainStep
	total int            // removed in this walk
}

// retain removes requests that have been final for longer than the retention,
// oldest first: step by step until a small share of the interval is used up, and
// on from there with the next look. Behind the last old row it pauses.
func (r *reconciler) retain(ctx context.Context, now time.Time) error {
	age, state := r.config.Retention, &r.retained
	if age <= 0 || now.Before(state.pause) {
		return nil
	}
	for begun := time.Now(); time.Since(begun) < r.config.Interval/retainShare; {
		if state.step == 0 {
			state.step = retainStep
		}
		did, took, err := r.retainOnce(ctx, age)
		switch {
		case took > retainSlow:
			state.step = max(state.step/2, retainStepMin)
		case err == nil:
			state.step = min(2*state.step, retainStep)
		}
		if err != nil {
			return err
		}
		state.total += did.Removed
		if state.next = did.Next; state.next.ID == 0 {
			if state.total > 0 {
				r.log.Info("old requests removed", "count", state.total, "retention", age)
			}
			state.total, state.pause = 0, now.Add(min(age/retainShare, retainPauseMax))
			return nil
		}
	}
	return nil
}

func (r *reconciler) retainOnce(ctx context.Context, age time.Duration) (did store.Retained, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, retainTimeout)
	defer cancel()
	begun := time.Now()
	did, err = r.store.RetainRequests(ctx, age, r.retained.next, r.retained.step)
	took = time.Since(begun)
	if err != nil {
		return did, took, fmt.Errorf("retention, %d rows at once: %w", r.retained.step, err)
	}
	r.log.Debug("retention looked", "rows", r.retained.step, "removed", did.Removed, "took", took)
	return did, took, nil
}
