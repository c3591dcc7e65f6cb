package leader

import (
	"context"
	"encoding/hex"
	"errors"
	"time"

	"github.com/leomutto/pilot-in-a-box/store"
)

const (
	sealBlock       = 10_000           // most events in one seal
	sealRounds      = 10               // rounds between two seals while less than a block is waiting
	sealShare       = 8                // sealing may use 1/sealShare of an interval
	sealLogInterval = time.Minute      // between two hashes in the log
	sealOverdue     = time.Minute      // a transaction that delays sealing for this long is worth a warning
	sealWarnings    = 10 * time.Minute // between two of those warnings
)

// sealDuty extends the chain of seals over the audit trail, up to the event
// below which every transaction has ended. It does not delay transactions that
// write to the trail.
type sealDuty struct {
	dutyBase
	mark     *store.TrailMark // transactions may still write below it; nil: none has been taken
	markedAt time.Time
	settled  int64 // no transaction can write below this id anymore, so every event up to it can be sealed
	sealed   int64 // the last sealed event; 0 before the first seal of this leadership
	rounds   int   // since the last seal
	loggedAt time.Time
	warnedAt time.Time
}

func newSealDuty(b dutyBase) Duty { return &sealDuty{dutyBase: b} }

// Perform seals block by block until its share of the interval is used up.
func (d *sealDuty) Perform(ctx context.Context, now time.Time) error {
	if err := d.advanceSettled(ctx, now); err != nil {
		return err
	}
	d.rounds++
	for begun := time.Now(); ; {
		waiting := d.settled - d.sealed
		if waiting <= 0 || waiting < sealBlock && d.rounds < sealRounds {
			return nil
		}
		done, err := d.store.SealEvents(ctx, d.settled, sealBlock)
		switch {
		case errors.Is(err, store.ErrNotFound): // these ids were never used
			d.sealed, d.rounds = d.settled, 0
			return nil
		case errors.Is(err, store.ErrConflict): // an earlier leader is still sealing
			d.sealed = 0
			return nil
		case err != nil:
			return err
		}
		d.sealed = done.LastEvent
		if d.settled-d.sealed < sealBlock {
			d.rounds = 0
		}
		if now.Sub(d.loggedAt) >= sealLogInterval {
			// A person who can write to the database cannot change this hash.
			d.log.Info("audit trail sealed", "seal", done.ID, "last_event", done.LastEvent, "hash", hex.EncodeToString(done.Hash))
			d.loggedAt = now
		}
		if time.Since(begun) >= d.config.Interval/sealShare {
			return nil
		}
	}
}

// advanceSettled moves settled to the mark of an earlier round once no
// transaction can write below that mark anymore, and then takes the next mark.
func (d *sealDuty) advanceSettled(ctx context.Context, now time.Time) error {
	if d.mark != nil {
		ok, err := d.store.TrailVisible(ctx, *d.mark)
		if err != nil && !errors.Is(err, store.ErrConflict) {
			return err
		}
		if !ok && err == nil {
			d.warnIfOverdue(now)
			return nil
		}
		if ok {
			d.settled = d.mark.UpTo
		}
		d.mark = nil
	}
	mark, err := d.store.MarkTrail(ctx)
	if err == nil {
		d.mark, d.markedAt = &mark, now
	}
	return err
}

func (d *sealDuty) warnIfOverdue(now time.Time) {
	if now.Sub(d.markedAt) < sealOverdue || now.Sub(d.warnedAt) < sealWarnings {
		return
	}
	d.log.Warn("an open transaction keeps the audit trail from being sealed", "waiting_for", now.Sub(d.markedAt))
	d.warnedAt = now
}
