package kpi

import "slices"

// Better says which way a figure should move.
type Better string

// The directions.
const (
	Lower   Better = "lower"
	Higher  Better = "higher"
	Neutral Better = "neutral" // it moves with the load, or tells nothing by itself
)

// KPI is the definition of one figure. The answers of the API and docs/kpis.md
// are made from this table.
type KPI struct {
	Name     string // in queries and answers; ends with the unit where there is one
	Title    string
	Unit     string // "" for a ratio without a unit
	Formula  string // in words
	Standard string // "" for none
	Needs    string // the optional values without which a reading is left out; "" for none
	Better   Better
	Decimals int  // to show; answers are not rounded
	AddsUp   bool // the figure of a range is the sum of those of its parts

	// value computes the figure; nil means that the readings do not say.
	value func(*Sums) *float64
	// seconds is the time of the readings from which it was computed.
	seconds func(*Sums) float64
}

func allSeconds(s *Sums) float64 { return s.Seconds }

func plain(get func(*Sums) float64) func(*Sums) *float64 {
	return func(s *Sums) *float64 {
		if s.Seconds == 0 {
			return nil
		}
		x := get(s)
		return &x
	}
}

func mean(get func(*Sums) *Mean) (value func(*Sums) *float64, seconds func(*Sums) float64) {
	return func(s *Sums) *float64 { return get(s).Value() }, func(s *Sums) float64 { return get(s).Seconds }
}

