package kpi

import (
	"math"
	"reflect"
	"slices"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

// Asset names what was measured. A part that a payload does not name is "".
type Asset struct {
	Site     string `db:"site"`
	Facility string `db:"facility"`
	Cluster  string `db:"cluster"`
	Zone     string `db:"zone"`
}

// OfSite reports whether the asset is the site itself or a part of it that is no
// cluster. Such readings count for the site; those of its clusters stand in for
// them where there are none.
func (a Asset) OfSite() bool { return a.Cluster == "" }

// Reading is what one signals request says about one asset in one time window.
type Reading struct {
	RequestID int64 `db:"request_id"`
	Asset
	From     time.Time `db:"start_at"` // the window is [From, To)
	To       time.Time `db:"end_at"`
	Accepted time.Time `db:"accepted_at"` // when the request was stored; the later of two readings is a correction
	Values
	Warnings int `db:"warnings"` // of the derived figures
}

// Window is the time that the reading is about.
func (r *Reading) Window() Range { return Range{From: r.From, To: r.To} }

// Values are the numbers of a reading: averages over its window. A nil value
// was not given.
type Values struct {
	ITLoadKW         float64  `db:"it_load_kw"`
	FacilityKW       float64  `db:"facility_power_kw"`
	UPSEfficiencyPct *float64 `db:"ups_efficiency_pct"`
	PUEReported      *float64 `db:"pue_current"`
	CarbonGPerKWh    *float64 `db:"carbon_intensity_gco2_per_kwh"`
	PricePerKWh      *float64 `db:"energy_price_usd_per_kwh"`
	AvgInletC        *float64 `db:"avg_rack_inlet_c"`
	P95InletC        *float64 `db:"p95_rack_inlet_c"`
	HotspotRacks     *float64 `db:"hotspot_rack_count"`
	SupplyC          *float64 `db:"supply_temp_c"`
	ReturnC          *float64 `db:"return_temp_c"`
	SetpointC        *float64 `db:"cooling_setpoint_c"`
	ChillerKW        *float64 `db:"chiller_kw"`
	FanKW            *float64 `db:"fan_power_kw"`
	ValvePct         *float64 `db:"cooling_valve_position_pct"`
	CPUPct           *float64 `db:"cpu_util_avg"`
	GPUPct           *float64 `db:"gpu_util_avg"`
	QueueDepth       *float64 `db:"queue_depth"`
	TokensPerWatt    *float64 `db:"tokens_per_watt_est"`
	InletLimitC      *float64 `db:"max_rack_inlet_p95_c"` // constraints.hard of the same request
	DryBulbC         *float64 `db:"outdoor_dry_bulb_c"`
	WetBulbC         *float64 `db:"outdoor_wet_bulb_c"` // given, or derived from the fields that were
	HumidityPct      *float64 `db:"relative_humidity_pct"`
	PressureHPa      *float64 `db:"pressure_hpa"`
	WaterLPerHour    *float64 `db:"water_l_per_hour"` // water of the window / its length
}

// ReadingOf returns the reading of a signals document that passed Validate.
func ReadingOf(request int64, accepted time.Time, d *signals.Document) Reading {
	r, s := &d.Request, &d.Request.Signals
	derived, warnings := signals.Derive(d)
	from := r.TimeWindow.StartUTC.Instant().UTC().Truncate(time.Microsecond) // what PostgreSQL keeps
	to := r.TimeWindow.EndUTC.Instant().UTC().Truncate(time.Microsecond)
	if !from.Before(to) {
		to = from.Add(time.Microsecond) // a window shorter than that is still one
	}
	return Reading{
		RequestID: request,
		Asset:     Asset{Site: r.Assets.SiteID, Facility: r.Assets.FacilityID, Cluster: r.Assets.ClusterID, Zone: r.Assets.ZoneID},
		From:      from,
		To:        to,
		Accepted:  accepted,
		Warnings:  len(warnings),
		Values: Values{
			ITLoadKW:         s.Energy.ITLoadKW.Float(),
			FacilityKW:       s.Energy.FacilityPowerKW.Float(),
			UPSEfficiencyPct: given(s.Energy.UPSEfficiencyPct),
			PUEReported:      given(s.Energy.PUECurrent),
			CarbonGPerKWh:    given(s.Energy.CarbonIntensityGCO2PerKWh),
			PricePerKWh:      given(s.Energy.EnergyPriceUSDPerKWh),
			AvgInletC:        given(s.Thermal.AvgRackInletC),
			P95InletC:        given(s.Thermal.P95RackInletC),
			HotspotRacks:     given(s.Thermal.HotspotRackCount),
			SupplyC:          given(s.Thermal.SupplyTempC),
			ReturnC:          given(s.Thermal.ReturnTempC),
			SetpointC:        given(s.Cooling.CoolingSetpointC),
			ChillerKW:        given(s.Cooling.ChillerKW),
			FanKW:            given(s.Cooling.FanPowerKW),
			ValvePct:         given(s.Cooling.CoolingValvePositionPct),
			CPUPct:           given(s.Workload.CPUUtilAvg),
			GPUPct:           given(s.Workload.GPUUtilAvg),
			QueueDepth:       given(s.Workload.QueueDepth),
			TokensPerWatt:    given(s.Workload.TokensPerWattEst),
			InletLimitC:      given(r.Constraints.Hard.MaxRackInletP95C),
			DryBulbC:         given(s.Weather.OutdoorDryBulbC),
			WetBulbC:         derived.WetBulbC,
			HumidityPct:      given(s.Weather.RelativeHumidityPct),
			PressureHPa:      given(s.Weather.PressureHPa),
			WaterLPerHour:    perHour(s.Water.WaterL, r.TimeWindow.Hours()),
		},
	}
}

func given(n signals.Number) *float64 {
	if !n.Given() {
		return nil
	}
	x := n.Float()
	return &x
}

// perHour spreads an amount evenly over the hours of its window.
func perHour(amount signals.Number, hours float64) *float64 {
	if !amount.Given() {
		return nil
	}
	x := amount.Float() / hours
	if math.IsInf(x, 0) {
		return nil // what no float64 can hold says nothing about a site
	}
	return &x
}

// ValueNames returns the names of the values, which are those of the payload and
// of the columns of readings, in the order of List.
func ValueNames() []string { return slices.Clone(valueNames) }

var valueNames = func() (list []string) {
	for field := range reflect.TypeFor[Values]().Fields() {
		list = append(list, field.Tag.Get("db"))
	}
	return list
}()

// List returns the values in the order of ValueNames; nil for those that were not
// given.
func (v *Values) List() []*float64 {
	return []*float64{
		&v.ITLoadKW, &v.FacilityKW, v.UPSEfficiencyPct, v.PUEReported, v.CarbonGPerKWh, v.PricePerKWh, v.AvgInletC, v.P95InletC, v.HotspotRacks,
		v.SupplyC, v.ReturnC, v.SetpointC, v.ChillerKW, v.FanKW, v.ValvePct, v.CPUPct, v.GPUPct, v.QueueDepth, v.TokensPerWatt, v.InletLimitC,
		v.DryBulbC, v.WetBulbC, v.HumidityPct, v.PressureHPa, v.WaterLPerHour,
	}
}

// Named returns the values that were given, by their names.
func (v *Values) Named() map[string]float64 {
	named := map[string]float64{}
	for i, x := range v.List() {
		if x != nil {
			named[valueNames[i]] = *x
		}
	}
	return named
}
