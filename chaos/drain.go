package chaos

import "time"

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