// Definitions lists the key figures in the order in which they are shown.
func Definitions() []KPI {
	list := []KPI{
		{
			Name: "pue", Title: "PUE", Decimals: 3, Better: Lower,
			Formula:  "facility energy / IT energy, which weights every reading with its energy; never a mean of ratios",
			Standard: "ISO/IEC 30134-2:2016; less than twelve months give an interim PUE",
			value:    func(s *Sums) *float64 { return ratio(s.FacilityKWh, s.ITKWh) }, seconds: allSeconds,
		},
		{
			Name: "dcie_pct", Title: "DCiE", Unit: "%", Decimals: 1, Better: Higher,
			Formula: "100 × IT energy / facility energy", Standard: "The Green Grid, white paper 6 (2008)",
			value: func(s *Sums) *float64 { return ratio(100*s.ITKWh, s.FacilityKWh) }, seconds: allSeconds,
		},
		{
			Name: "facility_energy_kwh", Title: "Facility energy", Unit: "kWh", Decimals: 0, AddsUp: true, Better: Neutral,
			Formula: "sum of facility power × time",
			value:   plain(func(s *Sums) float64 { return s.FacilityKWh }), seconds: allSeconds,
		},
		{
			Name: "it_energy_kwh", Title: "IT energy", Unit: "kWh", Decimals: 0, AddsUp: true, Better: Neutral,
			Formula: "sum of IT power × time",
			value:   plain(func(s *Sums) float64 { return s.ITKWh }), seconds: allSeconds,
		},
		{
			Name: "overhead_kwh", Title: "Overhead", Unit: "kWh", Decimals: 0, AddsUp: true, Better: Lower,
			Formula: "facility energy − IT energy",
			value:   plain(func(s *Sums) float64 { return s.FacilityKWh - s.ITKWh }), seconds: allSeconds,
		},
		{
			Name: "cooling_share_pct", Title: "Cooling share", Unit: "%", Decimals: 1, Better: Lower,
			Formula: "100 × energy of chillers and fans / facility energy of the same readings", Needs: "chiller_kw and fan_power_kw",
			value: func(s *Sums) *float64 { return ratio(100*s.CoolingKWh, s.CoolingFacilityKWh) }, seconds: func(s *Sums) float64 { return s.CoolingSeconds },
		},
		{
			Name: "co2e_kg", Title: "CO2e", Unit: "kg", Decimals: 0, AddsUp: true, Better: Neutral,
			Formula:  "sum of facility energy × carbon intensity, location-based, as reported by the site",
			Standard: "GHG Protocol Scope 2 Guidance (2015)", Needs: "carbon_intensity_gco2_per_kwh",
			value: func(s *Sums) *float64 { return over(s.CarbonKg, s.CarbonSeconds) }, seconds: func(s *Sums) float64 { return s.CarbonSeconds },
		},
		{
			Name: "cue_kg_per_kwh", Title: "CUE", Unit: "kg/kWh", Decimals: 3, Better: Lower,
			Formula: "CO2e / IT energy of the same readings", Standard: "ISO/IEC 30134-8:2022", Needs: "carbon_intensity_gco2_per_kwh",
			value: func(s *Sums) *float64 { return ratio(s.CarbonKg, s.CarbonITKWh) }, seconds: func(s *Sums) float64 { return s.CarbonSeconds },
		},
		{
			Name: "cost_usd", Title: "Cost", Unit: "USD", Decimals: 0, AddsUp: true, Better: Neutral,
			Formula: "sum of facility energy × price", Needs: "energy_price_usd_per_kwh",
			value: func(s *Sums) *float64 { return over(s.Cost, s.PriceSeconds) }, seconds: func(s *Sums) float64 { return s.PriceSeconds },
		},
		{
			Name: "water_l", Title: "Water", Unit: "L", Decimals: 0, AddsUp: true, Better: Neutral,
			Formula: "sum of the water used", Needs: "water_l",
			value: func(s *Sums) *float64 { return over(s.WaterL, s.WaterSeconds) }, seconds: func(s *Sums) float64 { return s.WaterSeconds },
		},
		{
			Name: "wue_l_per_kwh", Title: "WUE", Unit: "L/kWh", Decimals: 2, Better: Lower,
			Formula: "water used / IT energy of the same readings", Standard: "ISO/IEC 30134-9:2022", Needs: "water_l",
			value: func(s *Sums) *float64 { return ratio(s.WaterL, s.WaterITKWh) }, seconds: func(s *Sums) float64 { return s.WaterSeconds },
		},
		{
			Name: "inlet_compliance_pct", Title: "Inlet compliance", Unit: "%", Decimals: 1, Better: Higher,
			Formula:  "100 × time with a 95th percentile of the rack inlet temperatures from 18 to 27 °C / time with such a value",
			Standard: "ASHRAE TC 9.9, recommended range of classes A1 to A4", Needs: "p95_rack_inlet_c",
			value: func(s *Sums) *float64 { return ratio(100*s.InletWithinSeconds, s.InletSeconds) }, seconds: inletSeconds,
		},
		{
			Name: "inlet_below_pct", Title: "Inlet too cold", Unit: "%", Decimals: 1, Better: Lower,
			Formula: "100 × time below 18 °C / time with a value", Needs: "p95_rack_inlet_c",
			value: func(s *Sums) *float64 { return ratio(100*s.InletBelowSeconds, s.InletSeconds) }, seconds: inletSeconds,
		},
		{
			Name: "inlet_above_pct", Title: "Inlet too warm", Unit: "%", Decimals: 1, Better: Lower,
			Formula: "100 × time above 27 °C / time with a value", Needs: "p95_rack_inlet_c",
			value: func(s *Sums) *float64 { return ratio(100*s.InletAboveSeconds, s.InletSeconds) }, seconds: inletSeconds,
		},
		{
			Name: "inlet_max_c", Title: "Worst inlet", Unit: "°C", Decimals: 1, Better: Lower,
			Formula: "highest 95th percentile of the rack inlet temperatures", Needs: "p95_rack_inlet_c",
			value: func(s *Sums) *float64 { return s.InletMaxC }, seconds: inletSeconds,
		},
		{
			Name: "inlet_headroom_k", Title: "Inlet headroom", Unit: "K", Decimals: 1, Better: Higher,
			Formula: "smallest difference between the limit of the request and its 95th percentile; negative when the limit was exceeded",
			Needs:   "p95_rack_inlet_c and max_rack_inlet_p95_c",
			value:   func(s *Sums) *float64 { return s.HeadroomMinK }, seconds: func(s *Sums) float64 { return s.HeadroomSeconds },
		},
		{
			Name: "it_load_max_kw", Title: "Highest IT load", Unit: "kW", Decimals: 1, Better: Neutral,
			Formula: "highest average IT power of one reading",
			value:   func(s *Sums) *float64 { return s.ITMaxKW }, seconds: allSeconds,
		},
	}
	for _, m := range []struct {
		name, title, unit, needs string
		get                      func(*Sums) *Mean
	}{
		{"avg_rack_inlet_c", "Average inlet", "°C", "avg_rack_inlet_c", func(s *Sums) *Mean { return &s.AvgInlet }},
		{"supply_temp_c", "Supply air", "°C", "supply_temp_c", func(s *Sums) *Mean { return &s.Supply }},
		{"return_temp_c", "Return air", "°C", "return_temp_c", func(s *Sums) *Mean { return &s.Return }},
		{"cooling_setpoint_c", "Cooling setpoint", "°C", "cooling_setpoint_c", func(s *Sums) *Mean { return &s.Setpoint }},
		{"cpu_util_pct", "CPU utilization", "%", "cpu_util_avg", func(s *Sums) *Mean { return &s.CPU }},
		{"gpu_util_pct", "GPU utilization", "%", "gpu_util_avg", func(s *Sums) *Mean { return &s.GPU }},
		{"queue_depth", "Queue depth", "", "queue_depth", func(s *Sums) *Mean { return &s.QueueDepth }},
		{"tokens_per_watt", "Tokens per watt", "1/W", "tokens_per_watt_est", func(s *Sums) *Mean { return &s.TokensPerWatt }},
		{"outdoor_dry_bulb_c", "Outdoor temperature", "°C", "outdoor_dry_bulb_c", func(s *Sums) *Mean { return &s.DryBulb }},
		{"outdoor_wet_bulb_c", "Outdoor wet bulb", "°C", "outdoor_wet_bulb_c", func(s *Sums) *Mean { return &s.WetBulb }},
	} {
		k := KPI{Name: m.name, Title: m.title, Unit: m.unit, Decimals: 1, Better: Neutral, Formula: "mean over time", Needs: m.needs}
		k.value, k.seconds = mean(m.get)
		list = append(list, k)
	}
	return list
}

