package kpi

import "time"

// The range of rack inlet temperatures that ASHRAE TC 9.9 recommends (Thermal
// Guidelines for Data Processing Environments, classes A1 to A4), in °C.
const (
	inletLowC  = 18.0
	inletHighC = 27.0
)

// Sums are what readings add up to over a time: energies in kWh, times in
// seconds, and sums over those readings that have an optional value. The sums of
// two parts of a time add up to those of the whole.
type Sums struct {
	Readings int // pieces of readings that begin in the time

	Seconds     float64 // of all pieces; of several clusters at the same time, each counts
	FacilityKWh float64
	ITKWh       float64

	CoolingSeconds     float64 // readings with the power of chillers and fans
	CoolingKWh         float64
	CoolingFacilityKWh float64 // facility energy of the same readings

	CarbonSeconds     float64 // readings with carbon intensity
	CarbonKg          float64
	CarbonFacilityKWh float64
	CarbonITKWh       float64

	PriceSeconds     float64 // readings with a price
	Cost             float64
	PriceFacilityKWh float64

	WaterSeconds float64 // readings with the consumption of water
	WaterL       float64
	WaterITKWh   float64

	InletSeconds       float64 // readings with the 95th percentile of the inlet temperatures
	InletBelowSeconds  float64
	InletWithinSeconds float64
	InletAboveSeconds  float64
	InletMaxC          *float64 // the worst, and when it began
	InletMaxAt         time.Time

	HeadroomSeconds         float64 // readings with a limit as well
	HeadroomNegativeSeconds float64
	HeadroomMinK            *float64

	ITMaxKW *float64 // highest average of one reading

	AvgInlet, Supply, Return, Setpoint, CPU, GPU, QueueDepth, TokensPerWatt, ITLoad, DryBulb, WetBulb Mean

	Warnings int
}

// Mean is a mean over time of an optional value.
type Mean struct {
	Seconds float64
	Sum     float64 // value × seconds
}

// Value returns the mean, or nil without any time.
func (m Mean) Value() *float64 { return ratio(m.Sum, m.Seconds) }

func (m *Mean) add(value *float64, seconds float64) {
	if value != nil {
		m.Seconds += seconds
		m.Sum += *value * seconds
	}
}

// AddReading adds the part of a reading that lies in span, which is a part of
// its window.
func (s *Sums) AddReading(v *Values, span Range) {
	if !span.Empty() {
		s.Readings++
		s.addPart(v, span)
	}
}

func (s *Sums) addPart(v *Values, span Range) {
	seconds := span.Seconds()
	if seconds == 0 {
		return
	}
	hours := seconds / 3600
	facility, it := v.FacilityKW*hours, v.ITLoadKW*hours
	s.Seconds += seconds
	s.FacilityKWh += facility
	s.ITKWh += it
	if v.ChillerKW != nil && v.FanKW != nil {
		s.CoolingSeconds += seconds
		s.CoolingKWh += (*v.ChillerKW + *v.FanKW) * hours
		s.CoolingFacilityKWh += facility
	}
	if v.CarbonGPerKWh != nil {
		s.CarbonSeconds += seconds
		s.CarbonKg += facility * *v.CarbonGPerKWh / 1000
		s.CarbonFacilityKWh += facility
		s.CarbonITKWh += it
	}
	if v.PricePerKWh != nil {
		s.PriceSeconds += seconds
		s.Cost += facility * *v.PricePerKWh
		s.PriceFacilityKWh += facility
	}
	if v.WaterLPerHour != nil {
		s.WaterSeconds += seconds
		s.WaterL += *v.WaterLPerHour * hours
		s.WaterITKWh += it
	}
	s.addInlet(v, span, seconds)
	if s.ITMaxKW == nil || v.ITLoadKW > *s.ITMaxKW {
		s.ITMaxKW = &v.ITLoadKW
	}
	s.ITLoad.add(&v.ITLoadKW, seconds)
	s.AvgInlet.add(v.AvgInletC, seconds)
	s.Supply.add(v.SupplyC, seconds)
	s.Return.add(v.ReturnC, seconds)
	s.Setpoint.add(v.SetpointC, seconds)
	s.CPU.add(v.CPUPct, seconds)
	s.GPU.add(v.GPUPct, seconds)
	s.QueueDepth.add(v.QueueDepth, seconds)
	s.TokensPerWatt.add(v.TokensPerWatt, seconds)
	s.DryBulb.add(v.DryBulbC, seconds)
	s.WetBulb.add(v.WetBulbC, seconds)
}

