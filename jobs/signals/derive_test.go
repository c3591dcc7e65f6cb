package signals

import (
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDeriveExample(t *testing.T) {
	t.Parallel()
	derived, warnings := Derive(decoded(t, Example()))
	require.Equal(t, []Warning{}, warnings)
	const exact = 1e-12
	require.InEpsilon(t, 1056.25/812.5, *derived.PUE, exact)
	require.InEpsilon(t, 100/1.3, *derived.DCiEPct, exact)
	require.InEpsilon(t, 243.75, *derived.OverheadKW, exact)
	require.InEpsilon(t, 180.5, *derived.CoolingKW, exact)
	require.InEpsilon(t, 17.0887573964497, *derived.CoolingSharePct, exact)
	require.InEpsilon(t, 11.5, *derived.DeltaTC, exact)
	require.InEpsilon(t, 0.9, *derived.InletHeadroomC, exact)
	require.Equal(t, "within", *derived.InletCompliance)
	require.InEpsilon(t, 1056.25, *derived.EnergyKWh, exact)
	require.InEpsilon(t, 124.6375, *derived.CostUSD, exact)
	require.InEpsilon(t, 338.0, *derived.CO2eKg, exact)
	require.InEpsilon(t, 0.416, *derived.CUEKgPerKWh, exact)
	require.InEpsilon(t, 8.7, *derived.WetBulbC, exact)
	require.InEpsilon(t, 0.8, *derived.WUELPerKWh, exact)
}

func TestDeriveMinimal(t *testing.T) {
	t.Parallel()
	raw := edit(t, minimal, "/request/time_window/end_utc", `"2026-03-01T11:45:00.5+01:00"`) // 45 min 0.5 s
	derived, warnings := Derive(decoded(t, raw))
	require.InEpsilon(t, 1.5, *derived.PUE, 1e-12)
	require.InEpsilon(t, 150*2700.5/3600, *derived.EnergyKWh, 1e-12)

	known := 0
	for _, figure := range reflect.ValueOf(derived).Fields() {
		if !figure.IsNil() {
			known++
		}
	}
	require.Equal(t, 4, known, "pue, dcie_pct, overhead_kw and energy_kwh")
	require.Equal(t, []Warning{
		{"/request/signals/energy/energy_price_usd_per_kwh", "is absent, so cost_usd is unknown"},
		{"/request/signals/energy/carbon_intensity_gco2_per_kwh", "is absent, so co2e_kg and cue_kg_per_kwh are unknown"},
		{"/request/signals/cooling/chiller_kw", "is absent, so cooling_kw and cooling_share_pct are unknown"},
		{"/request/signals/cooling/fan_power_kw", "is absent, so cooling_kw and cooling_share_pct are unknown"},
		{"/request/signals/thermal/supply_temp_c", "is absent, so delta_t_c is unknown"},
		{"/request/signals/thermal/return_temp_c", "is absent, so delta_t_c is unknown"},
		{"/request/signals/thermal/p95_rack_inlet_c", "is absent, so inlet_compliance and inlet_headroom_c are unknown"},
	}, warnings)
}

func TestDeriveWarnings(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ pointer, value, at, warning string }{
		"kWh":            {"/request/data_contract/units", `"kWh"`, "", "is kWh, but fields named _kw are read as kW"},
		"EUR":            {"/request/data_contract/currency", `"EUR"`, "", "is EUR, but energy_price_usd_per_kwh and cost_usd are read as USD"},
		"personal data":  {"/request/data_contract/no_pii", `false`, "", "is false: the payload may hold personal data, which is stored as sent"},
		"no_pii absent":  {"/request/data_contract/no_pii", ``, "", ""},
		"PUE 2 % high":   {"/request/signals/energy/pue_current", `1.3259`, "", ""},
		"PUE too high":   {"/request/signals/energy/pue_current", `1.3261`, "", "is 1.3261, more than 2 % off facility_power_kw / it_load_kw (1.3)"},
		"PUE 2 % low":    {"/request/signals/energy/pue_current", `1.2741`, "", ""},
		"PUE too low":    {"/request/signals/energy/pue_current", `1.2739`, "", "is 1.2739, more than 2 % off facility_power_kw / it_load_kw (1.3)"},
		"granularity":    {"/request/time_window/granularity_seconds", `3600`, "", ""},
		"granularity >":  {"/request/time_window/granularity_seconds", `3601`, "", "is 3601, longer than the time window (3600 s)"},
		"cooling":        {"/request/signals/cooling/chiller_kw", `1017.75`, "", ""},
		"cooling >":      {"/request/signals/cooling/chiller_kw", `1018`, "/request/signals/cooling", "takes 1056.5 kW, more than the whole facility (1056.25 kW)"},
		"no limit":       {"/request/constraints/hard/max_rack_inlet_p95_c", ``, "", "is absent, so inlet_headroom_c is unknown"},
		"chiller absent": {"/request/signals/cooling/chiller_kw", ``, "", "is absent, so cooling_kw and cooling_share_pct are unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, warnings := Derive(decoded(t, edit(t, string(Example()), test.pointer, test.value)))
			want := []Warning{}
			if test.warning != "" {
				want = append(want, Warning{test.pointer, test.warning})
				if test.at != "" {
					want[0].Pointer = test.at
				}
			}
			require.Equal(t, want, warnings)
		})
	}
}

