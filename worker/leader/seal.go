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
	sealInspection  = time.Minute      // between two looks at whether sealing goes on
)

// sealDuty extends the chain of seals over the audit trail, up to the event
// below which every transaction has ended. It does not delay transactions that
// write to the trail.
type sealDuty struct {
	dutyBase
	trail    settledTrail
	sealed   int64 // the last sealed event; 0 before the first seal of this leadership
	rounds   int   // since the last seal
	loggedAt time.Time
	warnedAt time.Time

	inspectedAt time.Time // when the duty last looked whether sealing goes on
	alarm       string    // the fault that was last reported; "": none
	alarmedAt   time.Time
}

func newSealDuty(b dutyBase) Duty { return &sealDuty{dutyBase: b, trail: settledTrail{store: b.store}} }

// Perform extends the chain. When sealing has stopped, whatever the cause, the
// log has an error: events that are not sealed can be changed without a trace.
func (d *sealDuty) Perform(ctx context.Context, now time.Time) error {
	err := d.extend(ctx, now)
	var broken *store.BrokenTrail
	if errors.As(err, &broken) {
		d.raise(broken.Error(), now)
		return nil
	}
	if now.Sub(d.inspectedAt) >= sealInspection {
		status, failed := d.store.SealStatus(ctx)
		if failed != nil {
			return errors.Join(err, failed)
		}
		d.inspectedAt = now
		d.raise(status.Problem(), now)
	}
	return err
}

// raise reports that sealing has stopped: at once, and again from time to time
// while it lasts. fault is "" when sealing goes on.
func (d *sealDuty) raise(fault string, now time.Time) {
	switch {
	case fault == "" && d.alarm != "":
		d.log.Info("the audit trail is sealed again")
	case fault != "" && (d.alarm == "" || now.Sub(d.alarmedAt) >= sealWarnings):
		d.log.Error("the audit trail is not being sealed; see \"When sealing stops\" in docs/audit.md", "reason", fault)
		d.alarmedAt = now
	}
	d.alarm = fault
}

// extend seals block by block until its share of the interval is used up.
func (d *sealDuty) extend(ctx context.Context, now time.Time) error {
	if err := d.trail.advance(ctx, now); err != nil {
		return err
	}
	d.warnIfOverdue(now)
	d.rounds++
	for begun := time.Now(); ; {
		waiting := d.trail.settled - d.sealed
		if waiting <= 0 || waiting < sealBlock && d.rounds < sealRounds {
			return nil
		}
		done, err := d.store.SealEvents(ctx, d.trail.settled, sealBlock)
		switch {
		case errors.Is(err, store.ErrNotFound): // these ids were never used
			d.sealed, d.rounds = d.trail.settled, 0
			return nil
		case errors.Is(err, store.ErrConflict): // an earlier leader is still sealing
			d.sealed = 0
			return nil
		case err != nil:
			return err
		}
		d.sealed = done.LastEvent
		if d.trail.settled-d.sealed < sealBlock {
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

func (d *sealDuty) warnIfOverdue(now time.Time) {
	if now.Sub(d.trail.markedAt) < sealOverdue || now.Sub(d.warnedAt) < sealWarnings {
		return
	}
	d.log.Warn("an open transaction keeps the audit trail from being sealed", "waiting_for", now.Sub(d.trail.markedAt))
	d.warnedAt = now
}
