package signals

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
)

// minimal is the smallest valid document, as JSON.
const minimal = `{"schema_version":"1.1","request":{
	"time_window":{"start_utc":"2026-03-01T10:00:00Z","end_utc":"2026-03-01T11:00:00Z"},
	"assets":{"site_id":"site-1"},
	"signals":{"energy":{"it_load_kw":100,"facility_power_kw":150}},
	"constraints":{"hard":{"no_control_actions":true}}}}`

// edit returns base with the value at an RFC 6901 pointer replaced, or removed if
// value is "". It creates the objects on the way as needed.
func edit(t testing.TB, base, pointer, value string) []byte {
	t.Helper()
	var root map[string]any
	dec := json.NewDecoder(strings.NewReader(base))
	dec.UseNumber()
	require.NoError(t, dec.Decode(&root))
	tokens := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	object := root
	for _, token := range tokens[:len(tokens)-1] {
		next, ok := object[token].(map[string]any)
		if !ok {
			next = map[string]any{}
			object[token] = next
		}
		object = next
	}
	if last := tokens[len(tokens)-1]; value == "" {
		delete(object, last)
	} else {
		object[last] = json.RawMessage(value)
	}
	raw, err := json.Marshal(root)
	require.NoError(t, err)
	return raw
}

func TestDecodeAccepts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ pointer, value string }{
		{"/correlation_id", `null`},
		{"/correlation_id", `"k"`},
		{"/trace", `{}`},
		{"/trace", `null`},
		{"/trace/traceparent", `"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"`},
		{"/request/environment", `"dev"`},
		{"/request/environment", `"st\u0061ging"`},
		{"/request/mode", `"shadow"`},
		{"/request/timestamp_utc", `"2026-03-01T10:00:00.123456789012+02:00"`},
		{"/request/timeout_ms", `" 1500 "`},
		{"/request/timeout_ms", `-1`}, // meaning, not shape
		{"/request/assets/site_id", `" "`},
		{"/request/assets/site_id", `"` + strings.Repeat("é", 200) + `"`},
		{"/request/data_contract/no_pii", `"false"`},
		{"/request/data_contract/units", `"kWh"`},
		{"/request/data_contract/currency", `"EUR"`},
		{"/request/data_contract/data_classification", `"restricted"`},
		{"/request/signals/energy/it_load_kw", `"1.50"`},
		{"/request/signals/energy/it_load_kw", `1.7976931348623157e308`},
		{"/request/signals/workload", `{"job_mix":{}}`},
		{"/request/preferences/objective_weights", `{}`},
	} {
		t.Run(test.pointer+"="+test.value, func(t *testing.T) {
			t.Parallel()
			_, faults := Decode(edit(t, minimal, test.pointer, test.value))
			require.Empty(t, faults)
		})
	}
}

func TestDecodeKeepsWhatWasSent(t *testing.T) {
	t.Parallel()
	raw := edit(t, minimal, "/request/signals/energy/it_load_kw", `" 99.500 "`)
	raw = edit(t, string(raw), "/request/data_contract/no_pii", `"true"`)
	raw = edit(t, string(raw), "/request/assets/region", `" a\"b "`)
	doc, faults := Decode(raw)
	require.Empty(t, faults)
	require.Equal(t, Number("99.500"), doc.Request.Signals.Energy.ITLoadKW)
	require.Equal(t, Bool("true"), doc.Request.DataContract.NoPII)
	require.Equal(t, ` a"b `, doc.Request.Assets.Region)
	require.False(t, doc.Request.Signals.Thermal.AvgRackInletC.Given())
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	const (
		aNumber = "must be a number, or a string that is exactly a number, within the range of a 64-bit float, got "
		aTime   = "must be an RFC 3339 date-time such as 2026-03-01T10:00:00Z, got "
		parent  = "must be a W3C traceparent of version 00"
	)
	for _, test := range []struct{ pointer, value, detail string }{
		{"/schema_version", ``, "is required"},
		{"/schema_version", `"1.2"`, `must be "1.1", got "1.2"`},
		{"/schema_version", `1.1`, "must be a string, got a number"},
		{"/request", ``, "is required"},
		{"/request", `[]`, "must be an object, got an array"},
		{"/request", `null`, "must be an object, got null"},
		{"/request/time_window", ``, "is required"},
		{"/request/time_window/start_utc", ``, "is required"},
		{"/request/time_window/end_utc", ``, "is required"},
		{"/request/time_window/end_utc", `null`, aTime + "null"},
		{"/request/time_window/end_utc", `1772359200`, aTime + "a number"},
		{"/request/time_window/end_utc", `"2026-03-01"`, aTime + `"2026-03-01"`},
		{"/request/time_window/end_utc", `"2016-12-31T23:59:60Z"`, aTime + `"2016-12-31T23:59:60Z"`},
		{"/request/timestamp_utc", `""`, aTime + `""`},
		{"/request/assets", ``, "is required"},
		{"/request/assets/site_id", ``, "is required"},
		{"/request/assets/site_id", `""`, "must not be empty"},
		{"/request/assets/site_id", `7`, "must be a string, got a number"},
		{"/request/assets/site_id", `"` + strings.Repeat("é", 201) + `"`, "must have at most 200 characters, got 201"},
		{"/request/signals", ``, "is required"},
		{"/request/signals/energy", ``, "is required"},
		{"/request/signals/energy/it_load_kw", ``, "is required"},
		{"/request/signals/energy/facility_power_kw", ``, "is required"},
		{"/request/signals/energy/facility_power_kw", `null`, aNumber + "null"},
		{"/request/signals/energy/facility_power_kw", `true`, aNumber + "a boolean"},
		{"/request/signals/energy/facility_power_kw", `"x"`, aNumber + `"x"`},
		{"/request/signals/energy/facility_power_kw", `""`, aNumber + `""`},
		{"/request/signals/energy/facility_power_kw", `"NaN"`, aNumber + `"NaN"`},
		{"/request/signals/energy/facility_power_kw", `1e309`, aNumber + `"1e309"`},
		{"/request/signals/energy/facility_power_kw", `"1e-999"`, aNumber + `"1e-999"`},
		{"/request/signals/energy/FACILITY_POWER_KW", `1`, "is not a field of schema_version 1.1"},
		{"/request/environment", `"production"`, `must be one of "dev", "staging", "prod", got "production"`},
		{"/request/environment", `""`, `must be one of "dev", "staging", "prod", got ""`},
		{"/request/mode", `"active"`, `must be "shadow", got "active"`},
		{"/request/data_contract/units", `"W"`, `must be one of "kW", "kWh", got "W"`},
		{"/request/data_contract/currency", `"usd"`, `must be one of "USD", "EUR", got "usd"`},
		{"/request/data_contract/data_classification", `"public"`, `must be one of "internal", "restricted", got "public"`},
		{"/request/data_contract/no_pii", `1`, `must be a boolean, "true" or "false", got a number`},
		{"/request/data_contract/no_pii", `"yes"`, `must be a boolean, "true" or "false", got "yes"`},
		{"/trace", `"00-…"`, "must be an object, got a string"},
		{"/trace/traceparent", `"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"`, parent},
		{"/trace/traceparent", `"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"`, parent},
		{"/trace/traceparent", `"00-00000000000000000000000000000000-00f067aa0ba902b7-01"`, parent},
		{"/trace/traceparent", `"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"`, parent},
		{"/trace/traceparent", `"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"`, parent},
		{"/trace/traceparent", `"00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01"`, parent},
		{"/trace/traceparent", `"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x"`, parent},
		{"/unknown", `{"deep":[1]}`, "is not a field of schema_version 1.1"},
		{"/request/signals/workload/job_mix/other_pct", `1`, "is not a field of schema_version 1.1"},
	} {
		t.Run(test.pointer+"="+test.value, func(t *testing.T) {
			t.Parallel()
			doc, faults := Decode(edit(t, minimal, test.pointer, test.value))
			require.Nil(t, doc)
			require.Len(t, faults, 1)
			require.Equal(t, test.pointer, faults[0].Pointer)
			require.True(t, strings.HasPrefix(faults[0].Detail, test.detail), faults[0].Detail)
		})
	}
}

