package signals

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
)

func decoded(t testing.TB, raw []byte) *Document {
	t.Helper()
	doc, faults := Decode(raw)
	require.Empty(t, faults)
	return doc
}

func TestValidateRanges(t *testing.T) {
	t.Parallel()
	type test struct{ pointer, good, bad, detail string }
	var tests []test
	for _, pointer := range []string{
		"/request/signals/energy/ups_efficiency_pct", "/request/signals/cooling/cooling_valve_position_pct",
		"/request/signals/workload/cpu_util_avg", "/request/signals/workload/gpu_util_avg",
		"/request/signals/workload/job_mix/batch_pct", "/request/signals/workload/job_mix/latency_sensitive_pct",
	} {
		tests = append(tests, test{pointer, "0", "-0.001", "must be between 0 and 100, got -0.001"},
			test{pointer, "100", "100.001", "must be between 0 and 100, got 100.001"})
	}
	for _, pointer := range []string{"/request/data_contract/quality_flags/max_missing_ratio", "/request/constraints/soft/max_risk_score"} {
		tests = append(tests, test{pointer, "0", "-0.001", "must be between 0 and 1, got -0.001"},
			test{pointer, "1", "1.001", "must be between 0 and 1, got 1.001"})
	}
	for _, pointer := range []string{
		"/request/data_contract/quality_flags/max_staleness_seconds", "/request/signals/energy/carbon_intensity_gco2_per_kwh",
		"/request/signals/energy/energy_price_usd_per_kwh", "/request/signals/thermal/hotspot_rack_count",
		"/request/signals/cooling/chiller_kw", "/request/signals/cooling/fan_power_kw", "/request/signals/workload/queue_depth",
		"/request/signals/workload/tokens_per_watt_est", "/request/constraints/hard/max_setpoint_change_c",
		"/request/constraints/hard/max_hotspot_rack_count",
	} {
		tests = append(tests, test{pointer, "0", "-1e-9", "must be ≥ 0, got -1e-9"}, test{pointer, "1e300", "-1", "must be ≥ 0, got -1"})
	}
	for _, pointer := range []string{
		"/request/timeout_ms", "/request/service_level_objective_ms", "/request/time_window/granularity_seconds",
		"/request/preferences/recommendation_horizon_minutes",
	} {
		tests = append(tests, test{pointer, "0.5", "0", "must be > 0, got 0"}, test{pointer, "1", "-1", "must be > 0, got -1"})
	}
	for _, pointer := range []string{
		"/request/signals/thermal/avg_rack_inlet_c", "/request/signals/thermal/p95_rack_inlet_c",
		"/request/signals/thermal/supply_temp_c", "/request/signals/thermal/return_temp_c",
		"/request/signals/cooling/cooling_setpoint_c", "/request/constraints/hard/max_rack_inlet_p95_c",
	} {
		tests = append(tests, test{pointer, "-273.15", "-273.16", "must be ≥ -273.15, got -273.16"})
	}
	tests = append(tests,
		test{"/request/preferences/top_k", "1", "0", "must be ≥ 1, got 0"},
		test{"/request/preferences/top_k", "1e1", "1.5", "must be a whole number, got 1.5"},
		test{"/request/signals/energy/pue_current", "-1", "", ""}, // far off facility/IT: a warning
	)
	for _, test := range tests {
		t.Run(test.pointer+" "+test.bad, func(t *testing.T) {
			t.Parallel()
			require.Empty(t, Validate(decoded(t, edit(t, minimal, test.pointer, test.good))))
			if test.bad != "" {
				require.Equal(t, payload.Faults{{Pointer: test.pointer, Detail: test.detail}},
					Validate(decoded(t, edit(t, minimal, test.pointer, test.bad))))
			}
		})
	}
}

