package pipeline

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

// plainRun is Run, step by step, with the readers and the encoder that accept every
// payload.
func plainRun(t testing.TB, raw []byte) ([]byte, error) {
	t.Helper()
	meta, faults := payload.Inspect(raw)
	if err := faults.Err(); err != nil {
		return nil, err
	}
	steps := Default().FreeForm
	if meta.Signals() {
		steps = Default().Signals
	}
	state := &State{Raw: raw, Meta: meta, Result: Result{Warnings: []signals.Warning{}}}
	for _, step := range steps {
		if err := runStep(context.Background(), step, state); err != nil {
			return nil, err
		}
	}
	result, err := json.Marshal(state.Result)
	require.NoError(t, err)
	return result, nil
}

func FuzzRunAgreesWithItsSteps(f *testing.F) {
	example := string(signals.Example())
	f.Add([]byte(example))
	f.Add([]byte(strings.ReplaceAll(example, "812.5", `"8.125e2"`)))
	f.Add([]byte(strings.ReplaceAll(example, "site-1", `\u0041 <&> é`)))
	f.Add([]byte(strings.ReplaceAll(example, "supply_temp_c", `supply`)))
	f.Add([]byte(strings.ReplaceAll(strings.ReplaceAll(example, "1.30", "2.5"), `"USD"`, `"EUR"`))) // with warnings
	f.Add([]byte(`{"IT Load (kW)":"1e3","a":[{"b":" x\u0041\/ "}, 1.50, null]}`))
	f.Add([]byte(`{"schema_version":"1.1","request":{"time_window":{"start_utc":"0001-01-01T00:00:00Z","end_utc":"9999-12-31T23:59:59.9Z"},
		"assets":{"site_id":"s"},"signals":{"energy":{"it_load_kw":1,"facility_power_kw":"10"}},
		"constraints":{"hard":{"no_control_actions":"true"}}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		want, wrong := plainRun(t, raw)
		got, err := Run(context.Background(), raw)
		require.Equal(t, wrong, err)
		require.Equal(t, string(want), string(got))
		if err != nil {
			return
		}
		rest, same, err := Default().Run(context.Background(), raw)
		require.NoError(t, err)
		if !same {
			require.Equal(t, string(want), string(rest))
			return
		}
		require.Equal(t, canonical(t, want), canonical(t, fmt.Appendf(nil, `{"normalized":%s,%s`, raw, rest[1:])))
	})
}

// canonical returns JSON without white space and with sorted members, whose numbers
// keep their spelling.
func canonical(t *testing.T, raw []byte) string {
	t.Helper()
	value := jsontext.Value(bytes.Clone(raw))
	require.NoError(t, value.Format(jsontext.ReorderRawObjects(true)))
	return string(value)
}

func TestWhatComesInNormalFormIsNotRepeated(t *testing.T) {
	t.Parallel()
	example := string(signals.Example())
	for raw, want := range map[string]bool{
		example: true,
		strings.ReplaceAll(example, "812.5", `"812.5"`):            false,
		strings.ReplaceAll(example, "site-1", " site-1"):           false,
		strings.ReplaceAll(example, "dcim", ""):                    false,
		strings.ReplaceAll(example, `"mode": "shadow",`, ""):       false,
		strings.ReplaceAll(example, "11:00:00Z", "11:00:00-00:00"): false,
		`{"a": [1.50, {"b": "c"}], "d": null}`:                     true,
		`{"A": 1}`:                                                 false,
		`{"a": "b "}`:                                              false,
		`{"it_load_kw":"1"}`:                                       false,
		`{"no_pii":"true"}`:                                        false,
	} {
		rest, same, err := Default().Run(t.Context(), []byte(raw))
		require.NoError(t, err)
		require.Equal(t, want, same, raw)
		require.Equal(t, !want, strings.Contains(string(rest), `"normalized":`), raw)
	}
}

func TestEncodeResult(t *testing.T) {
	t.Parallel()
	var noDocument *signals.Document
	for _, r := range []Result{
		{}, {Normalized: noDocument}, {Normalized: &signals.Document{}, Derived: &signals.Derived{}},
		{Normalized: jsontext.Value(`{"a": "<&>"}`), Warnings: []signals.Warning{{Pointer: "/a", Detail: `is "odd"`}, {}}},
	} {
		want, err := json.Marshal(r)
		require.NoError(t, err)
		got, err := (&State{Result: r}).encode(false)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	}
	_, err := (&State{Result: Result{Normalized: jsontext.Value(`"\`)}}).encode(false)
	require.ErrorContains(t, err, "encode the result")
}

func TestKnownFields(t *testing.T) {
	t.Parallel()
	types := map[string]signals.FieldType{}
	for _, f := range signals.Fields() {
		name := f.Path[len(f.Path)-1]
		if earlier, twice := types[name]; twice {
			require.Equal(t, earlier, f.Type, "%s has two types, so its free-form strings cannot be read", name)
		}
		types[name] = f.Type
		require.Equal(t, name, payload.SnakeCase(name), "a name in another form is never found in a free-form payload")
	}
	known := knownFields()
	require.Equal(t, payload.NumberField, known["it_load_kw"])
	require.Equal(t, payload.BooleanField, known["no_pii"])
	require.Empty(t, known["site_id"])
}
