package biocore_test

import (
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/biocore"
	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

// validAnswer returns an answer to the example request that passes every check.
func validAnswer(t testing.TB) []byte {
	t.Helper()
	raw, err := os.ReadFile("testdata/answer.json")
	require.NoError(t, err)
	return raw
}

// exampleRequest returns the request that validAnswer answers.
func exampleRequest(t testing.TB) *signals.Document {
	t.Helper()
	document, faults := signals.Decode(signals.Example())
	require.Empty(t, faults)
	document, _ = signals.Normalize(document)
	return document
}

// edited returns raw with the value at a pointer replaced, added, or removed if
// value is "".
func edited(t testing.TB, raw []byte, pointer, value string) []byte {
	t.Helper()
	var root any
	require.NoError(t, json.Unmarshal(raw, &root))
	tokens := strings.Split(pointer, "/")[1:]
	at := root
	for i, token := range tokens {
		last := i == len(tokens)-1
		switch parent := at.(type) {
		case map[string]any:
			switch {
			case last && value == "":
				delete(parent, token)
			case last:
				parent[token] = json.RawMessage(value)
			}
			at = parent[token]
		case []any:
			index, err := strconv.Atoi(token)
			require.NoError(t, err)
			if last {
				parent[index] = json.RawMessage(value)
			}
			at = parent[index]
		default:
			require.Fail(t, "no such pointer", pointer)
		}
	}
	raw, err := json.Marshal(root)
	require.NoError(t, err)
	return raw
}

// examined decodes and checks an answer.
func examined(request *signals.Document, raw []byte) payload.Faults {
	answer, faults := biocore.Decode(raw)
	if len(faults) > 0 {
		return faults
	}
	return biocore.Check(request, answer)
}

func TestValidAnswersAreAccepted(t *testing.T) {
	t.Parallel()
	const action = "/response/recommendations/0/action"
	for _, test := range []struct{ pointer, value string }{
		{"/response/model/name", `"biocore"`}, // no change
		{"/trace", ``},
		{"/response/recommendations", `[]`},
		{"/response/status/warnings", `[]`},
		{"/response/summary/estimated_impact_24h", `{}`},
		{"/response/recommendations/0/expected_impact", `{"pue_delta":null}`},
		{action + "/units", `"°C"`},
		{action, `{"type":"setpoint_change","target":"/request/signals/cooling/cooling_setpoint_c","current":20,"suggested":18.5,"delta":-1.5,"units":"C"}`},
		{action, `{"type":"setpoint_change","target":"cooling_setpoint_c","current":20.004,"suggested":20.5,"delta":0.5,"units":"C"}`}, // rounded
		{action, `{"type":"batch_shift","target":"batch_pct","current":65,"suggested":40,"delta":-25,"units":"%"}`},
		{action, `{"type":"advice","target":"something else","current":0,"suggested":1,"delta":1,"units":"count"}`},
	} {
		require.Empty(t, examined(exampleRequest(t), edited(t, validAnswer(t), test.pointer, test.value)), "%s = %s", test.pointer, test.value)
	}
}

// malformed are answers to the example request that must be refused, by the
// pointer of the first fault. An empty value removes the member.
func malformed() []struct{ pointer, value, fault string } {
	const (
		response = "/response"
		summary  = "/response/summary"
		first    = "/response/recommendations/0"
		action   = "/response/recommendations/0/action"
	)
	return []struct{ pointer, value, fault string }{
		// The envelope.
		{"/schema_version", ``, "/schema_version"},
		{"/schema_version", `"1.0"`, "/schema_version"},
		{"/schema_version", `1.1`, "/schema_version"},
		{"/correlation_id", ``, "/correlation_id"},
		{"/correlation_id", `"corr-other"`, "/correlation_id"},
		{"/trace", `"00-4bf9"`, "/trace"},
		{"/trace/extra", `1`, "/trace/extra"},
		{"/trace/traceparent", `"00-4bf92f35"`, "/trace/traceparent"},
		{response, ``, "/response"},
		{response, `null`, "/response"},
		{response, `[]`, "/response"},
		{"/extra", `{}`, "/extra"},
		{"/Response", `{}`, "/Response"},
		// The request.
		{response + "/request_id", ``, response + "/request_id"},
		{response + "/request_id", `""`, response + "/request_id"},
		{response + "/request_id", `42`, response + "/request_id"},
		{response + "/request_id", `"req-2026-03-01-0043"`, response + "/request_id"},
		{response + "/request_id", `"` + strings.Repeat("x", 201) + `"`, response + "/request_id"},
		{response + "/idempotency_key", ``, response + "/idempotency_key"},
		{response + "/idempotency_key", `"site-2:2026-03-01T10:00Z"`, response + "/idempotency_key"},
		// The model, the status and the summary.
		{response + "/model", ``, response + "/model"},
		{response + "/model/version", ``, response + "/model/version"},
		{response + "/model/version", `4.2`, response + "/model/version"},
		{response + "/model/policy_id", `" "`, response + "/model/policy_id"},
		{response + "/model/weights", `[1]`, response + "/model/weights"},
		{response + "/status/code", `null`, response + "/status/code"},
		{response + "/status/warnings", `"none"`, response + "/status/warnings"},
		{response + "/status/warnings", `[1]`, response + "/status/warnings/0"},
		{response + "/status/warnings", `["` + strings.Repeat(`w","`, 100) + `w"]`, response + "/status/warnings"},
		{response + "/status/validation/schema_valid", `false`, response + "/status/validation/schema_valid"},
		{response + "/status/validation/schema_valid", `"true"`, response + "/status/validation/schema_valid"},
		{response + "/status/validation/missing_ratio", `1.2`, response + "/status/validation/missing_ratio"},
		{response + "/status/validation/staleness_seconds", `-1`, response + "/status/validation/staleness_seconds"},
		{summary + "/confidence", `"0.8"`, summary + "/confidence"},
		{summary + "/confidence", `1.01`, summary + "/confidence"},
		{summary + "/risk_score", `-0.1`, summary + "/risk_score"},
		{summary + "/estimated_impact_24h", `null`, summary + "/estimated_impact_24h"},
		{summary + "/estimated_impact_24h/energy_kwh", `"-84"`, summary + "/estimated_impact_24h/energy_kwh"},
		{summary + "/estimated_impact_24h/energy_kwh", `1e999`, summary + "/estimated_impact_24h/energy_kwh"},
		// Statements about shadow mode.
		{summary + "/guardrails", ``, summary + "/guardrails"},
		{summary + "/guardrails/shadow_read_only_enforced", `false`, summary + "/guardrails/shadow_read_only_enforced"},
		{summary + "/guardrails/shadow_read_only_enforced", ``, summary + "/guardrails/shadow_read_only_enforced"},
		{summary + "/guardrails/constraints_satisfied", `false`, summary + "/guardrails/constraints_satisfied"},
		{response + "/audit", ``, response + "/audit"},
		{response + "/audit/mode", `"control"`, response + "/audit/mode"},
		{response + "/audit/mode", `"Shadow"`, response + "/audit/mode"},
		{response + "/audit/no_control_actions_enforced", `false`, response + "/audit/no_control_actions_enforced"},
		{response + "/audit/no_control_actions_enforced", `null`, response + "/audit/no_control_actions_enforced"},
		{response + "/audit/latency_ms", `-1`, response + "/audit/latency_ms"},
		{action + "/type", `"control_write"`, action + "/type"},
		{action + "/type", `"Execute: setpoint"`, action + "/type"},
		{action + "/type", `"setpointWrite"`, action + "/type"},
		{action + "/command", `"BACnet WriteProperty"`, action + "/command"},
		// Recommendations.
		{response + "/recommendations", ``, response + "/recommendations"},
		{response + "/recommendations", `{}`, response + "/recommendations"},
		{response + "/recommendations", `[null]`, response + "/recommendations/0"},
		{response + "/recommendations", `[[]]`, response + "/recommendations/0"},
		{first + "/rec_id", `"rec-2"`, "/response/recommendations/1/rec_id"},
		{first + "/priority", `"high"`, first + "/priority"},
		{first + "/priority", `0`, first + "/priority"},
		{first + "/priority", `1.5`, first + "/priority"},
		{first + "/category", ``, first + "/category"},
		{first + "/explainability/narrative", `"` + strings.Repeat("long ", 1000) + `"`, first + "/explainability/narrative"},
		{first + "/explainability/reason_codes", `[""]`, first + "/explainability/reason_codes/0"},
		{first + "/explainability/reason_codes", `["\u0000"]`, first + "/explainability/reason_codes/0"},
		{first + "/trace/generated_at_utc", `"yesterday"`, first + "/trace/generated_at_utc"},
		{first + "/trace/generated_at_utc", `"2026-03-01T11:00:00"`, first + "/trace/generated_at_utc"},
		{first + "/expected_impact/pue_delta", `{}`, first + "/expected_impact/pue_delta"},
		// Contradictions.
		{action + "/suggested", `20.6`, action + "/suggested"},
		{action + "/delta", `-0.5`, action + "/suggested"},
		{action + "/current", `19.5`, action + "/suggested"},
		{action, `{"type":"a","target":"cooling_setpoint_c","current":18,"suggested":18.5,"delta":0.5,"units":"C"}`, action + "/current"},
		{action + "/units", `"F"`, action + "/units"},
		{action + "/units", `""`, action + "/units"},
		{action + "/units", `"kW"`, action + "/units"},
		{action + "/units", `"pct"`, action + "/units"},
		{"/response/recommendations/1/action/units", `"C"`, "/response/recommendations/1/action/units"},
		// Hard constraints: a change of at most 1.5 K, and inlets of at most
		// 27.0 °C, which are at 26.1 °C.
		{action, `{"type":"a","target":"cooling_setpoint_c","current":20,"suggested":18.4,"delta":-1.6,"units":"C"}`, action + "/delta"},
		{action, `{"type":"a","target":"anything","current":20,"suggested":50,"delta":30,"units":"C"}`, action + "/delta"},
		{action, `{"type":"a","target":"cooling_setpoint_c","current":20,"suggested":21,"delta":1,"units":"C"}`, action + "/suggested"},
		{action, `{"type":"a","target":"hotspot_rack_count","current":2,"suggested":5,"delta":3,"units":"count"}`, action + "/suggested"},
		{action, `{"type":"a","target":"anything","current":10,"suggested":11,"delta":1,"units":"°C"}`, action + "/suggested"},
	}
}

func TestMalformedAnswersAreRefused(t *testing.T) {
	t.Parallel()
	require.GreaterOrEqual(t, len(malformed()), 60)
	for _, test := range malformed() {
		raw := edited(t, validAnswer(t), test.pointer, test.value)
		faults := examined(exampleRequest(t), raw)
		require.NotEmpty(t, faults, "%s = %s", test.pointer, test.value)
		require.Equal(t, test.fault, faults[0].Pointer, "%s = %s: %v", test.pointer, test.value, faults)
	}
}

func TestBytesThatAreNoAnswerAreRefused(t *testing.T) {
	t.Parallel()
	valid := string(validAnswer(t))
	for name, raw := range map[string]string{
		"nothing":         "",
		"white space":     " \n",
		"null":            "null",
		"an array":        "[" + valid + "]",
		"a string":        `"ok"`,
		"HTML":            "<html><body>502 Bad Gateway</body></html>",
		"cut":             valid[:len(valid)/2],
		"two values":      valid + valid,
		"trailing comma":  strings.Replace(valid, `"ok",`, `"ok",,`, 1),
		"NaN":             strings.Replace(valid, "0.8", "NaN", 1),
		"Infinity":        strings.Replace(valid, "0.8", "Infinity", 1),
		"leading zero":    strings.Replace(valid, "0.8", "00.8", 1),
		"comment":         "/* hello */" + valid,
		"byte order mark": "\ufeff" + valid,
		"invalid UTF-8":   strings.Replace(valid, "Why", "Wh\xff", 1),
		"lone surrogate":  strings.Replace(valid, "Why", `\ud800`, 1),
		"name twice":      strings.Replace(valid, `"schema_version": "1.1",`, `"schema_version": "1.1", "schema_version": "1.1",`, 1),
		"deep":            `{"a":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`,
		"a long number":   strings.Replace(valid, "0.8", "0."+strings.Repeat("8", 1000), 1),
	} {
		require.NotEqual(t, valid, raw, name)
		answer, faults := biocore.Decode([]byte(raw))
		require.Nil(t, answer, name)
		require.NotEmpty(t, faults, name)
	}
}

// TestConstraintsFollowTheRequest changes the request instead of the answer.
func TestConstraintsFollowTheRequest(t *testing.T) {
	t.Parallel()
	const first, second = "/response/recommendations/0/action", "/response/recommendations/1/action"
	for name, test := range map[string]struct {
		change func(*signals.Request)
		faults []string
	}{
		"as it is":          {func(*signals.Request) {}, nil},
		"top_k":             {func(r *signals.Request) { r.Preferences.TopK = "1" }, []string{"/response/recommendations"}},
		"no top_k":          {func(r *signals.Request) { r.Preferences.TopK = "" }, nil},
		"small steps":       {func(r *signals.Request) { r.Constraints.Hard.MaxSetpointChangeC = "0.4" }, []string{first + "/delta"}},
		"no steps":          {func(r *signals.Request) { r.Constraints.Hard.MaxSetpointChangeC = "0" }, []string{first + "/delta"}},
		"any step":          {func(r *signals.Request) { r.Constraints.Hard.MaxSetpointChangeC = "" }, nil},
		"little headroom":   {func(r *signals.Request) { r.Signals.Thermal.P95RackInletC = "26.6" }, []string{first + "/suggested"}},
		"no headroom":       {func(r *signals.Request) { r.Signals.Thermal.P95RackInletC = "27.4" }, []string{first + "/suggested", second + "/suggested"}},
		"unknown inlets":    {func(r *signals.Request) { r.Signals.Thermal.P95RackInletC = "" }, nil},
		"hot spots":         {func(r *signals.Request) { r.Signals.Thermal.HotspotRackCount = "5" }, []string{first + "/suggested", second + "/suggested"}},
		"allowed hot spots": {func(r *signals.Request) { r.Signals.Thermal.HotspotRackCount = "4" }, nil},
		"other setpoint":    {func(r *signals.Request) { r.Signals.Cooling.CoolingSetpointC = "19" }, []string{first + "/current"}},
		"other fans":        {func(r *signals.Request) { r.Signals.Cooling.FanPowerKW = "30" }, []string{second + "/current"}},
		"no ids": {func(r *signals.Request) {
			r.RequestID, r.IdempotencyKey = "", ""
		}, nil},
	} {
		request := exampleRequest(t)
		test.change(&request.Request)
		var pointers []string
		for _, fault := range examined(request, validAnswer(t)) {
			pointers = append(pointers, fault.Pointer)
		}
		require.Equal(t, test.faults, pointers, name)
	}
}

func TestFaultsAreCollected(t *testing.T) {
	t.Parallel()
	raw := edited(t, validAnswer(t), "/response/model", ``)
	raw = edited(t, raw, "/response/audit/mode", `1`)
	_, faults := biocore.Decode(raw)
	require.Equal(t, payload.Faults{
		{Pointer: "/response/audit/mode", Detail: "must be a string, got a number"},
		{Pointer: "/response/model", Detail: "is required"},
	}, faults)
}

func FuzzDecode(f *testing.F) {
	f.Add(validAnswer(f))
	for _, test := range malformed() {
		f.Add(edited(f, validAnswer(f), test.pointer, test.value))
	}
	request := exampleRequest(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		answer, faults := biocore.Decode(raw)
		require.NotEqual(t, answer == nil, len(faults) == 0)
		if answer == nil {
			return
		}
		again, err := json.Marshal(answer)
		require.NoError(t, err)
		second, faults := biocore.Decode(again)
		require.Empty(t, faults, "%s", again)
		require.Equal(t, answer, second)
		if len(biocore.Check(request, answer)) > 0 {
			return
		}
		response := answer.Response
		require.Equal(t, request.Request.RequestID, response.RequestID)
		require.LessOrEqual(t, len(response.Recommendations), 3)
		require.True(t, response.Summary.Guardrails.ShadowReadOnlyEnforced && response.Audit.NoControlActionsEnforced)
		for _, r := range response.Recommendations {
			if slices.Contains([]string{"C", "°C"}, r.Action.Units) {
				require.LessOrEqual(t, max(r.Action.Delta, -r.Action.Delta), 1.5+1e-6)
			}
		}
	})
}
