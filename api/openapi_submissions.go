package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
	"github.com/leomutto/pilot-in-a-box/store"
)

const describeBatch = "Up to 10,000 submissions as a JSON array, or as a stream of lines (application/x-ndjson), which is better for many. " +
	"Each submission is checked and stored on its own, as if it had been sent alone. The response lists the outcomes in the order of the " +
	"submissions; its own status is 200 whatever the outcomes are. Instead of the header, an item may have an `idempotency_key`. With keys, an " +
	"interrupted batch can be sent again unchanged: items that were stored before are marked `replayed`. An item with 429 or 503 is worth another attempt.\n\n" +
	"An array is read to its end before any item is stored: when it is malformed, too large or too long, nothing is stored. The lines of a stream " +
	"are stored and answered as they arrive; a malformed line is one refused item, and blank lines do not count. When a stream ends early " +
	"(too many lines, too many bytes, a body that does not arrive), the `problem` in the last line of the response says why. " +
	"The response has the media type of the body unless Accept prefers the other one."

// BatchSubmission is one item of a batch submission. Only its schema is used:
// decodeItem reads the items.
type BatchSubmission struct {
	Submission
	IdempotencyKey string `json:"idempotency_key,omitempty" minLength:"1" maxLength:"255" pattern:"^[!-~]+$" patternDescription:"printable ASCII without spaces" doc:"Does for this item what the header Idempotency-Key does for a single submission" example:"oslo-1:2026-03-01T10:00Z"`
}

// documentManySubmissions describes the bodies of POST /batch, which this
// package reads and writes without huma.
func documentManySubmissions(op documentedOp) {
	free := map[string]any{"payload": map[string]any{"site_id": "site-1", "it_load_kw": 812.5}, "idempotency_key": "site-1:17"}
	signal := map[string]any{"payload": json.RawMessage(signals.Example()), "priority": jobs.High}
	submissions := []any{free, signal}
	array := &huma.Schema{
		Type: huma.TypeArray, Items: op.schema(reflect.TypeFor[BatchSubmission]()),
		MaxItems: new(maxSubmissions),
	}
	lines := &huma.Schema{Type: huma.TypeString, Description: "One BatchSubmission per line"}
	op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		web.MediaJSON:   {Schema: array, Examples: map[string]*huma.Example{"two": {Summary: "Two submissions", Value: submissions}}},
		web.MediaNDJSON: {Schema: lines, Examples: map[string]*huma.Example{"two": {Summary: "Two submissions", Value: asLines(submissions...)}}},
	}}

	a := &submissionsAnswer{}
	items := []any{
		a.item(store.Inserted{ID: 42}, nil),
		a.item(store.Inserted{}, web.InvalidBody(payload.Faults{{Pointer: "/payload/request/signals/energy/it_load_kw", Detail: "is required"}})),
	}
	whole := map[string]any{"items": items, "created": a.tally.Created, "replayed": a.tally.Replayed, "refused": a.tally.Refused}
	op.Responses["200"].Description = http.StatusText(http.StatusOK)
	op.Responses["200"].Content = map[string]*huma.MediaType{
		web.MediaJSON: {Schema: op.schema(reflect.TypeFor[BatchResult]()), Example: whole},
		web.MediaNDJSON: {
			Schema:  &huma.Schema{Type: huma.TypeString, Description: "One BatchItem per line, followed by a BatchEnd on the last line"},
			Example: asLines(items[0], items[1], a.tally),
		},
	}
	op.schema(reflect.TypeFor[BatchEnd]())
}

// asLines returns the values as NDJSON.
func asLines(values ...any) string {
	var text bytes.Buffer
	for _, v := range values {
		raw, err := json.Marshal(v) // Marshal also compacts raw JSON to one line
		if err == nil {
			text.Write(append(raw, '\n'))
		}
	}
	return text.String()
}
