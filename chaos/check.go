package chaos

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// Harm is the way in which a promise was broken.
type Harm string

// The harms.
const (
	Lost    Harm = "lost"    // acknowledged, but not stored or never finished
	Doubled Harm = "doubled" // an effect happened twice, or an outdated attempt overwrote a newer one
	Untrue  Harm = "untrue"  // a row, an event or an answer states something that did not happen
)

// Violation is one broken promise.
type Violation struct {
	Harm  Harm
	ID    int64  // of the request; 0 when the request is not stored
	Nonce string // "" when no client sent the request
	Text  string
	rule  string    // the format of Text, equal for all violations of a kind
	From  time.Time // start of the request's life; any fault during its life may be the cause
	Until time.Time // end of its life; zero if the request has not ended
}

func (v Violation) String() string {
	if v.ID == 0 && v.Nonce == "" {
		return fmt.Sprintf("%s: %s", v.Harm, v.Text)
	}
	return fmt.Sprintf("%s: request %d (%s): %s", v.Harm, v.ID, v.Nonce, v.Text)
}

// Check returns every broken promise in the history of a finished run.
func Check(h *History) []Violation {
	c := &checker{}
	rows := map[string][]*Row{}
	for i := range h.Rows {
		rows[h.Rows[i].Nonce] = append(rows[h.Rows[i].Nonce], &h.Rows[i])
	}
	for i := range h.Sent {
		s := &h.Sent[i]
		found := rows[s.Nonce]
		delete(rows, s.Nonce)
		c.submission(s, found)
		for _, r := range found {
			t := c.request(s, r, h)
			c.callbacks(s, t, h.Deliveries[r.ID], h.Receipts)
		}
		if len(found) == 0 && s.Asked && s.Kind.Delete {
			c.deleted(s, h)
		}
	}
	for nonce, strangers := range rows {
		for _, r := range strangers {
			c.about(&Sent{Nonce: nonce}, r)
			c.add(Untrue, "no client submitted it")
		}
	}
	c.strangers(h)
	c.bulks(h)
	slices.SortStableFunc(c.found, func(a, b Violation) int { return cmp.Compare(a.ID, b.ID) })
	return c.found
}

// checker collects violations, most of them about the request it currently
// checks.
type checker struct {
	found []Violation
	now   Violation // template of the next violation
}

func (c *checker) about(s *Sent, r *Row) {
	c.now = Violation{Nonce: s.Nonce, From: s.At, ID: s.ID}
	if r != nil {
		c.now.ID, c.now.Until = r.ID, r.Finished.Time
	}
}

func (c *checker) add(h Harm, format string, args ...any) {
	v := c.now
	v.Harm, v.rule, v.Text = h, format, fmt.Sprintf(format, args...)
	c.found = append(c.found, v)
}

// submission checks that an acknowledged request is stored exactly once, under
// the id that the client got.
func (c *checker) submission(s *Sent, found []*Row) {
	c.about(s, nil)
	acked := !s.Acked.IsZero()
	for i, t := range s.Told {
		if t.ID != s.ID {
			c.add(Doubled, "its key first returned request %d, and then request %d", s.ID, t.ID)
		} else if i > 0 && !t.Replayed {
			c.add(Doubled, "answer %d to its key says that the request was stored again", i+1)
		}
	}
	switch {
	case len(found) > 0 && s.Gone:
		c.add(Untrue, "still stored, although its deletion was acknowledged")
	case len(found) == 0 && acked && s.Asked && s.Kind.Delete: // see deleted
	case len(found) == 0 && acked:
		c.add(Lost, "acknowledged but not stored")
	case len(found) > 1:
		c.add(Doubled, "sent once and stored %d times", len(found))
	case len(found) == 1 && acked && found[0].ID != s.ID:
		c.add(Untrue, "acknowledged as %d and stored as %d", s.ID, found[0].ID)
	}
}

// request compares a row with its audit trail and with the intended life of the
// request.
func (c *checker) request(s *Sent, r *Row, h *History) trail {
	c.about(s, r)
	t := c.trail(s, h.Events[r.ID])
	if !r.Status.Final() {
		c.add(Lost, "still %s after the time by which every request must have ended", r.Status)
		return t
	}
	if t.state != r.Status {
		c.add(Untrue, "the row is %s, its trail ends %s", r.Status, t.state)
	}
	if t.claims != r.Attempt {
		c.add(Untrue, "the row counts %d attempts, its trail %d claims", r.Attempt, t.claims)
	}
	if t.failures != r.Failures {
		c.add(Untrue, "the row counts %d failures, its trail %d", r.Failures, t.failures)
	}
	if t.rescues != r.Rescues {
		c.add(Untrue, "the row counts %d rescues, its trail %d", r.Rescues, t.rescues)
	}
	c.outcome(s, r)
	c.moves(s, r, t)
	return t
}

