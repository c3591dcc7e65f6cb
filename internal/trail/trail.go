// Package trail encodes the audit trail: single events as JSON, and streams of
// events as CSV or NDJSON. The API and the command line share the package. It
// reads no table and makes no access decisions.
package trail

import (
	"bufio"
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json"

	"github.com/leomutto/pilot-in-a-box/internal/export"
	"github.com/leomutto/pilot-in-a-box/store"
)

// AuditEvent is one row of the trail.
type AuditEvent struct {
	ID             int64   `json:"id" doc:"Increases over time, with gaps" example:"1041"`
	At             string  `json:"at" format:"date-time" doc:"When the event happened" example:"2026-03-01T11:00:02.500000Z"`
	Action         string  `json:"action" doc:"What happened" example:"cancel"`
	Actor          string  `json:"actor" doc:"User, API key or process that caused the event" example:"user:12"`
	MassRequestID  *int64  `json:"mass_request_id" doc:"Id of the MassRequest that the event is about" example:"42"`
	BatchID        *int64  `json:"batch_id" doc:"Id of the batch that carried the MassRequest" example:"7"`
	Attempt        *int    `json:"attempt" doc:"Number of the attempt" example:"1"`
	FromStatus     *string `json:"from_status" doc:"Status before the event" example:"processing"`
	ToStatus       *string `json:"to_status" doc:"Status after the event" example:"cancelled"`
	Detail         *string `json:"detail" doc:"Details, such as an error message"`
	HTTPRequestID  *string `json:"http_request_id" doc:"Id of the HTTP request that caused the event, as in X-Request-Id and in the logs" example:"WRXY3FPYOUJZ4L6W2PPXG53QCV"`
	Client         *string `json:"client" doc:"Client address of that HTTP request" example:"192.0.2.7"`
	SchemaVersion  *string `json:"schema_version" doc:"Shape of the payload" example:"1.1"`
	BioCoreVersion *string `json:"biocore_version" doc:"Version of BioCore, if BioCore took part"`
	InputDigest    *string `json:"input_digest" doc:"SHA-256 of the payload, byte for byte as it was submitted, in hexadecimal"`
	OutputDigest   *string `json:"output_digest" doc:"SHA-256 of the result as it is stored, in hexadecimal"`
	TraceID        *string `json:"trace_id" doc:"W3C trace id" example:"4bf92f3577b34da6a3ce929d0e0e4736"`
	SpanID         *string `json:"span_id" doc:"W3C span id" example:"00f067aa0ba902b7"`
	SourceID       *int64  `json:"source_id" doc:"Id of the process run that wrote the event; each start of a process gets a new id" example:"3"`
	Process        *string `json:"process" doc:"Kind of that process" example:"api"`
	Version        *string `json:"version" doc:"Version of the build of that process"`
	Commit         *string `json:"commit" doc:"Commit of the build of that process"`
}

// Of returns an event as clients see it.
func Of(e *store.AuditEvent) AuditEvent {
	return AuditEvent{
		ID: e.ID, At: e.At.UTC().Format("2006-01-02T15:04:05.000000Z"), Action: e.Action, Actor: e.Actor,
		MassRequestID: orNull(e.RequestID), BatchID: orNull(e.BatchID), Attempt: orNull(e.Attempt),
		FromStatus: orNull(e.FromStatus), ToStatus: orNull(e.ToStatus), Detail: orNull(e.Detail),
		HTTPRequestID: orNull(e.HTTPRequestID), Client: orNull(e.Client),
		SchemaVersion: orNull(e.SchemaVersion), BioCoreVersion: orNull(e.BioCoreVersion),
		InputDigest: orNull(hex.EncodeToString(e.InputDigest)), OutputDigest: orNull(hex.EncodeToString(e.OutputDigest)),
		TraceID: orNull(hex.EncodeToString(e.TraceID)), SpanID: orNull(hex.EncodeToString(e.SpanID)),
		SourceID: orNull(e.SourceID), Process: orNull(e.Process), Version: orNull(e.Version), Commit: orNull(e.Commit),
	}
}

func orNull[T comparable](value T) *T {
	var zero T
	if value == zero {
		return nil
	}
	return &value
}

// The formats of a stream.
const (
	CSV    = "csv"
	NDJSON = "ndjson"
)

// MediaType returns the media type of a format.
func MediaType(format string) string {
	if format == CSV {
		return "text/csv; charset=utf-8; header=present"
	}
	return "application/x-ndjson"
}

// Writer writes events as a stream, one record per event.
type Writer struct {
	out *bufio.Writer
	csv *csv.Writer // nil: NDJSON
}

// NewWriter returns a Writer of the given format. A CSV stream starts with the
// names of the columns.
func NewWriter(w io.Writer, format string) *Writer {
	t := &Writer{out: bufio.NewWriterSize(w, 64<<10)}
	if format == CSV {
		t.csv = csv.NewWriter(t.out)
		_ = t.csv.Write(columns) // buffered; Flush reports errors
	}
	return t
}

// Write adds events to the stream.
func (t *Writer) Write(events []store.AuditEvent) error {
	for i := range events {
		e := Of(&events[i])
		var err error
		if t.csv != nil {
			err = t.csv.Write(record(&e))
		} else if err = json.MarshalWrite(t.out, e); err == nil {
			err = t.out.WriteByte('\n')
		}
		if err != nil {
			return fmt.Errorf("write the trail: %w", err)
		}
	}
	return nil
}

// Flush passes all buffered bytes to the underlying writer.
func (t *Writer) Flush() error {
	var err error
	if t.csv != nil {
		t.csv.Flush()
		err = t.csv.Error()
	}
	if err == nil {
		err = t.out.Flush()
	}
	if err != nil {
		return fmt.Errorf("write the trail: %w", err)
	}
	return nil
}

// columns are the names of the members of an AuditEvent in JSON, in the same
// order.
var columns = []string{
	"id", "at", "action", "actor", "mass_request_id", "batch_id", "attempt", "from_status", "to_status", "detail", "http_request_id", "client",
	"schema_version", "biocore_version", "input_digest", "output_digest", "trace_id", "span_id", "source_id", "process", "version", "commit",
}

func record(e *AuditEvent) []string {
	cells := []string{
		strconv.FormatInt(e.ID, 10), e.At, e.Action, e.Actor, number(e.MassRequestID), number(e.BatchID), number(e.Attempt),
		text(e.FromStatus), text(e.ToStatus), text(e.Detail), text(e.HTTPRequestID), text(e.Client),
		text(e.SchemaVersion), text(e.BioCoreVersion), text(e.InputDigest), text(e.OutputDigest), text(e.TraceID), text(e.SpanID),
		number(e.SourceID), text(e.Process), text(e.Version), text(e.Commit),
	}
	for i := range cells {
		cells[i] = export.Guard(cells[i])
	}
	return cells
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func number[T int | int64](n *T) string {
	if n == nil {
		return ""
	}
	return strconv.FormatInt(int64(*n), 10)
}