// The wet-bulb temperature is derived where it was not measured. The expected
// temperatures were computed apart from the product.
func TestDeriveWetBulb(t *testing.T) {
	t.Parallel()
	const at = "/request/signals/weather/"
	unknown := func(field string) Warning { return Warning{at + field, "is absent, so wet_bulb_c is unknown"} }
	seaLevel := Warning{at + "pressure_hpa", "is absent, so wet_bulb_c is that at the pressure of sea level (1013.25 hPa)"}
	none := Warning{"/request/signals/weather", "has no wet-bulb temperature: outdoor_dry_bulb_c is not from -80 to 100 °C, or water boils at that pressure"}
	for weather, want := range map[string]struct {
		wetBulbC float64 // 0: none
		warnings []Warning
	}{
		`{}`:                           {0, []Warning{}},
		`{"outdoor_wet_bulb_c":7.25}`:  {7.25, []Warning{}},
		`{"outdoor_dry_bulb_c":20}`:    {0, []Warning{unknown("relative_humidity_pct")}},
		`{"relative_humidity_pct":50}`: {0, []Warning{unknown("outdoor_dry_bulb_c")}},
		`{"pressure_hpa":990}`:         {0, []Warning{unknown("outdoor_dry_bulb_c"), unknown("relative_humidity_pct")}},
		`{"outdoor_dry_bulb_c":20,"relative_humidity_pct":50}`:                                                   {13.79, []Warning{seaLevel}},
		`{"outdoor_dry_bulb_c":30,"relative_humidity_pct":67.41,"pressure_hpa":954.61}`:                          {25, []Warning{}},
		`{"outdoor_dry_bulb_c":20,"relative_humidity_pct":50,"pressure_hpa":1013.25,"outdoor_wet_bulb_c":13}`:    {13, []Warning{}},
		`{"outdoor_dry_bulb_c":120,"relative_humidity_pct":5,"pressure_hpa":1013}`:                               {0, []Warning{none}},
		`{"outdoor_dry_bulb_c":10,"outdoor_wet_bulb_c":10.4,"relative_humidity_pct":100,"pressure_hpa":1013.25}`: {10.4, []Warning{{at + "outdoor_wet_bulb_c", "is 10.4, above outdoor_dry_bulb_c (10)"}}},
	} {
		doc := decoded(t, edit(t, string(Example()), "/request/signals/weather", weather))
		require.Empty(t, Validate(doc), weather)
		derived, warnings := Derive(doc)
		require.Equal(t, want.warnings, warnings, weather)
		if want.wetBulbC == 0 {
			require.Nil(t, derived.WetBulbC, weather)
			continue
		}
		require.NotNil(t, derived.WetBulbC, weather)
		require.InDelta(t, want.wetBulbC, *derived.WetBulbC, 0.05, weather)
	}
}

func TestInletCompliance(t *testing.T) {
	t.Parallel()
	for c, want := range map[float64]string{17.9: "below", 18: "within", 22: "within", 27: "within", 27.1: "above", -5: "below"} {
		require.Equal(t, want, inletCompliance(c), "%v °C", c)
	}
}

func TestDeriveNeverLeavesFloat64(t *testing.T) {
	t.Parallel()
	for _, energy := range []string{
		`{"it_load_kw":1e-300,"facility_power_kw":1e300,"energy_price_usd_per_kwh":1e300,"carbon_intensity_gco2_per_kwh":1e300}`,
		`{"it_load_kw":0,"facility_power_kw":0}`, // as if Validate had not run
		`{"it_load_kw":1.7e308,"facility_power_kw":1.7e308}`,
	} {
		raw := edit(t, minimal, "/request/signals/energy", energy)
		raw = edit(t, string(raw), "/request/signals/cooling", `{"chiller_kw":1.7e308,"fan_power_kw":1.7e308}`)
		raw = edit(t, string(raw), "/request/time_window/end_utc", `"9999-12-31T23:59:59Z"`)
		derived, warnings := Derive(decoded(t, raw))
		require.Nil(t, derived.CoolingKW)
		require.Contains(t, warnings, Warning{"/request/signals", "hold values too large or too small to compute cooling_kw"})
		require.True(t, strings.HasPrefix(energy, `{"it_load_kw":1.7e308`) == (derived.PUE != nil))
	}
}