// outcome checks that the request ended as its kind must, with its own result
// or error.
func (c *checker) outcome(s *Sent, r *Row) {
	switch r.Status {
	case jobs.StatusDone:
		if r.ResultNonce != r.Nonce {
			c.add(Untrue, "its result was made of the payload of %q", r.ResultNonce)
		}
		if r.ResultAttempt != r.Attempt {
			c.add(Doubled, "the result of attempt %d stands in a row whose last claim is attempt %d", r.ResultAttempt, r.Attempt)
		}
		if r.Error != "" {
			c.add(Untrue, "done, and yet with the error %q", r.Error)
		}
		// The time of a later attempt may belong to an attempt that came back
		// from a dead worker.
		if s.Kind.Expires && r.Attempt == 1 && !r.Started.Time.Before(s.ExpiresAt) {
			c.add(Untrue, "begun at %v, although it expired at %v", r.Started.Time, s.ExpiresAt)
		}
	case jobs.StatusFailed:
		if s.Kind.Ends == jobs.StatusFailed && (!strings.Contains(r.Error, s.Kind.Error) || r.Failures != s.Kind.Failures) {
			c.add(Untrue, "failed after %d failures with the error %q, want %d and %q", r.Failures, r.Error, s.Kind.Failures, s.Kind.Error)
		}
	}
	expired := s.Kind.Expires && r.Status == jobs.StatusFailed && strings.HasPrefix(r.Error, "expired")
	if r.Status != jobs.StatusCancelled && r.Status != s.Kind.Ends && !expired {
		c.add(Untrue, "%s (error %q), although a %s request must end %s", r.Status, r.Error, s.Kind.Name, s.Kind.Ends)
	}
	if r.Failures > s.Kind.Failures {
		c.add(Untrue, "%d failed tries, although only %d were made to fail", r.Failures, s.Kind.Failures)
	}
}

// moves checks that every acknowledged move of a person happened, and that no
// request moved unless a person asked for it.
func (c *checker) moves(s *Sent, r *Row, t trail) {
	switch {
	case s.Moved == jobs.StatusCancelled && r.Status != jobs.StatusCancelled:
		c.add(Untrue, "%s, although its cancellation was acknowledged", r.Status)
	case s.Moved == jobs.StatusPending && t.replays == 0:
		c.add(Lost, "its replay was acknowledged and is not in the trail")
	}
	if asked := s.Asked && s.Kind.Move == jobs.StatusCancelled; r.Status == jobs.StatusCancelled && !asked {
		c.add(Untrue, "cancelled, although no client asked for it")
	}
	if asked := s.Asked && s.Kind.Move == jobs.StatusPending; t.replays > 0 && !asked {
		c.add(Doubled, "replayed, although no client asked for it")
	}
}

// deleted checks that the trail of a request that is no longer stored records
// its deletion.
func (c *checker) deleted(s *Sent, h *History) {
	t := c.trail(s, h.Events[s.ID])
	if !t.gone {
		c.add(Lost, "acknowledged but not stored, and no event records a deletion")
	}
}

// callbacks checks that each end of the request was reported by one truthful
// callback.
func (c *checker) callbacks(s *Sent, t trail, list []Delivery, receipts map[string]Receipt) {
	ends := t.ends
	if !s.Callback {
		ends = nil
	}
	if len(list) < len(ends) {
		c.add(Lost, "it ended %d times and has %d callbacks", len(ends), len(list))
	}
	if len(list) > len(ends) {
		c.add(Doubled, "it ended %d times and has %d callbacks", len(ends), len(list))
	}
	delivered := 0
	for i, d := range list[:min(len(list), len(ends))] {
		got, taken := receipts[d.Message]
		want := Receipt{RequestID: d.RequestID, Event: "mass_request." + string(ends[i]), Status: ends[i]}
		if d.Status == jobs.DeliveryDelivered {
			delivered++
		}
		switch {
		case d.Status != jobs.DeliveryDelivered:
			c.add(Lost, "its callback %s is still %s", d.Message, d.Status)
		case !taken:
			c.add(Lost, "its callback %s is marked delivered, but the receiver never accepted it", d.Message)
		case got != want:
			c.add(Untrue, "its callback said %+v, but the truth is %+v", got, want)
		}
	}
	if t.delivered != delivered {
		c.add(Untrue, "%d of its callbacks are delivered, but its trail says %d", delivered, t.delivered)
	}
}

// strangers checks that the receiver got no callback without a delivery. The
// deliveries of a deleted request are deleted with it, so those do not count.
func (c *checker) strangers(h *History) {
	ours := map[string]bool{}
	for _, list := range h.Deliveries {
		for _, d := range list {
			ours[d.Message] = true
		}
	}
	stored := map[int64]bool{}
	for i := range h.Rows {
		stored[h.Rows[i].ID] = true
	}
	for message, got := range h.Receipts {
		if !ours[message] && stored[got.RequestID] {
			c.now = Violation{ID: got.RequestID}
			c.add(Untrue, "the receiver accepted callback %s, which is not one of its deliveries", message)
		}
	}
}

