package worker

import (
	"context"
	"encoding/hex"
	"errors"
	"time"

	"github.com/leomutto/pilot-in-a-box/store"
)

const (
	sealBlock    = 10_000           // events a seal, at most
	sealEach     = 10               // looks between two seals when less than a block waits
	sealShare    = 8                // one part in so many of an interval goes into sealing, at most
	sealNote     = time.Minute      // between two hashes in the log
	sealOverdue  = time.Minute      // a transaction that keeps the sealer waiting so long is worth a warning
	sealWarnings = 10 * time.Minute // between two of those
)

// sealing is where the sealer of the trail stands.
type sealing struct {
	mark    *store.TrailMark // waits to be settled; nil: none was taken yet
	marked  time.Time
	settled int64 // every event up to here can be sealed
	sealed  int64 // the last event sealed, 0 before the first seal of this leader
	looks   int   // since the last seal
	noted   time.Time
	warned  time.Time
}

// seal extends the chain of seals over the trail, up to where every transaction
// has ended. Writers do not notice.
func (r *reconciler) seal(ctx context.Context, now time.Time) error {
	state := &r.sealed
	if err := r.settle(ctx, now); err != nil {
		return err
	}
	state.looks++
	for begun := time.Now(); ; {
		waiting := state.settled - state.sealed
		if waiting <= 0 || waiting < sealBlock && state.looks < sealEach {
			return nil
		}
		done, err := r.store.SealEvents(ctx, state.settled, sealBlock)
		switch {
		case errors.Is(err, store.ErrNotFound): // ids that were never used
			state.sealed, state.looks = state.settled, 0
			return nil
		case errors.Is(err, store.ErrConflict): // an earlier leader is not quite gone
			state.sealed = 0
			return nil
		case err != nil:
			return err
		}
		state.sealed = done.LastEvent
		if state.settled-state.sealed < sealBlock {
			state.looks = 0
		}
		if now.Sub(state.noted) >= sealNote {
			// In the logs the hash is out of reach of who can write to the database.
			r.log.Info("audit trail sealed", "seal", done.ID, "last_event", done.LastEvent, "hash", hex.EncodeToString(done.Hash))
			state.noted = now
		}
		if time.Since(begun) >= r.config.Interval/sealShare {
			return nil
		}
	}
}

// settle moves the settled place on to the mark of an earlier look when nobody
// writes below it anymore, and takes the next mark.
func (r *reconciler) settle(ctx context.Context, now time.Time) error {
	state := &r.sealed
	if state.mark != nil {
		ok, err := r.store.TrailVisible(ctx, *state.mark)
		if err != nil && !errors.Is(err, store.ErrConflict) {
			return err
		}
		if !ok && err == nil {
			if now.Sub(state.marked) >= sealOverdue && now.Sub(state.warned) >= sealWarnings {
				r.log.Warn("a transaction that is open keeps the audit trail from being sealed", "since", now.Sub(state.marked))
				state.warned = now
			}
			return nil
		}
		if ok {
			state.settled = state.mark.UpTo
		}
		state.mark = nil
	}
	mark, err := r.store.MarkTrail(ctx)
	if err == nil {
		state.mark, state.marked = &mark, now
	}
	return err
}
