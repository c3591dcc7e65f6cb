package chaos

import "time"

// before is how long before a fault a request may have been acknowledged to be
// counted as caught by it. A fault that is over at once catches nobody else.
const before = time.Second

// measureDrains finds for each fault how long after its end the last of the
// requests was final that it caught: those acknowledged while it was in force, or
// just before. Postgres' clock is that of the harness. Requests that wait by
// order, fail by order or are moved by a person do not count.
func measureDrains(list []*Injection, h *History) {
	rows := make(map[string]*Row, len(h.Rows))
	for i := range h.Rows {
		rows[h.Rows[i].Nonce] = &h.Rows[i]
	}
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
	}
}
