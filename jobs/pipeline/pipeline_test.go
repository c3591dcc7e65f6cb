package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/jobs/pipeline"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

func TestRunSignals(t *testing.T) {
	t.Parallel()
	result, err := pipeline.Run(t.Context(), signals.Example())
	require.NoError(t, err)

	var got map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(result, &got))
	require.Len(t, got, 3)
	require.JSONEq(t, string(signals.Example()), string(got["normalized"]), "the example is in normal form")
	require.JSONEq(t, `[]`, string(got["warnings"]))

	var derived, want map[string]any
	require.NoError(t, json.Unmarshal(got["derived"], &derived))
	require.NoError(t, json.Unmarshal([]byte(`{
		"pue": 1.3, "dcie_pct": 76.92307692307692, "overhead_kw": 243.75, "cooling_kw": 180.5,
		"cooling_share_pct": 17.08875739644970, "delta_t_c": 11.5, "inlet_headroom_c": 0.9,
		"inlet_compliance": "within", "energy_kwh": 1056.25, "cost_usd": 124.6375, "co2e_kg": 338,
		"cue_kg_per_kwh": 0.416, "wet_bulb_c": 8.7, "wue_l_per_kwh": 0.8}`), &want))
	require.Len(t, derived, len(want))
	for name, value := range want {
		if number, ok := value.(float64); ok {
			require.InEpsilon(t, number, derived[name], 1e-12, name)
		} else {
			require.Equal(t, value, derived[name], name)
		}
	}
}

func TestRunFreeForm(t *testing.T) {
	t.Parallel()
	for _, version := range []string{``, `"schema_version":"1.0-simple",`} {
		result, err := pipeline.Run(t.Context(), []byte(`{`+version+` "IT Load (kW)": " 812.50 ", "note": " hi " }`))
		require.NoError(t, err)
		require.Equal(t, `{"normalized":{`+version+`"it_load_kw":812.50,"note":"hi"},"warnings":[]}`, string(result))
	}
}

func TestRunRefusesWrongPayloads(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ raw, pointer string }{
		"version": {`{"schema_version":"2"}`, "/schema_version"},
		"shape":   {`{"schema_version":"1.1"}`, "/request"},
		"clash":   {`{"aB":1,"a_b":2}`, "/a_b"},
		"syntax":  {`{`, ""},
		"empty":   {``, ""},
		"array":   {`[]`, ""},
		"meaning": {`{"schema_version":"1.1","request":{"time_window":{"start_utc":"2026-03-01T10:00:00Z","end_utc":"2026-03-01T11:00:00Z"},
			"assets":{"site_id":"s"},"signals":{"energy":{"it_load_kw":2,"facility_power_kw":1}},
			"constraints":{"hard":{"no_control_actions":true}}}}`, "/request/signals/energy/facility_power_kw"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result, err := pipeline.Run(t.Context(), []byte(test.raw))
			require.Nil(t, result)
			var faults payload.Faults
			require.ErrorAs(t, err, &faults)
			require.Equal(t, test.pointer, faults[0].Pointer)
		})
	}
}

// with returns the default pipeline with further steps for signals.
func with(steps ...pipeline.Step) pipeline.Pipeline {
	p := pipeline.Default()
	p.Signals = append(p.Signals, steps...)
	return p
}

func TestRunHonorsContextBetweenSteps(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	p := with(
		pipeline.Step{Name: "stop", Do: func(context.Context, *pipeline.State) error { cancel(); return nil }},
		pipeline.Step{Name: "never", Do: func(context.Context, *pipeline.State) error { panic("ran after the end") }},
	)
	_, _, err := p.Run(ctx, signals.Example())
	require.ErrorIs(t, err, context.Canceled)
	require.EqualError(t, err, "never: context canceled")
}

func TestALaterStepSeesWhatEarlierOnesLeft(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	p := with(pipeline.Step{Name: "recommend", Do: func(_ context.Context, s *pipeline.State) error {
		require.NotNil(t, s.Result.Derived)
		return broken
	}})
	_, _, err := p.Run(t.Context(), signals.Example())
	require.ErrorIs(t, err, broken)
	require.EqualError(t, err, "recommend: broken", "the error names its step")
}

func FuzzPipeline(f *testing.F) {
	f.Add(signals.Example())
	f.Add([]byte(`{"IT Load (kW)":"1e3","a":[{"b":"x"}]}`))
	f.Add([]byte(`{"schema_version":"1.1","request":{"time_window":{"start_utc":"0001-01-01T00:00:00Z","end_utc":"9999-12-31T23:59:59.9Z"},
		"assets":{"site_id":"s"},"signals":{"energy":{"it_load_kw":1e-300,"facility_power_kw":"1e300"}},
		"constraints":{"hard":{"no_control_actions":"true"}}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		result, err := pipeline.Run(context.Background(), raw)
		if err != nil {
			var faults payload.Faults
			require.ErrorAs(t, err, &faults, "with a live context only faults can go wrong")
			require.NotEmpty(t, faults)
			return
		}
		require.True(t, json.Valid(result), "%s", result) // no NaN or infinity either: JSON has none
		if checked := payload.Check(raw, payload.Limits{}); checked == nil {
			faults := payload.Check(result, payload.Limits{MaxDepth: payload.DefaultMaxDepth + 1, MaxExpanded: 2 * payload.DefaultMaxExpanded})
			require.Empty(t, faults, "what could be stored gives a result that can be stored")
		}
	})
}

func BenchmarkPipelineSignals(b *testing.B) {
	raw := compact(b, signals.Example())
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := pipeline.Run(b.Context(), raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPipelineFreeForm(b *testing.B) {
	raw := []byte(`{"Site ID":"site-1","readings":[{"IT Load (kW)":"812.5","facilityPowerKw":1056.25,"note":"  as measured "}]}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := pipeline.Run(b.Context(), raw); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAccept measures what the API does with each signals payload.
func BenchmarkAccept(b *testing.B) {
	raw := compact(b, signals.Example())
	b.ReportAllocs()
	for b.Loop() {
		if _, faults := signals.Accept(raw, payload.Limits{}); len(faults) > 0 {
			b.Fatal(faults)
		}
	}
}

func compact(b *testing.B, raw []byte) []byte {
	b.Helper()
	var v any
	require.NoError(b, json.Unmarshal(raw, &v))
	out, err := json.Marshal(v)
	require.NoError(b, err)
	return out
}
