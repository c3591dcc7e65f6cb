package chaos

import (
	"slices"
	"time"
)

// before is how long before a fault a request may have been acknowledged to
// count as caught by the fault. Without it, instantaneous faults would catch no
// requests.
const before = time.Second

// measureDrains computes for each fault how long after its end the last request
// that it caught became final. A fault catches the requests acknowledged while
// it was in force or just before. PostgreSQL and the harness share a clock.
// Requests that are made to wait or fail, or that a client moves, do not count.
func measureDrains(list []*Injection, h *History) {
	rows := make(map[string]*Row, len(h.Rows))
	for i := range h.Rows {
		rows[h.Rows[i].Nonce] = &h.Rows[i]
	}
	acks := ackTimes(h)
	for _, in := range list {
		in.Caught, in.Drain = 0, 0
		for i := range h.Sent {
			s := &h.Sent[i]
			if s.Acked.IsZero() || !s.Kind.plain() || s.Acked.Before(in.At.Add(-before)) || s.Acked.After(in.Healed) {
				continue
			}
			in.Caught++
			row := rows[s.Nonce]
			if row == nil || !row.Finished.Valid {
				in.Drain = -1
				break
			}
			in.Drain = max(in.Drain, row.Finished.Time.Sub(in.Healed))
		}
		in.measureAnswers(acks)
	}
}

// ackTimes returns the times of all answers 201, in order.
func ackTimes(h *History) []time.Time {
	var acks []time.Time
	for i := range h.Sent {
		if at := h.Sent[i].Acked; !at.IsZero() {
			acks = append(acks, at)
		}
	}
	slices.SortFunc(acks, time.Time.Compare)
	return acks
}

// measureAnswers computes how long submissions were not answered 201.
func (in *Injection) measureAnswers(acks []time.Time) {
	in.First, in.Longest = -1, 0
	end := in.Healed.Add(max(in.Drain, 0))
	last := in.At
	for _, at := range acks {
		if !at.After(in.At) {
			continue
		}
		if in.First < 0 && at.After(in.Healed) {
			in.First = at.Sub(in.Healed)
		}
		if !last.After(end) {
			in.Longest = max(in.Longest, at.Sub(last))
		}
		last = at
	}
	if in.First < 0 && in.Healed.After(last) {
		in.Longest = max(in.Longest, in.Healed.Sub(last))
	}
}
