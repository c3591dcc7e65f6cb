package api

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
	"github.com/leomutto/pilot-in-a-box/store"
)

// Submission is the body of a POST. Only its schema is used: decodeSubmission
// reads bodies, and a test checks that the two agree.
type Submission struct {
	Payload  payloadSchema `json:"payload"`
	Priority jobs.Priority `json:"priority,omitempty" default:"default" doc:"How urgent it is" example:"default"`

	RunAt     signals.Time `json:"run_at,omitempty" doc:"Processing does not start before this time; accurate to about a second" example:"2026-03-01T22:00:00Z"`
	ExpiresAt signals.Time `json:"expires_at,omitempty" doc:"If processing has not started by this time, the MassRequest fails without an attempt. Must be after run_at" example:"2026-03-02T06:00:00Z"`

	CallbackURL string `json:"callback_url,omitempty" format:"uri" maxLength:"2048" doc:"https URL that is notified when the MassRequest is done, failed or cancelled, by a message signed as described at standardwebhooks.com. See /mass-requests/{id}/callback" example:"https://example.com/hooks/mass"`
}

// StatusChange is the body of a PATCH. Only its schema is used.
type StatusChange struct {
	Status targetSchema `json:"status" doc:"cancelled stops the MassRequest, pending processes it again" example:"cancelled"`
}

// MassRequest is a request as clients see it.
type MassRequest struct {
	ID            int64           `json:"id" minimum:"1" doc:"Id of the MassRequest" example:"42"`
	Payload       json.RawMessage `json:"payload" doc:"The payload, byte for byte as it was submitted"`
	Status        jobs.Status     `json:"status" doc:"Current status" example:"pending"`
	Priority      jobs.Priority   `json:"priority" doc:"How urgent it is" example:"default"`
	Attempt       int             `json:"attempt" minimum:"0" doc:"How many times a worker has claimed it" example:"0"`
	Failures      int             `json:"failures" minimum:"0" doc:"How many attempts failed" example:"0"`
	Result        json.RawMessage `json:"result" doc:"Result of the processing; null until it is done"`
	Error         *string         `json:"error" doc:"Error message of the latest failed attempt"`
	Faults        json.RawMessage `json:"faults" doc:"What is wrong with the payload, if it failed because of its content; pointers start at the payload"`
	SchemaVersion string          `json:"schema_version" enum:"1.0-simple,1.1" doc:"Shape of the payload" example:"1.1"`
	CorrelationID *string         `json:"correlation_id" doc:"Copied from the payload"`
	SiteID        *string         `json:"site_id" doc:"Copied from the payload"`
	ClusterID     *string         `json:"cluster_id" doc:"Copied from the payload"`
	BatchID       int64           `json:"batch_id" doc:"The batch that carries it; its task in Asynqmon is batch_<id>" example:"7"`
	CreatedBy     *string         `json:"created_by" doc:"The caller that submitted it"`
	CreatedAt     string          `json:"created_at" format:"date-time" doc:"When it was stored" example:"2026-03-01T11:00:02.500000Z"`
	RunAt         string          `json:"run_at" format:"date-time" doc:"Processing does not start before this time" example:"2026-03-01T11:00:02.500000Z"`
	ExpiresAt     *string         `json:"expires_at" format:"date-time" doc:"It fails if processing has not started by this time"`
	StartedAt     *string         `json:"started_at" format:"date-time" doc:"When a worker last claimed it"`
	FinishedAt    *string         `json:"finished_at" format:"date-time" doc:"When it became done, failed or cancelled"`
	UpdatedAt     string          `json:"updated_at" format:"date-time" doc:"When it last changed" example:"2026-03-01T11:00:02.500000Z"`
	CallbackURL   *string         `json:"callback_url" doc:"URL notified when it finishes"`
}

// MassRequestList is one page of a list.
type MassRequestList struct {
	Items []MassRequest `json:"items" nullable:"false" doc:"Newest first"`
	Next  *string       `json:"next" doc:"Path and query of the next page; null on the last one. Only this member tells whether there is a next page" example:"/mass-requests/?cursor=AQAGTEWX1tugAAAAAAAAACo&limit=50"`
}

func viewOf(r *jobs.Request) MassRequest {
	return MassRequest{
		ID: r.ID, Payload: r.Payload, Status: r.Status, Priority: r.Priority, Attempt: r.Attempt, Failures: r.Failures,
		Result: r.Result, Error: orNull(r.Error), Faults: r.Faults,
		SchemaVersion: r.SchemaVersion, CorrelationID: orNull(r.CorrelationID), SiteID: orNull(r.SiteID), ClusterID: orNull(r.ClusterID),
		BatchID: r.BatchID, CreatedBy: orNull(r.CreatedBy),
		CreatedAt: formatTime(r.CreatedAt), RunAt: formatTime(r.RunAt), ExpiresAt: formatTimeOrNull(r.ExpiresAt), StartedAt: formatTimeOrNull(r.StartedAt),
		FinishedAt: formatTimeOrNull(r.FinishedAt), UpdatedAt: formatTime(r.UpdatedAt),
		CallbackURL: orNull(r.CallbackURL),
	}
}

// viewOfInserted returns a request as it is right after its insertion.
func viewOfInserted(n store.NewRequest, row store.Inserted) MassRequest {
	runAt := n.RunAt
	if runAt.IsZero() {
		runAt = row.CreatedAt
	}
	return viewOf(&jobs.Request{
		ID: row.ID, Payload: n.Payload, Status: jobs.StatusPending, Priority: n.Priority,
		SchemaVersion: n.SchemaVersion, CorrelationID: n.CorrelationID, SiteID: n.SiteID, ClusterID: n.ClusterID,
		BatchID: row.BatchID, CreatedBy: n.CreatedBy,
		CreatedAt: row.CreatedAt, RunAt: runAt, ExpiresAt: n.ExpiresAt, UpdatedAt: row.CreatedAt,
		CallbackURL: n.CallbackURL,
	})
}

