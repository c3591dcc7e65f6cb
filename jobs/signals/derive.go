package signals

import (
	"fmt"
	"math"
)

// Range of rack inlet temperatures that ASHRAE TC 9.9 recommends (Thermal Guidelines for Data Processing Environments,
// classes A1–A4), in °C.
const (
	ashraeLowC  = 18.0
	ashraeHighC = 27.0
)

// pueTolerance is how far a reported PUE may be from the derived one, relative, before a warning.
const pueTolerance = 0.02

// Derived holds the figures derived from a document: plain float64, rounded nowhere, never NaN or infinite. A figure is
// null when an input is absent, and a warning names that input.
type Derived struct {
	PUE             *float64 `json:"pue" doc:"Power usage effectiveness, facility/IT (ISO/IEC 30134-2); of the window's powers, not of a year"`
	DCiEPct         *float64 `json:"dcie_pct" doc:"Data center infrastructure efficiency, IT/facility, in %"`
	OverheadKW      *float64 `json:"overhead_kw" doc:"Facility power that is not IT power, in kW"`
	CoolingKW       *float64 `json:"cooling_kw" doc:"Chillers and fans, in kW"`
	CoolingSharePct *float64 `json:"cooling_share_pct" doc:"Cooling's share of the facility's power, in %"`
	DeltaTC         *float64 `json:"delta_t_c" doc:"Return minus supply air, in K"`
	InletHeadroomC  *float64 `json:"inlet_headroom_c" doc:"Highest allowed minus actual 95th percentile of the rack inlets, in K; negative when exceeded"`
	InletCompliance *string  `json:"inlet_compliance" enum:"below,within,above" doc:"95th percentile of the rack inlets against ASHRAE TC 9.9's recommended 18–27 °C"`
	EnergyKWh       *float64 `json:"energy_kwh" doc:"Energy of the facility over the time window, in kWh"`
	CostUSD         *float64 `json:"cost_usd" doc:"Price of that energy, in USD"`
	CO2eKg          *float64 `json:"co2e_kg" doc:"Emissions of that energy, in kg CO2e"`
	CUEKgPerKWh     *float64 `json:"cue_kg_per_kwh" doc:"Carbon usage effectiveness, in kg CO2e per kWh of IT energy (The Green Grid): carbon intensity × PUE"`
}

// Warning is something odd in a document that is no reason to refuse it.
type Warning struct {
	Pointer string `json:"pointer" doc:"RFC 6901 JSON pointer from the payload's root" example:"/request/signals/energy/pue_current"`
	Detail  string `json:"detail" doc:"What is odd there" example:"is absent, so cost_usd is unknown"`
}

// Derive computes the figures of a document that passed Validate, and collects the warnings: inputs that are absent,
// and statements of the document that contradict its figures. The warnings are never nil.
func Derive(d *Document) (Derived, []Warning) {
	x := deriver{warnings: []Warning{}, figures: new(figures)}
	x.dataContract(&d.Request.DataContract)
	x.energy(&d.Request)
	x.cooling(&d.Request.Signals)
	x.thermal(&d.Request)
	return x.out, x.warnings
}

type deriver struct {
	out      Derived
	figures  *figures
	warnings []Warning
}

// figures is the memory that the pointers of one Derived point to.
type figures struct {
	values     [11]float64
	taken      int // of values
	compliance string
}

// input is a field that figures are computed from.
type input struct {
	pointer string
	Number
}

func (x *deriver) dataContract(c *DataContract) {
	if c.Units == UnitsKWh {
		x.warn("/request/data_contract/units", "is kWh, but fields named _kw are read as kW")
	}
	if c.Currency == CurrencyEUR {
		x.warn("/request/data_contract/currency", "is EUR, but energy_price_usd_per_kwh and cost_usd are read as USD")
	}
	if c.NoPII.Given() && !c.NoPII.True() {
		x.warn("/request/data_contract/no_pii", "is false: the payload may hold personal data, which is stored as sent")
	}
}

