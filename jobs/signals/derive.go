package signals

import (
	"fmt"
	"math"

	"github.com/leomutto/pilot-in-a-box/jobs/psychro"
)

// The range of rack inlet temperatures that ASHRAE TC 9.9 recommends (Thermal
// Guidelines for Data Processing Environments, classes A1–A4), in °C.
const (
	ashraeLowC  = 18.0
	ashraeHighC = 27.0
)

// pueTolerance is the relative difference between the reported and the derived
// PUE above which there is a warning.
const pueTolerance = 0.02

// Derived holds the figures that are derived from a document. They are not
// rounded, and never NaN or infinite. A figure is null if an input is absent,
// and a warning names that input, unless all of weather, or all of water, is absent.
type Derived struct {
	PUE             *float64 `json:"pue" doc:"Power usage effectiveness, facility power / IT power (ISO/IEC 30134-2), averaged over the time window rather than a year"`
	DCiEPct         *float64 `json:"dcie_pct" doc:"Data center infrastructure efficiency, IT/facility, in %"`
	OverheadKW      *float64 `json:"overhead_kw" doc:"Facility power minus IT power, in kW"`
	CoolingKW       *float64 `json:"cooling_kw" doc:"Power of chillers and fans, in kW"`
	CoolingSharePct *float64 `json:"cooling_share_pct" doc:"Share of cooling in the facility power, in %"`
	DeltaTC         *float64 `json:"delta_t_c" doc:"Return air temperature minus supply air temperature, in K"`
	InletHeadroomC  *float64 `json:"inlet_headroom_c" doc:"Highest allowed minus actual 95th percentile of the rack inlet temperatures, in K; negative if exceeded"`
	InletCompliance *string  `json:"inlet_compliance" enum:"below,within,above" doc:"95th percentile of the rack inlet temperatures relative to the 18–27 °C that ASHRAE TC 9.9 recommends"`
	EnergyKWh       *float64 `json:"energy_kwh" doc:"Energy used by the facility in the time window, in kWh"`
	CostUSD         *float64 `json:"cost_usd" doc:"Cost of that energy, in USD"`
	CO2eKg          *float64 `json:"co2e_kg" doc:"Emissions caused by that energy, in kg CO2e"`
	CUEKgPerKWh     *float64 `json:"cue_kg_per_kwh" doc:"Carbon usage effectiveness, in kg CO2e per kWh of IT energy (The Green Grid): carbon intensity × PUE"`
	WetBulbC        *float64 `json:"wet_bulb_c" doc:"Outdoor wet-bulb temperature, in °C: as given, or from dry bulb, relative humidity and pressure (ASHRAE Handbook, Fundamentals 2017, chapter 1)"`
	WUELPerKWh      *float64 `json:"wue_l_per_kwh" doc:"Water usage effectiveness, in liters per kWh of IT energy (ISO/IEC 30134-9), of the time window rather than a year"`
}

// Warning describes something odd in a document that is no reason to refuse it.
type Warning struct {
	Pointer string `json:"pointer" doc:"RFC 6901 JSON pointer from the payload's root" example:"/request/signals/energy/pue_current"`
	Detail  string `json:"detail" doc:"What is odd about the value" example:"is absent, so cost_usd is unknown"`
}

// Derive computes the figures of a document that passed Validate. It warns of
// inputs that are absent and of statements in the document that contradict its
// figures. The warnings are never nil.
func Derive(d *Document) (Derived, []Warning) {
	x := deriver{warnings: []Warning{}, figures: new(figures)}
	x.dataContract(&d.Request.DataContract)
	x.energy(&d.Request)
	x.cooling(&d.Request.Signals)
	x.thermal(&d.Request)
	x.weather(&d.Request.Signals.Weather)
	x.water(&d.Request)
	return x.out, x.warnings
}

type deriver struct {
	out      Derived
	figures  *figures
	warnings []Warning
}

// figures holds the values that the pointers of one Derived refer to, in one
// allocation.
type figures struct {
	values     [13]float64
	taken      int // number of values in use
	compliance string
}

// input is a field from which figures are computed.
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

	seconds := r.TimeWindow.seconds()
	if granularity := r.TimeWindow.GranularitySeconds; granularity.Float() > seconds {
		x.warn("/request/time_window/granularity_seconds", "is %s, longer than the time window (%v s)", granularity, seconds)
	}
	energy := facility * r.TimeWindow.Hours()
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

func (x *deriver) weather(w *Weather) {
	const at = "/request/signals/weather/"
	dry, humidity := input{at + "outdoor_dry_bulb_c", w.OutdoorDryBulbC}, input{at + "relative_humidity_pct", w.RelativeHumidityPct}
	switch {
	case *w == (Weather{}):
	case w.OutdoorWetBulbC.Given():
		x.out.WetBulbC = x.figure("wet_bulb_c", w.OutdoorWetBulbC.Float())
		if dry.Given() && w.OutdoorWetBulbC.Float() > dry.Float() {
			x.warn(at+"outdoor_wet_bulb_c", "is %s, above outdoor_dry_bulb_c (%s)", w.OutdoorWetBulbC, w.OutdoorDryBulbC)
		}
	case x.have("wet_bulb_c is unknown", dry, humidity):
		pressure := psychro.SeaLevelHPa
		if w.PressureHPa.Given() {
			pressure = w.PressureHPa.Float()
		} else {
			x.warn(at+"pressure_hpa", "is absent, so wet_bulb_c is that at the pressure of sea level (%v hPa)", pressure)
		}
		if wetBulb, ok := psychro.WetBulb(dry.Float(), humidity.Float(), pressure); ok {
			x.out.WetBulbC = x.figure("wet_bulb_c", wetBulb)
		} else {
			x.warn("/request/signals/weather", "has no wet-bulb temperature: outdoor_dry_bulb_c is not from %v to %v °C, or water boils at that pressure",
				psychro.LowestC, psychro.HighestC)
		}
	}
}

func (x *deriver) water(r *Request) {
	if water := r.Signals.Water.WaterL; water.Given() {
		x.out.WUELPerKWh = x.figure("wue_l_per_kwh", water.Float()/(r.Signals.Energy.ITLoadKW.Float()*r.TimeWindow.Hours()))
	}
}

// inletCompliance compares a rack inlet temperature, in °C, with ASHRAE's
// recommended range, which includes its ends.
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

// have reports whether all inputs are present, and warns of each that is not.
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

// figure returns a pointer to the value. If the value left the range of
// float64, or its inputs did not pass Validate, it returns nil and adds a
// warning.
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