func inletSeconds(s *Sums) float64 { return s.InletSeconds }

// over returns the sum, or nil when no reading contributes.
func over(sum, seconds float64) *float64 {
	if seconds == 0 {
		return nil
	}
	return &sum
}

// Named returns the definition of a figure.
func Named(name string) (KPI, bool) {
	list := Definitions()
	i := slices.IndexFunc(list, func(k KPI) bool { return k.Name == name })
	if i < 0 {
		return KPI{}, false
	}
	return list[i], true
}

// Quality says how far a figure can be trusted.
type Quality string

// The qualities. A figure that would rest on less than half of its time is
// withheld.
const (
	Complete   Quality = "complete"   // at least 90 % of the time
	Partial    Quality = "partial"    // at least 50 %
	NotEnough  Quality = "not enough" // less; there is no figure
	completeAt         = 90.0
	partialAt          = 50.0
)

// Figure is a key figure of a time. It is computed from the readings that there
// are: nothing is scaled up or interpolated.
type Figure struct {
	Value           *float64 // nil: there is no reading with what it needs, or not enough of them
	CompletenessPct float64  // time of the readings with what it needs / time asked for up to now; 0 to 100
	Quality         Quality
}

// Compute computes the figure of a time. covered is the time that at least one
// reading covers, and wanted the time that readings should cover, both in
// seconds. Readings of several clusters at the same time do not make a time more
// complete.
func (k *KPI) Compute(s *Sums, covered, wanted float64) Figure {
	f := Figure{Quality: NotEnough}
	if wanted <= 0 || s.Seconds == 0 {
		return f
	}
	f.CompletenessPct = min(100, 100*covered/wanted*k.seconds(s)/s.Seconds)
	switch {
	case f.CompletenessPct >= completeAt:
		f.Quality = Complete
	case f.CompletenessPct >= partialAt:
		f.Quality = Partial
	default:
		return f
	}
	if f.Value = k.value(s); f.Value == nil {
		f.Quality = NotEnough
	}
	return f
}