func (x *deriver) energy(r *Request) {
	const at = "/request/signals/energy/"
	e := &r.Signals.Energy
	price := input{at + "energy_price_usd_per_kwh", e.EnergyPriceUSDPerKWh}
	carbon := input{at + "carbon_intensity_gco2_per_kwh", e.CarbonIntensityGCO2PerKWh}

	it, facility := e.ITLoadKW.Float(), e.FacilityPowerKW.Float()
	pue := facility / it
	x.out.PUE = x.figure("pue", pue)
	x.out.DCiEPct = x.figure("dcie_pct", 100*(it/facility))
	x.out.OverheadKW = x.figure("overhead_kw", facility-it)
	if reported := e.PUECurrent; reported.Given() && math.Abs(reported.Float()-pue) > pueTolerance*pue {
		x.warn(at+"pue_current", "is %s, more than 2 %% off facility_power_kw / it_load_kw (%v)", reported, pue)
	}

	start, end := r.TimeWindow.StartUTC.Instant(), r.TimeWindow.EndUTC.Instant()
	seconds := float64(end.Unix()-start.Unix()) + float64(end.Nanosecond()-start.Nanosecond())/1e9
	if granularity := r.TimeWindow.GranularitySeconds; granularity.Float() > seconds {
		x.warn("/request/time_window/granularity_seconds", "is %s, longer than the time window (%v s)", granularity, seconds)
	}
	energy := facility * (seconds / 3600)
	x.out.EnergyKWh = x.figure("energy_kwh", energy)
	if x.have("cost_usd is unknown", price) {
		x.out.CostUSD = x.figure("cost_usd", energy*price.Float())
	}
	if x.have("co2e_kg and cue_kg_per_kwh are unknown", carbon) {
		kgPerKWh := carbon.Float() / 1000
		x.out.CO2eKg = x.figure("co2e_kg", energy*kgPerKWh)
		x.out.CUEKgPerKWh = x.figure("cue_kg_per_kwh", kgPerKWh*pue)
	}
}

func (x *deriver) cooling(s *Signals) {
	const at = "/request/signals/cooling/"
	chiller := input{at + "chiller_kw", s.Cooling.ChillerKW}
	fans := input{at + "fan_power_kw", s.Cooling.FanPowerKW}
	if !x.have("cooling_kw and cooling_share_pct are unknown", chiller, fans) {
		return
	}
	cooling, facility := chiller.Float()+fans.Float(), s.Energy.FacilityPowerKW.Float()
	x.out.CoolingKW = x.figure("cooling_kw", cooling)
	x.out.CoolingSharePct = x.figure("cooling_share_pct", 100*(cooling/facility))
	if cooling > facility {
		x.warn("/request/signals/cooling", "takes %v kW, more than the whole facility (%v kW)", cooling, facility)
	}
}

func (x *deriver) thermal(r *Request) {
	const at = "/request/signals/thermal/"
	t := &r.Signals.Thermal
	supply, back := input{at + "supply_temp_c", t.SupplyTempC}, input{at + "return_temp_c", t.ReturnTempC}
	p95 := input{at + "p95_rack_inlet_c", t.P95RackInletC}
	highest := input{"/request/constraints/hard/max_rack_inlet_p95_c", r.Constraints.Hard.MaxRackInletP95C}

	if x.have("delta_t_c is unknown", supply, back) {
		x.out.DeltaTC = x.figure("delta_t_c", back.Float()-supply.Float())
	}
	if x.have("inlet_compliance and inlet_headroom_c are unknown", p95) {
		x.figures.compliance = inletCompliance(p95.Float())
		x.out.InletCompliance = &x.figures.compliance
		if x.have("inlet_headroom_c is unknown", highest) {
			x.out.InletHeadroomC = x.figure("inlet_headroom_c", highest.Float()-p95.Float())
		}
	}
}

// inletCompliance places a rack inlet temperature, in °C, in ASHRAE's recommended range, whose ends belong to it.
func inletCompliance(c float64) string {
	switch {
	case c < ashraeLowC:
		return "below"
	case c > ashraeHighC:
		return "above"
	default:
		return "within"
	}
}

// have reports whether all inputs are given, and warns of each that is not.
func (x *deriver) have(otherwise string, inputs ...input) bool {
	all := true
	for _, in := range inputs {
		if !in.Given() {
			x.warn(in.pointer, "is absent, so %s", otherwise)
			all = false
		}
	}
	return all
}

// figure returns a figure, or nil and a warning when it left the range of float64 (or its inputs did not pass Validate).
func (x *deriver) figure(name string, value float64) *float64 {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		x.warn("/request/signals", "hold values too large or too small to compute %s", name)
		return nil
	}
	place := &x.figures.values[x.figures.taken]
	x.figures.taken++
	*place = value
	return place
}

func (x *deriver) warn(pointer, format string, args ...any) {
	x.warnings = append(x.warnings, Warning{Pointer: pointer, Detail: fmt.Sprintf(format, args...)})
}