func (s *Sums) addInlet(v *Values, span Range, seconds float64) {
	if v.P95InletC == nil {
		return
	}
	p95 := *v.P95InletC
	s.InletSeconds += seconds
	switch {
	case p95 < inletLowC:
		s.InletBelowSeconds += seconds
	case p95 > inletHighC:
		s.InletAboveSeconds += seconds
	default:
		s.InletWithinSeconds += seconds
	}
	if s.InletMaxC == nil || p95 > *s.InletMaxC || p95 == *s.InletMaxC && span.From.Before(s.InletMaxAt) {
		s.InletMaxC, s.InletMaxAt = &p95, span.From
	}
	if v.InletLimitC == nil {
		return
	}
	headroom := *v.InletLimitC - p95
	s.HeadroomSeconds += seconds
	if headroom < 0 {
		s.HeadroomNegativeSeconds += seconds
	}
	if s.HeadroomMinK == nil || headroom < *s.HeadroomMinK {
		s.HeadroomMinK = &headroom
	}
}

// Merge adds what the readings of another part of the time add up to.
func (s *Sums) Merge(o *Sums) {
	s.Readings += o.Readings
	s.Warnings += o.Warnings
	of := o.Quantities()
	for i, x := range s.Quantities() {
		*x += *of[i]
	}
	if o.InletMaxC != nil && (s.InletMaxC == nil || *o.InletMaxC > *s.InletMaxC || *o.InletMaxC == *s.InletMaxC && o.InletMaxAt.Before(s.InletMaxAt)) {
		s.InletMaxC, s.InletMaxAt = o.InletMaxC, o.InletMaxAt
	}
	if o.HeadroomMinK != nil && (s.HeadroomMinK == nil || *o.HeadroomMinK < *s.HeadroomMinK) {
		s.HeadroomMinK = o.HeadroomMinK
	}
	if o.ITMaxKW != nil && (s.ITMaxKW == nil || *o.ITMaxKW > *s.ITMaxKW) {
		s.ITMaxKW = o.ITMaxKW
	}
}

// Quantities returns the fields that are plain sums, in an order that does not
// change: that of the columns of the rollups.
func (s *Sums) Quantities() []*float64 {
	list := []*float64{
		&s.Seconds, &s.FacilityKWh, &s.ITKWh,
		&s.CoolingSeconds, &s.CoolingKWh, &s.CoolingFacilityKWh,
		&s.CarbonSeconds, &s.CarbonKg, &s.CarbonFacilityKWh, &s.CarbonITKWh,
		&s.PriceSeconds, &s.Cost, &s.PriceFacilityKWh,
		&s.InletSeconds, &s.InletBelowSeconds, &s.InletWithinSeconds, &s.InletAboveSeconds,
		&s.HeadroomSeconds, &s.HeadroomNegativeSeconds, &s.WaterSeconds, &s.WaterL, &s.WaterITKWh,
	}
	for _, m := range []*Mean{&s.AvgInlet, &s.Supply, &s.Return, &s.Setpoint, &s.CPU, &s.GPU, &s.QueueDepth, &s.TokensPerWatt, &s.ITLoad, &s.DryBulb, &s.WetBulb} {
		list = append(list, &m.Seconds, &m.Sum)
	}
	return list
}

// ratio returns a / b, or nil when b is 0.
func ratio(a, b float64) *float64 {
	if b == 0 {
		return nil
	}
	x := a / b
	return &x
}