func TestValidateRules(t *testing.T) {
	t.Parallel()
	const control = "/request/constraints/hard/no_control_actions"
	for name, test := range map[string]struct {
		edits           [][2]string // pointer, value
		pointer, detail string      // of the one fault; no detail means valid
	}{
		"minimal":               {},
		"site blank":            {[][2]string{{"/request/assets/site_id", `" \u2003"`}}, "/request/assets/site_id", "must not be blank"},
		"facility equals IT":    {[][2]string{{"/request/signals/energy/facility_power_kw", `100.0`}}, "", ""},
		"facility below IT":     {[][2]string{{"/request/signals/energy/facility_power_kw", `"99.99"`}}, "/request/signals/energy/facility_power_kw", "must be ≥ it_load_kw (100), got 99.99"},
		"no IT load":            {[][2]string{{"/request/signals/energy/it_load_kw", `0`}}, "/request/signals/energy/it_load_kw", "must be > 0, got 0"},
		"negative IT load":      {[][2]string{{"/request/signals/energy/it_load_kw", `-1`}}, "/request/signals/energy/it_load_kw", "must be > 0, got -1"},
		"p95 equals average":    {[][2]string{{"/request/signals/thermal", `{"avg_rack_inlet_c":24,"p95_rack_inlet_c":24.0}`}}, "", ""},
		"p95 below average":     {[][2]string{{"/request/signals/thermal", `{"avg_rack_inlet_c":24,"p95_rack_inlet_c":23.9}`}}, "/request/signals/thermal/p95_rack_inlet_c", "must be ≥ avg_rack_inlet_c (24), got 23.9"},
		"return equals supply":  {[][2]string{{"/request/signals/thermal", `{"supply_temp_c":20,"return_temp_c":20}`}}, "", ""},
		"return below supply":   {[][2]string{{"/request/signals/thermal", `{"supply_temp_c":-1,"return_temp_c":-2}`}}, "/request/signals/thermal/return_temp_c", "must be ≥ supply_temp_c (-1), got -2"},
		"window of no length":   {[][2]string{{"/request/time_window/end_utc", `"2026-03-01T11:00:00+01:00"`}}, "/request/time_window/end_utc", "must be after start_utc (2026-03-01T10:00:00Z), got 2026-03-01T11:00:00+01:00"},
		"window backwards":      {[][2]string{{"/request/time_window/end_utc", `"2026-03-01T09:59:59Z"`}}, "/request/time_window/end_utc", "must be after start_utc (2026-03-01T10:00:00Z), got 2026-03-01T09:59:59Z"},
		"window of 1 ns":        {[][2]string{{"/request/time_window/end_utc", `"2026-03-01T10:00:00.000000001Z"`}}, "", ""},
		"mix at 100.5":          {[][2]string{{"/request/signals/workload/job_mix", `{"batch_pct":60.2,"latency_sensitive_pct":40.3}`}}, "", ""},
		"mix at 99.5":           {[][2]string{{"/request/signals/workload/job_mix", `{"batch_pct":60,"latency_sensitive_pct":39.5}`}}, "", ""},
		"mix above":             {[][2]string{{"/request/signals/workload/job_mix", `{"batch_pct":60,"latency_sensitive_pct":41}`}}, "/request/signals/workload/job_mix", "must sum to 100 ± 0.5, got 60 + 41 = 101"},
		"mix below":             {[][2]string{{"/request/signals/workload/job_mix", `{"batch_pct":60,"latency_sensitive_pct":39}`}}, "/request/signals/workload/job_mix", "must sum to 100 ± 0.5, got 60 + 39 = 99"},
		"mix of one":            {[][2]string{{"/request/signals/workload/job_mix", `{"batch_pct":60}`}}, "", ""},
		"weights":               {[][2]string{{"/request/preferences/objective_weights", `{"energy":0,"thermal_risk":0.1}`}}, "", ""},
		"weights sum to 0":      {[][2]string{{"/request/preferences/objective_weights", `{"energy":0,"thermal_risk":0}`}}, "/request/preferences/objective_weights", "must have a positive sum, got 0"},
		"weight negative":       {[][2]string{{"/request/preferences/objective_weights", `{"energy":2,"workload_efficiency":-1}`}}, "/request/preferences/objective_weights/workload_efficiency", "must be ≥ 0, got -1"},
		"control not denied":    {[][2]string{{control, ``}}, control, "must be true in shadow mode, but is absent"},
		"control allowed":       {[][2]string{{control, `false`}, {"/request/mode", `"shadow"`}}, control, "must be true in shadow mode, got false"},
		"control as a string":   {[][2]string{{control, `"true"`}}, "", ""},
		"prod SLO at 5000":      {[][2]string{{"/request/environment", `"prod"`}, {"/request/service_level_objective_ms", `5000`}}, "", ""},
		"prod SLO above":        {[][2]string{{"/request/environment", `"prod"`}, {"/request/service_level_objective_ms", `5000.5`}}, "/request/service_level_objective_ms", "must be ≤ 5000 in prod, got 5000.5"},
		"prod without SLO":      {[][2]string{{"/request/environment", `"prod"`}}, "", ""},
		"staging SLO above":     {[][2]string{{"/request/environment", `"staging"`}, {"/request/service_level_objective_ms", `60000`}}, "", ""},
		"granularity of a year": {[][2]string{{"/request/time_window/granularity_seconds", `31536000`}}, "", ""}, // a warning
		"personal data":         {[][2]string{{"/request/data_contract/no_pii", `false`}}, "", ""},               // a warning
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw := []byte(minimal)
			for _, e := range test.edits {
				raw = edit(t, string(raw), e[0], e[1])
			}
			faults := Validate(decoded(t, raw))
			if test.detail == "" {
				require.Empty(t, faults)
				return
			}
			require.Equal(t, payload.Faults{{Pointer: test.pointer, Detail: test.detail}}, faults)
		})
	}
}

func TestValidateReportsEverything(t *testing.T) {
	t.Parallel()
	raw := edit(t, minimal, "/request/signals/energy", `{"it_load_kw":-5,"facility_power_kw":-6,"ups_efficiency_pct":101}`)
	raw = edit(t, string(raw), "/request/constraints", ``)
	faults := Validate(decoded(t, raw))
	var pointers []string
	for _, fault := range faults {
		pointers = append(pointers, fault.Pointer)
	}
	require.Equal(t, []string{
		"/request/signals/energy/it_load_kw", "/request/signals/energy/facility_power_kw",
		"/request/signals/energy/ups_efficiency_pct", "/request/constraints/hard/no_control_actions",
		"/request/signals/energy/facility_power_kw",
	}, pointers)
}
