package leader

import (
	"context"
	"errors"
	"time"

	"github.com/leomutto/pilot-in-a-box/store"
)

// settledTrail knows up to which event the audit trail is settled: no
// transaction can write an event below that one anymore. Ids of events are drawn
// before their transactions end, so a higher id may be visible earlier than a
// lower one.
type settledTrail struct {
	store    *store.Store
	mark     *store.TrailMark // transactions may still write below it; nil: none has been taken
	markedAt time.Time
	settled  int64
}

// advance moves settled to the mark of an earlier round once no transaction can
// write below that mark anymore, and then takes the next mark. It does not delay
// transactions that write to the trail.
func (t *settledTrail) advance(ctx context.Context, now time.Time) error {
	if t.mark != nil {
		ok, err := t.store.TrailVisible(ctx, *t.mark)
		if err != nil && !errors.Is(err, store.ErrConflict) {
			return err
		}
		if !ok && err == nil {
			return nil
		}
		if ok {
			t.settled = t.mark.UpTo
		}
		t.mark = nil
	}
	mark, err := t.store.MarkTrail(ctx)
	if err == nil {
		t.mark, t.markedAt = &mark, now
	}
	return err
}