func TestDecodeReportsEverything(t *testing.T) {
	t.Parallel()
	_, faults := Decode([]byte(`{"request":{"a/b":{},"mode":1,"assets":{},"signals":{"energy":{"it_load_kw":"x"}}},"trace":[]}`))
	var pointers []string
	for _, fault := range faults {
		pointers = append(pointers, fault.Pointer)
	}
	require.Equal(t, []string{
		"/request/a~1b", "/request/mode", "/request/assets/site_id", "/request/signals/energy/it_load_kw",
		"/request/signals/energy/facility_power_kw", "/request/time_window", "/trace", "/schema_version",
	}, pointers)
}

func TestDecodeSyntax(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		``:                         "is not valid JSON: unexpected EOF",
		`{`:                        "is not valid JSON at byte 1:",
		`[]`:                       "must be an object, got an array",
		minimal + `{}`:             "must be a single JSON object, but more data follows",
		`{"request":{"mode":tru}}`: "is not valid JSON at byte 22:",
		`{"trace":{},"trace":{}}`:  "is a name given twice in the same object (byte 12)",
		`{"trace":{"x":[1,}}`:      "is not valid JSON at byte",
	} {
		doc, faults := Decode([]byte(raw))
		require.Nil(t, doc)
		require.True(t, strings.HasPrefix(faults[len(faults)-1].Detail, want), "%s: %v", raw, faults)
	}
}

func TestDecodeIsBounded(t *testing.T) {
	t.Parallel()
	var raw strings.Builder
	raw.WriteString("{")
	for i := range 20_000 {
		fmt.Fprintf(&raw, `"unknown %d":1,`, i)
	}
	raw.WriteString(`"` + strings.Repeat("k", 1<<19) + `":1}`)
	_, faults := Decode([]byte(raw.String()))
	require.True(t, faults.Full())
	require.Less(t, len(faults.Error()), 2000)
}

func FuzzDecode(f *testing.F) {
	f.Add(Example())
	f.Add([]byte(minimal))
	f.Add([]byte(`{"schema_version":"1.1","request":{"signals":{"energy":{"it_load_kw":"1e308","x":[]}},"timestamp_utc":"2026-03-01T10:00:00.1+01:00"}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		doc, faults := Decode(raw)
		require.Equal(t, doc == nil, len(faults) > 0)
		if doc == nil {
			return
		}
		_ = Validate(doc) // whatever it says
		normal, changed := Normalize(doc)
		require.Equal(t, !reflect.DeepEqual(doc, normal), changed)
		repeated, changed := Normalize(normal)
		require.Equal(t, normal, repeated)
		require.False(t, changed)
		derived, warnings := Derive(doc) // valid or not
		require.NotNil(t, warnings)
		_, err := json.Marshal(derived)
		require.NoError(t, err, "no NaN, no infinity")
		encoded, err := json.Marshal(normal)
		require.NoError(t, err)
		again, faults := Decode(encoded)
		if len(payload.CleanText(doc.Request.Assets.SiteID)) > 0 && len(faults) > 0 {
			for _, fault := range faults { // trimming and NFC may only change a text's length
				require.Contains(t, fault.Detail, "characters")
			}
			return
		}
		if again != nil {
			require.Equal(t, normal, again, "the normal form is a valid document")
		}
	})
}
