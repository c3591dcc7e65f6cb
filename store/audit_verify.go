package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Verification says which part of the trail to verify. The zero value means all
// of it.
type Verification struct {
	From     int64              // the first seal to verify; the seal before it is trusted
	Anchor   []byte             // the hash of a seal that was recorded elsewhere: it must occur in the chain
	Progress func(Seal, Report) // called after each seal; may be nil
}

// Report is what a verification found.
type Report struct {
	Seals  int64
	Events int64
	Last   Seal // the last one verified; its ID is 0 when there is none

	Unsealed int64     // ids drawn after the last seal, nearly all of which are events
	Oldest   time.Time // the time of the first event after the last seal; zero when there is none
}

// BrokenTrail is the first thing that is wrong with the trail.
type BrokenTrail struct {
	Seal  int64 // 0 when no single one is concerned
	Event int64 // 0 when it is the seal itself, or when the event cannot be named
	What  string
}

// Error implements error.
func (b *BrokenTrail) Error() string {
	switch {
	case b.Event != 0:
		return fmt.Sprintf("event %d (seal %d): %s", b.Event, b.Seal, b.What)
	case b.Seal != 0:
		return fmt.Sprintf("seal %d: %s", b.Seal, b.What)
	}
	return b.What
}

// verifyPage is how many seals are read at once; the marks of each are about 50
// KB.
const verifyPage = 16

// VerifyTrail computes the chain of seals again from the events. The error is a
// *BrokenTrail when the trail is not what was sealed; the report then covers
// the seals before that place.
func (s *Store) VerifyTrail(ctx context.Context, v Verification) (Report, error) {
	var report Report
	before, err := s.trusted(ctx, v.From)
	if err != nil {
		return report, err
	}
	anchored := len(v.Anchor) == 0 || before.ID > 0 && bytes.Equal(v.Anchor, before.Hash)
	for {
		var seals []Seal
		err := s.db.SelectContext(ctx, &seals, `SELECT `+sealColumns+` FROM audit_seals WHERE id > $1 ORDER BY id LIMIT $2`, before.ID, verifyPage)
		if err != nil {
			return report, wrap("read seals", err)
		}
		if len(seals) == 0 {
			break
		}
		for i := range seals {
			seal := &seals[i]
			if broken := seal.follows(&before); broken != nil {
				return report, broken
			}
			if err := s.verifyBlock(ctx, seal); err != nil {
				return report, err
			}
			anchored = anchored || bytes.Equal(v.Anchor, seal.Hash)
			before, report.Last = *seal, *seal
			report.Seals, report.Events = report.Seals+1, report.Events+int64(seal.Events)
			if v.Progress != nil {
				v.Progress(*seal, report)
			}
		}
	}
	if v.From > 1 && report.Seals == 0 {
		return report, &BrokenTrail{Seal: v.From, What: "the seal is missing"}
	}
	if !anchored {
		return report, &BrokenTrail{What: "none of the verified seals has the hash of the anchor: the chain was rewritten or cut, or the anchor belongs to another part of it"}
	}
	return report, s.unsealed(ctx, before.LastEvent, &report)
}

// trusted returns the seal that the first seal to be verified must continue.
func (s *Store) trusted(ctx context.Context, from int64) (Seal, error) {
	if from > 1 {
		var first []Seal
		if err := s.db.SelectContext(ctx, &first, `SELECT `+sealColumns+` FROM audit_seals WHERE id = $1`, from); err != nil {
			return Seal{}, wrap(fmt.Sprintf("read seal %d", from), err)
		}
		if len(first) == 0 {
			return Seal{}, &BrokenTrail{Seal: from, What: "the seal is missing"}
		}
		return Seal{ID: from - 1, LastEvent: first[0].FirstEvent - 1, Hash: first[0].Previous}, nil
	}
	var early []int64
	if err := s.db.SelectContext(ctx, &early, `SELECT id FROM audit_events WHERE id < 1 ORDER BY id LIMIT 1`); err != nil {
		return Seal{}, wrap("look for events before the first", err)
	}
	if len(early) > 0 {
		return Seal{}, &BrokenTrail{Event: early[0], Seal: 1, What: "the event was added: no event has an id below 1"}
	}
	return Seal{Hash: genesisHash()}, nil
}

// verifyBlock compares the events of a seal's range with the seal, one by one.
func (s *Store) verifyBlock(ctx context.Context, seal *Seal) error {
	b := newSealBlock(seal.FirstEvent)
	expected := markReader{rest: seal.Marks, id: seal.FirstEvent - 1}
	broken := func(event int64, what string) error { return &BrokenTrail{Seal: seal.ID, Event: event, What: what} }
	const (
		missing = "the event is missing"
		added   = "the event was added after its place was sealed: it was inserted, or committed too late to be sealed"
		changed = "the event was changed"
	)
	more := expected.next()
	err := s.streamEvents(ctx, seal.FirstEvent, seal.LastEvent, func(id int64, row []byte) error {
		switch {
		case !more || id < expected.id:
			return broken(id, added)
		case id > expected.id:
			return broken(expected.id, missing)
		case !bytes.Equal(b.add(id, row), expected.mark):
			return broken(id, changed)
		}
		more = expected.next()
		return nil
	})
	var found *BrokenTrail
	switch {
	case errors.As(err, &found):
		return found
	case err != nil:
		return wrap(fmt.Sprintf("verify seal %d", seal.ID), err)
	case more:
		return broken(expected.id, missing)
	case b.events != seal.Events || !bytes.Equal(b.hash.Sum(nil), seal.Block):
		return broken(0, "an event of the block was changed in such a way that the marks do not show which one")
	}
	return nil
}

// markReader reads the marks that a sealBlock wrote.
type markReader struct {
	rest []byte
	id   int64
	mark []byte
}

// next goes to the next mark. It returns false after the last one, and at bytes
// that are no mark.
func (m *markReader) next() bool {
	step, n := binary.Uvarint(m.rest)
	if n <= 0 || len(m.rest) < n+markLength {
		return false
	}
	m.id += int64(step) //nolint:gosec // the hash of the seal was right: a sealBlock wrote this
	m.mark, m.rest = m.rest[n:n+markLength], m.rest[n+markLength:]
	return true
}

// unsealed adds the events after the last seal to the report.
func (s *Store) unsealed(ctx context.Context, after int64, report *Report) error {
	var rows []struct {
		Newest int64     `db:"newest"`
		Oldest time.Time `db:"oldest"`
	}
	err := s.db.SelectContext(ctx, &rows, `
        SELECT (SELECT max(id) FROM audit_events) AS newest, at AS oldest FROM audit_events WHERE id > $1 ORDER BY id LIMIT 1`, after)
	if err == nil && len(rows) > 0 {
		report.Unsealed, report.Oldest = rows[0].Newest-after, rows[0].Oldest.UTC()
	}
	return wrap("look for unsealed events", err)
}

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
