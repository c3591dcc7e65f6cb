package api_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/submit"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/pipeline"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

// exactPayloads are payloads that any other spelling of the same value would change.
// None has a line break, so that they can be lines of a stream.
var exactPayloads = []string{
	`{}`,
	`{ }`,
	`{"zebra":1,"b":2,"aa":3,"a":4}`,
	`{"n":[1e2,1E+2,100,1.0,1.50,-0,-0.0,0.1e-5,123456789012345678901234567890]}`,
	`{  "spaced" :	[ 1 , { "a" : null } ,[ ] ] , "b" :{ } }`,
	`{"escaped":"\u00e9\/\"\\\b\f\n\r\t\u2028\ud83d\ude00","\u00e9\/":"é/","q":"<&>'"}`,
	`{"deep":` + strings.Repeat(`[{"a": `, 15) + `1.0` + strings.Repeat(` }]`, 15) + `}`,
	`{"site_id":"oslo-1","correlation_id":"c-1","note":"` + strings.Repeat(`long \u00fc `, 2000) + `"}`,
}

// payloadIn returns the bytes of the payload in an answer that has one.
func payloadIn(t *testing.T, answer string) string {
	t.Helper()
	var m struct {
		Payload json.RawMessage `json:"payload"`
	}
	require.NoError(t, json.Unmarshal([]byte(answer), &m))
	return string(m.Payload)
}

// exactly checks that a request answers its payload byte for byte, in every answer
// that has it, before and after it was processed and replayed; and that the
// digests in its trail are of these bytes.
func (e *system) exactly(id int64, want string) {
	e.t.Helper()
	path := fmt.Sprintf("/mass-requests/%d", id)
	get := func() {
		e.t.Helper()
		got := e.call(http.MethodGet, path, "")
		require.Equal(e.t, want, payloadIn(e.t, got.text))
	}
	get()
	e.process(id)
	done := e.call(http.MethodGet, path, "")
	require.Equal(e.t, "done", done.json["status"])
	require.Equal(e.t, want, payloadIn(e.t, done.text))
	require.Contains(e.t, done.json["result"], "normalized")
	replayed := e.call(http.MethodPatch, path+"/status", `{"status":"pending"}`)
	require.Equal(e.t, http.StatusOK, replayed.StatusCode, replayed.text)
	require.Equal(e.t, want, payloadIn(e.t, replayed.text))
	get()
	e.process(id)
	get()

	sum := sha256.Sum256([]byte(want))
	var digests []string
	require.NoError(e.t, e.db.SelectContext(e.t.Context(), &digests, `
        SELECT DISTINCT encode(input_digest, 'hex') FROM audit_events WHERE request_id = $1 AND action IN ('submit', 'finish')`, id))
	require.Equal(e.t, []string{hex.EncodeToString(sum[:])}, digests)
	var wrong int
	require.NoError(e.t, e.db.GetContext(e.t.Context(), &wrong, `
        SELECT count(*) FROM audit_events e JOIN mass_requests r ON r.id = e.request_id
        WHERE r.id = $1 AND e.action = 'finish' AND e.output_digest <> sha256(convert_to(r.result::text, 'UTF8'))`, id))
	require.Zero(e.t, wrong)
}

// process brings a request to done with the result of the pipeline.
func (e *system) process(id int64) {
	e.t.Helper()
	ctx := e.t.Context()
	worker, err := e.store.RegisterWorker(ctx, "test", 1, "test")
	require.NoError(e.t, err)
	r, err := e.store.Request(ctx, id)
	require.NoError(e.t, err)
	claimed, _, err := e.store.ClaimBatches(ctx, worker, []int64{r.BatchID}, 16<<20)
	require.NoError(e.t, err)
	var outcomes []jobs.Outcome
	for _, c := range claimed {
		digest := sha256.Sum256(c.Payload)
		o := jobs.Outcome{Lease: c.Lease, Action: jobs.Finish, InputDigest: digest[:]}
		o.Result.JSON, o.Result.AsSubmitted, err = pipeline.Default().Run(ctx, c.Payload)
		require.NoError(e.t, err)
		if c.ID != id {
			o.Action, o.Result = jobs.Retry, jobs.Result{} // leave the others of the batch for later
		}
		outcomes = append(outcomes, o)
	}
	_, err = e.store.WriteOutcomes(ctx, worker, outcomes)
	require.NoError(e.t, err)
}