// AppendJSON implements web.Appender. Listing the members by hand makes it
// faster than payload.AppendStruct, and every submission is answered by
// it; a test compares it with the general encoder.
func (m MassRequest) AppendJSON(dst []byte) ([]byte, error) { return m.append(dst) }

func (m *MassRequest) append(dst []byte) (_ []byte, err error) {
	dst = strconv.AppendInt(append(dst, `{"id":`...), m.ID, 10)
	dst = appendPayload(append(dst, `,"payload":`...), m.Payload)
	dst = payload.AppendString(append(dst, `,"status":`...), m.Status)
	dst = payload.AppendString(append(dst, `,"priority":`...), m.Priority)
	dst = strconv.AppendInt(append(dst, `,"attempt":`...), int64(m.Attempt), 10)
	dst = strconv.AppendInt(append(dst, `,"failures":`...), int64(m.Failures), 10)
	if dst, err = appendRaw(append(dst, `,"result":`...), m.Result); err != nil {
		return nil, err
	}
	dst = appendNullableString(append(dst, `,"error":`...), m.Error)
	if dst, err = appendRaw(append(dst, `,"faults":`...), m.Faults); err != nil {
		return nil, err
	}
	dst = payload.AppendString(append(dst, `,"schema_version":`...), m.SchemaVersion)
	dst = appendNullableString(append(dst, `,"correlation_id":`...), m.CorrelationID)
	dst = appendNullableString(append(dst, `,"site_id":`...), m.SiteID)
	dst = appendNullableString(append(dst, `,"cluster_id":`...), m.ClusterID)
	dst = strconv.AppendInt(append(dst, `,"batch_id":`...), m.BatchID, 10)
	dst = appendNullableString(append(dst, `,"created_by":`...), m.CreatedBy)
	dst = payload.AppendString(append(dst, `,"created_at":`...), m.CreatedAt)
	dst = payload.AppendString(append(dst, `,"run_at":`...), m.RunAt)
	dst = appendNullableString(append(dst, `,"expires_at":`...), m.ExpiresAt)
	dst = appendNullableString(append(dst, `,"started_at":`...), m.StartedAt)
	dst = appendNullableString(append(dst, `,"finished_at":`...), m.FinishedAt)
	dst = payload.AppendString(append(dst, `,"updated_at":`...), m.UpdatedAt)
	dst = appendNullableString(append(dst, `,"callback_url":`...), m.CallbackURL)
	return append(dst, '}'), nil
}

// pageBuffer is the size at which a part of a page is sent. The page itself is
// in memory already, and its encoding is not, so that a page of large payloads
// takes its memory only once.
const pageBuffer = 64 << 10

// write sends the page as JSON. An error means that the client is gone, or that
// a part of the page cannot be encoded.
func (l *MassRequestList) write(w io.Writer) (err error) {
	buf := append(make([]byte, 0, pageBuffer), `{"items":[`...)
	for i := range l.Items {
		if i > 0 {
			buf = append(buf, ',')
		}
		if buf, err = l.Items[i].append(buf); err != nil {
			return fmt.Errorf("encode a page: %w", err)
		}
		if len(buf) < pageBuffer {
			continue
		}
		if _, err := w.Write(buf); err != nil {
			return fmt.Errorf("send a page: %w", err)
		}
		buf = buf[:0]
	}
	buf = append(appendNullableString(append(buf, `],"next":`...), l.Next), '}')
	if _, err := w.Write(buf); err != nil {
		return fmt.Errorf("send a page: %w", err)
	}
	return nil
}

// bytes is the memory that the page takes, without the short values.
func (l *MassRequestList) bytes() (n int64) {
	for i := range l.Items {
		n += int64(len(l.Items[i].Payload) + len(l.Items[i].Result) + len(l.Items[i].Faults))
	}
	return n
}

// appendPayload appends a payload byte for byte as it was submitted, including
// its white space and escapes that JSON does not require.
func appendPayload(dst []byte, raw json.RawMessage) []byte {
	if raw == nil {
		return append(dst, "null"...)
	}
	return append(dst, raw...)
}

// appendRaw appends JSON that is known to be valid: it was checked when it was
// accepted, or MASS produced it.
func appendRaw(dst []byte, raw json.RawMessage) ([]byte, error) {
	if raw == nil {
		return append(dst, "null"...), nil
	}
	return payload.AppendCompact(dst, raw)
}

func appendNullableString(dst []byte, text *string) []byte {
	if text == nil {
		return append(dst, "null"...)
	}
	return payload.AppendString(dst, *text)
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// formatTime returns a time in RFC 3339, in UTC, with the microseconds that
// Postgres stores.
func formatTime(t time.Time) string {
	t = t.UTC()
	text := t.AppendFormat(make([]byte, 0, 32), time.RFC3339) // several times as fast as formatting with a custom layout
	text[len(text)-1] = '.'                                   // replaces the Z
	micros := t.Nanosecond() / 1000
	for place := 100_000; place > 0; place /= 10 {
		text = append(text, '0'+byte(micros/place%10))
	}
	return string(append(text, 'Z'))
}

func formatTimeOrNull(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := formatTime(t)
	return &s
}
