package store

import (
	"bytes"
	"context"
	"fmt"
	"time"
)

// SealOverdue is how long events may wait for a seal before that counts as a
// fault. The leader seals every few seconds, and lags behind by seconds under
// load.
const SealOverdue = 5 * time.Minute

// SealStatus says how far the trail is sealed.
type SealStatus struct {
	Last     Seal      // the newest seal, without its marks; its ID is 0 when there is none
	Drawn    int64     // the newest event id that was given out
	Now      time.Time // of Postgres
	Waiting  time.Time // the time of the first event that is not sealed; zero when there is none
	broken   string    // what is wrong with the newest seal
	noSchema bool      // the database has no trail yet
}

// Problem says in words why the trail is not being sealed; "" when it is.
func (s *SealStatus) Problem() string {
	switch {
	case s.noSchema:
		return ""
	case s.broken != "":
		return s.broken
	case s.Waiting.IsZero() || s.Now.Sub(s.Waiting) < SealOverdue:
		return ""
	case s.Last.ID == 0:
		return fmt.Sprintf("the audit trail has no seal, although events have waited for one since %s", s.Waiting.Format(time.RFC3339))
	case s.Now.Sub(s.Last.SealedAt) < SealOverdue: // the sealer lags behind a backlog, and goes on
		return ""
	}
	return fmt.Sprintf("the audit trail was last sealed at %s, and events have waited for a seal since %s",
		s.Last.SealedAt.UTC().Format(time.RFC3339), s.Waiting.Format(time.RFC3339))
}

// SealStatus looks at the newest seals and at the first event after them. It is
// cheap, and does not verify the chain as VerifyTrail does.
func (s *Store) SealStatus(ctx context.Context) (SealStatus, error) {
	const act = "look at the seals"
	var status SealStatus
	var exists bool
	if err := s.db.GetContext(ctx, &exists, `SELECT to_regclass('audit_seals') IS NOT NULL`); err != nil || !exists {
		return SealStatus{noSchema: true}, wrap(act, err)
	}
	var newest []Seal
	err := s.db.SelectContext(ctx, &newest, `
        SELECT id, first_event, last_event, sealed_at, events, version, block_hash, previous_hash, seal_hash
        FROM audit_seals ORDER BY id DESC LIMIT 2`)
	if err != nil {
		return status, wrap(act, err)
	}
	before := Seal{Hash: genesisHash()}
	if len(newest) > 0 {
		status.Last = newest[0]
	}
	if len(newest) > 1 {
		before = newest[1]
	}
	// The sequence is read after the seals, so that it is not behind them.
	err = s.db.QueryRowContext(ctx, `
        SELECT (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM audit_events_id_seq), clock_timestamp()`).
		Scan(&status.Drawn, &status.Now)
	if err != nil {
		return status, wrap(act, err)
	}
	status.broken = brokenEnd(&status.Last, &before, status.Drawn)
	var waiting []time.Time
	err = s.db.SelectContext(ctx, &waiting, `SELECT at FROM audit_events WHERE id > $1 ORDER BY id LIMIT 1`, status.Last.LastEvent)
	if err == nil && len(waiting) > 0 {
		status.Waiting = waiting[0].UTC()
	}
	return status, wrap(act, err)
}

// brokenEnd says what is wrong with the newest seal, so that no other can follow
// it; "" when nothing is.
func brokenEnd(last, before *Seal, drawn int64) string {
	switch {
	case last.ID == 0:
		return ""
	case last.LastEvent > drawn:
		return fmt.Sprintf("seal %d ends at event %d, but the newest event is %d: no event can be sealed after it", last.ID, last.LastEvent, drawn)
	case last.ID != before.ID+1 || last.FirstEvent != before.LastEvent+1 || !bytes.Equal(last.Previous, before.Hash):
		return fmt.Sprintf("seal %d does not continue seal %d", last.ID, before.ID)
	}
	return ""
}
