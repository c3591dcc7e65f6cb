package chaos

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// History is everything known about a run: what the clients and the callback
// receiver got, and what the tables hold at the end.
type History struct {
	Sent       []Sent
	Bulks      []Bulk
	Receipts   map[string]Receipt // callbacks that the receiver accepted, by message id
	Rows       []Row
	Events     map[int64][]Event    // by request, oldest first
	Deliveries map[int64][]Delivery // by request, oldest first
	Shared     int                  // number of tasks with submissions of several statements
}

// Sent is one submission, as its client saw it.
type Sent struct {
	Nonce     string
	Kind      *Kind
	Key       string // idempotency key; "" for none
	RunAt     time.Time
	ExpiresAt time.Time
	Callback  bool

	At    time.Time
	Acked time.Time   // zero: no answer, or 503; the request may still be stored
	ID    int64       // from the first answer
	Told  []Told      // all answers that say it is stored; more than one only with a key
	Moved jobs.Status // the move that a client asked for and that was carried out (200)
	Asked bool        // a client asked for a move or the deletion, successfully or not
	Gone  bool        // the deletion succeeded (204)

	body []byte // body when sent alone
	item []byte // item when sent in a batch, with its key
}

// Told is one answer that confirms that a submission is stored.
type Told struct {
	ID       int64
	Replayed bool // the answer says that it was already stored
}

// Bulk is one replay of many failed requests, as its client saw it.
type Bulk struct {
	At       time.Time
	Until    time.Time // no move of the replay is later
	Answered bool
	Changed  int // according to the answer
}

// Receipt is a callback that the receiver accepted.
type Receipt struct {
	RequestID int64
	Event     string
	Status    jobs.Status
}

// Row is a row of mass_requests.
type Row struct {
	ID            int64        `db:"id"`
	Nonce         string       `db:"nonce"`
	Status        jobs.Status  `db:"status"`
	Attempt       int          `db:"attempt"`
	Failures      int          `db:"failures"`
	Rescues       int          `db:"rescues"`
	Error         string       `db:"error"`
	ResultNonce   string       `db:"result_nonce"`   // the nonce of the payload that the result was computed from
	ResultAttempt int          `db:"result_attempt"` // the attempt that computed the result
	Started       sql.NullTime `db:"started_at"`
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
	Bulk      bool        `db:"bulk"` // part of a bulk change
}

// Delivery is a row of webhook_deliveries.
type Delivery struct {
	RequestID int64               `db:"request_id"`
	Message   string              `db:"message"` // the header webhook-id
	Event     string              `db:"event"`
	Status    jobs.DeliveryStatus `db:"status"`
}

// readHistory combines the tables with what the clients know.
func (s *system) readHistory(ctx context.Context) (*History, error) {
	h := &History{
		Sent: s.load.submissions(), Bulks: s.load.bulks(), Receipts: s.receiver.receipts(),
		Events: map[int64][]Event{}, Deliveries: map[int64][]Delivery{},
	}
	err := s.db.SelectContext(ctx, &h.Rows, `
        SELECT id, coalesce(payload->>'correlation_id', '') AS nonce, status, attempt, failures, rescues, coalesce(error, '') AS error,
               coalesce(mass_result(r)->'normalized'->>'correlation_id', '') AS result_nonce,
               coalesce((result->'chaos'->>'attempt')::int, 0) AS result_attempt, started_at, finished_at
        FROM mass_requests r ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("read the requests: %w", err)
	}
	var events []Event
	err = s.db.SelectContext(ctx, &events, `
        SELECT id, request_id, at, coalesce(attempt, 0) AS attempt, action, actor,
               coalesce(from_status, '') AS from_status, coalesce(to_status, '') AS to_status, coalesce(detail = 'bulk', false) AS bulk
        FROM audit_events WHERE request_id IS NOT NULL ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("read the events: %w", err)
	}
	for _, e := range events {
		h.Events[e.RequestID] = append(h.Events[e.RequestID], e)
	}
	err = s.db.GetContext(ctx, &h.Shared, `
        SELECT count(*) FROM (SELECT FROM audit_events WHERE action = 'submit' GROUP BY batch_id HAVING min(at) < max(at)) shared`)
	if err != nil {
		return nil, fmt.Errorf("count the tasks of several statements: %w", err)
	}
	var deliveries []Delivery
	err = s.db.SelectContext(ctx, &deliveries, `
        SELECT request_id, 'msg_' || message_id AS message, event, status FROM webhook_deliveries ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("read the deliveries: %w", err)
	}
	for _, d := range deliveries {
		h.Deliveries[d.RequestID] = append(h.Deliveries[d.RequestID], d)
	}
	return h, nil
}