func TestPayloadsComeBackByteForByte(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for _, want := range append(exactPayloads, "{\n\t\"lines\": [\r\n 1 ]\n}") {
		posted := e.call(http.MethodPost, "/mass-requests/", `{"priority":"high", "payload": `+want+` }`)
		require.Equal(t, http.StatusCreated, posted.StatusCode, posted.text)
		require.Equal(t, want, payloadIn(t, posted.text))
		e.exactly(posted.id(), want)
	}
	list := e.call(http.MethodGet, "/mass-requests?limit=100", "")
	for _, want := range exactPayloads {
		assert.Contains(t, list.text, `"payload":`+want+`,`)
	}
}

func TestPayloadsOfABatchComeBackByteForByte(t *testing.T) {
	t.Parallel()
	e := setup(t)
	var items []string
	for i, p := range exactPayloads {
		items = append(items, fmt.Sprintf(`{ "idempotency_key":"k%[1]d-%%[1]d","payload" :%[2]s, "priority":"low"}`, i, p))
	}
	for round, media := range []string{asArray, asStream} {
		body := strings.Join(items, "\n")
		if media == asArray {
			body = "[" + strings.Join(items, ",") + "]"
		}
		answer := e.batch(media, strings.NewReader(strings.ReplaceAll(body, "%[1]d", fmt.Sprint(round))))
		require.Equal(t, len(exactPayloads), answer.Created)
		for i, want := range exactPayloads {
			e.exactly(answer.Items[i].ID, want)
		}
	}
}

// The reader of CSV makes the payload, with the numbers as they are spelled in the
// cells. From there on it is a payload like any other.
func TestPayloadsFromCSVComeBackByteForByte(t *testing.T) {
	t.Parallel()
	e := setup(t)
	var example map[string]any
	dec := json.NewDecoder(bytes.NewReader(signals.Example()))
	dec.UseNumber()
	require.NoError(t, dec.Decode(&example))
	var columns, cells []string
	flatten("", example, func(column, cell string) { columns, cells = append(columns, column), append(cells, cell) })
	cells[slices.Index(columns, "correlation_id")] = `a "b" /é`
	power := slices.Index(columns, "request.signals.energy.facility_power_kw")
	value, err := strconv.ParseFloat(cells[power], 64)
	require.NoError(t, err)
	cells[power] = fmt.Sprintf("%.2fe1", value/10)

	var table bytes.Buffer
	out := csv.NewWriter(&table)
	require.NoError(t, out.WriteAll([][]string{columns, cells}))
	in, err := submit.NewReader(&table, submit.ReaderOptions{Format: "csv"})
	require.NoError(t, err)
	item, err := in.Next()
	require.NoError(t, err)
	require.Empty(t, item.Fault)
	want := payloadIn(t, string(item.Body))
	require.Contains(t, want, cells[power])

	answer := e.batch(asStream, bytes.NewReader(item.Body))
	require.Equal(t, 1, answer.Created, answer.Items)
	e.exactly(answer.Items[0].ID, want)
}

// flatten calls f for each scalar in an object, with its path as the column.
func flatten(prefix string, object map[string]any, f func(column, cell string)) {
	for name, value := range object {
		if inner, ok := value.(map[string]any); ok {
			flatten(prefix+name+".", inner, f)
			continue
		}
		f(prefix+name, fmt.Sprint(value))
	}
}