// bulks checks that bulk replays moved exactly the requests that they were
// acknowledged to have moved.
func (c *checker) bulks(h *History) {
	changed, moved, certain := 0, 0, true
	for _, b := range h.Bulks {
		changed += b.Changed
		certain = certain && b.Answered
	}
	for id, events := range h.Events {
		for _, e := range events {
			if !e.Bulk {
				continue
			}
			moved++
			asked := slices.ContainsFunc(h.Bulks, func(b Bulk) bool { return !e.At.Before(b.At) && !e.At.After(b.Until) })
			if !asked || e.Action != jobs.Replay || e.From != jobs.StatusFailed {
				c.now = Violation{ID: id, From: e.At, Until: e.At}
				c.add(Doubled, "%s from %s by a bulk change that no client asked for", e.Action, e.From)
			}
		}
	}
	c.now = Violation{}
	switch {
	case moved < changed:
		c.add(Lost, "bulk changes were acknowledged to have moved %d requests, but moved %d", changed, moved)
	case moved > changed && certain:
		c.add(Doubled, "bulk changes were acknowledged to have moved %d requests, but moved %d", changed, moved)
	}
}

// trail is the state that follows from the events of a request.
type trail struct {
	state             jobs.Status
	gone              bool // the request was deleted
	delivered         int  // callbacks
	ends              []jobs.Status
	claims, replays   int // replays exclude those by bulk changes
	failures, rescues int // since the latest replay
	finishes          int // since the latest replay
}

// trail follows the events through the table of transitions.
func (c *checker) trail(s *Sent, events []Event) trail {
	var t trail
	for i, e := range events {
		if t.gone {
			c.add(Doubled, "event %d: %s after its deletion", e.ID, e.Action)
		}
		if e.Action == jobs.Recommend || e.Action == jobs.Opine {
			continue // these change no status
		}
		if e.Action == jobs.CallbackDelivered || e.Action == jobs.CallbackDead { // these change no status
			if e.Action == jobs.CallbackDelivered {
				t.delivered++
			}
			continue
		}
		if e.Action == jobs.Claim && e.At.Before(s.RunAt) {
			c.add(Untrue, "begun at %v, although its run_at is %v", e.At, s.RunAt)
		}
		if e.Action == jobs.Expire && e.At.Before(s.ExpiresAt) {
			c.add(Untrue, "expired at %v, although its expires_at is %v", e.At, s.ExpiresAt)
		}
		if e.Action == jobs.Finish {
			if t.finishes++; t.finishes == 2 {
				c.add(Doubled, "finished twice, the second time by %s as attempt %d", e.Actor, e.Attempt)
			}
		}
		if err := legal(i, t, e); err != nil {
			c.add(Untrue, "event %d: %v", e.ID, err)
		}
		t.apply(e)
	}
	if len(events) == 0 {
		c.add(Untrue, "no events are stored for it")
	}
	return t
}

// legal returns an error unless e may be the i-th event, after the events in t.
func legal(i int, t trail, e Event) error {
	if i == 0 {
		if e.Action != jobs.Submit || e.To != jobs.StatusPending {
			return fmt.Errorf("the trail begins with %s to %s", e.Action, e.To)
		}
		return nil
	}
	known := slices.ContainsFunc(jobs.Transitions(), func(tr jobs.Transition) bool {
		return tr.Action == e.Action && tr.To == e.To && slices.Contains(tr.From, e.From)
	})
	attempt := t.claims
	if e.Action == jobs.Claim {
		attempt++
	}
	switch {
	case !known:
		return fmt.Errorf("the table of transitions has no %s from %q to %q", e.Action, e.From, e.To)
	case e.From != t.state:
		return fmt.Errorf("%s from %s to %s, although the request was %s", e.Action, e.From, e.To, t.state)
	case e.Attempt != attempt:
		return fmt.Errorf("%s of attempt %d after %d claims", e.Action, e.Attempt, t.claims)
	}
	return nil
}

// apply counts e.
func (t *trail) apply(e Event) {
	t.state = e.To
	if e.To.Final() {
		t.ends = append(t.ends, e.To)
	}
	byWorker := strings.HasPrefix(e.Actor, "worker:")
	switch e.Action {
	case jobs.Claim:
		t.claims++
	case jobs.Retry:
		t.failures++
	case jobs.Fail:
		if byWorker {
			t.failures++
		} else {
			t.rescues++ // failed because it was rescued too often
		}
	case jobs.Rescue:
		t.rescues++
	case jobs.Delete:
		t.gone = true
	case jobs.Replay:
		if !e.Bulk {
			t.replays++
		}
		t.failures, t.rescues, t.finishes = 0, 0, 0
	}
}
