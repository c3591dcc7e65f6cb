package chaos

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// History is all that is known about a run: what the clients heard, and what
// the tables hold at the end.
type History struct {
	Sent   []Sent
	Rows   []Row
	Events map[int64][]Event // by request, oldest first
}

// Sent is one submission, as its client saw it.
type Sent struct {
	Nonce string
	Kind  *Kind
	At    time.Time
	Acked time.Time   // zero: no answer, or 503; it may be stored all the same
	ID    int64       // out of the answer
	Moved jobs.Status // the move that a person asked for and was granted (200)
	Asked bool        // a move was asked for, granted or not
}

// Row is a request as it stands in mass_requests.
type Row struct {
	ID            int64        `db:"id"`
	Nonce         string       `db:"nonce"`
	Status        jobs.Status  `db:"status"`
	Attempt       int          `db:"attempt"`
	Failures      int          `db:"failures"`
	Rescues       int          `db:"rescues"`
	Error         string       `db:"error"`
	ResultNonce   string       `db:"result_nonce"`   // whose payload the result was made of
	ResultAttempt int          `db:"result_attempt"` // the attempt that made the result
	Finished      sql.NullTime `db:"finished_at"`
}

// Event is a row of audit_events.
type Event struct {
	ID        int64       `db:"id"`
	RequestID int64       `db:"request_id"`
	At        time.Time   `db:"at"`
	Attempt   int         `db:"attempt"`
	Action    jobs.Action `db:"action"`
	Actor     string      `db:"actor"`
	From      jobs.Status `db:"from_status"`
	To        jobs.Status `db:"to_status"`
}

// readHistory adds the tables to what the clients know.
func (s *system) readHistory(ctx context.Context) (*History, error) {
	h := &History{Sent: s.load.submissions(), Events: map[int64][]Event{}}
	err := s.db.SelectContext(ctx, &h.Rows, `
        SELECT id, coalesce(payload->>'correlation_id', '') AS nonce, status, attempt, failures, rescues, coalesce(error, '') AS error,
               coalesce(result->'normalized'->>'correlation_id', '') AS result_nonce,
               coalesce((result->'chaos'->>'attempt')::int, 0) AS result_attempt, finished_at
        FROM mass_requests ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("read the requests: %w", err)
	}
	var events []Event
	err = s.db.SelectContext(ctx, &events, `
        SELECT id, coalesce(request_id, 0) AS request_id, at, coalesce(attempt, 0) AS attempt, action, actor,
               coalesce(from_status, '') AS from_status, coalesce(to_status, '') AS to_status
        FROM audit_events ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("read the events: %w", err)
	}
	for _, e := range events {
		h.Events[e.RequestID] = append(h.Events[e.RequestID], e)
	}
	return h, nil
}
