package pipeline

import (
	"context"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

// plainRun is Run step by step, with the readers and the encoder that know every payload.
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
	})
}

func TestAppendResult(t *testing.T) {
	t.Parallel()
	var nobody *signals.Document
	for _, r := range []Result{
		{}, {Normalized: nobody}, {Normalized: &signals.Document{}, Derived: &signals.Derived{}},
		{Normalized: map[string]any{"a": "<&>"}, Warnings: []signals.Warning{{Pointer: "/a", Detail: `is "odd"`}, {}}},
	} {
		want, err := json.Marshal(r)
		require.NoError(t, err)
		got, err := r.appendJSON([]byte("x"))
		require.NoError(t, err)
		require.Equal(t, "x"+string(want), string(got))
	}
	_, err := (&Result{Normalized: make(chan int)}).appendJSON(nil)
	require.Error(t, err)
}
