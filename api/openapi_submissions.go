package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
	"github.com/leomutto/pilot-in-a-box/store"
)

const describeBatch = "Up to 10,000 submissions as a JSON array, or as a stream of lines (application/x-ndjson), which is better for many. " +
	"Each is judged and stored on its own, as if it had been sent alone, and answered in its place; the status of the whole is 200 " +
	"however they end. Instead of the header an item may have an `idempotency_key`. With keys a batch that was cut off can be sent " +
	"again as it is; what was stored before is answered with `replayed`. 429 and 503 of an item are worth another try.\n\n" +
	"Of an array nothing is stored before all of it was read: when it is malformed, too large or too long, nothing is. Of a stream the " +
	"lines are stored, and answered, as they come; a malformed line is one refused item, and blank lines do not count. What ends a " +
	"stream early (too many lines, too many bytes, a body that does not arrive) is the `problem` of the last line of the answer. " +
	"The answer has the form of the body unless Accept asks for the other one."

// BatchSubmission is one element of a batch. Only its schema is used.
type BatchSubmission struct {
	Submission
	IdempotencyKey string `json:"idempotency_key,omitempty" minLength:"1" maxLength:"255" pattern:"^[!-~]+$" patternDescription:"printable ASCII without spaces" doc:"What the header Idempotency-Key is to a single submission" example:"oslo-1:2026-03-01T10:00Z"`
}

// documentBatch describes the bodies of a batch, which are read and written by hand.
func documentBatch(doc *huma.OpenAPI) {
	op := doc.Paths[pathBatch].Post
	free := map[string]any{"payload": map[string]any{"site_id": "site-1", "it_load_kw": 812.5}, "idempotency_key": "site-1:17"}
	signal := map[string]any{"payload": json.RawMessage(signals.Example()), "priority": jobs.High}
	submissions := []any{free, signal}
	array := &huma.Schema{
		Type: huma.TypeArray, Items: doc.Components.Schemas.Schema(reflect.TypeFor[BatchSubmission](), true, ""),
		MaxItems: new(batchItems),
	}
	lines := &huma.Schema{Type: huma.TypeString, Description: "One BatchSubmission a line"}
	op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		jsonMediaType:   {Schema: array, Examples: map[string]*huma.Example{"two": {Summary: "Two submissions", Value: submissions}}},
		ndjsonMediaType: {Schema: lines, Examples: map[string]*huma.Example{"two": {Summary: "Two submissions", Value: asLines(submissions...)}}},
	}}

	a := &batchAnswer{}
	items := []any{
		a.item(store.Inserted{ID: 42}, nil),
		a.item(store.Inserted{}, invalidBody(payload.Faults{{Pointer: "/payload/request/signals/energy/it_load_kw", Detail: "is required"}})),
	}
	whole := map[string]any{"items": items, "created": a.tally.Created, "replayed": a.tally.Replayed, "refused": a.tally.Refused}
	op.Responses["200"].Description = http.StatusText(http.StatusOK)
	op.Responses["200"].Content = map[string]*huma.MediaType{
		jsonMediaType: {Schema: doc.Components.Schemas.Schema(reflect.TypeFor[BatchResult](), true, ""), Example: whole},
		ndjsonMediaType: {
			Schema:  &huma.Schema{Type: huma.TypeString, Description: "One BatchItem a line, and a BatchEnd as the last one"},
			Example: asLines(items[0], items[1], a.tally),
		},
	}
	doc.Components.Schemas.Schema(reflect.TypeFor[BatchEnd](), true, "")
}

// asLines is an example of NDJSON.
func asLines(values ...any) string {
	var text bytes.Buffer
	for _, v := range values {
		raw, err := json.Marshal(v) // which makes one line of raw JSON, too
		if err == nil {
			text.Write(append(raw, '\n'))
		}
	}
	return text.String()
}
