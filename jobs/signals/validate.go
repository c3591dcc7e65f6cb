package signals

import (
	"math"
	"reflect"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
)

const (
	maxProdSLOMS       = 5000.0 // ms
	jobMixTolerancePct = 0.5    // percentage points below or above 100
	roundingError      = 1e-9   // for sums of decimal fractions in binary, far below any tolerance here
)

// Validate reports everything that is wrong with the meaning of a document that
// Decode accepted: numbers outside their range, and violated rules between
// fields. Values that are merely odd are not faults; Derive warns of them.
func Validate(d *Document) payload.Faults {
	v := validator{}
	v.ranges(documentShape(), reflect.ValueOf(d).Elem())
	v.request(&d.Request)
	v.signals(&d.Request.Signals)
	v.preferences(&d.Request.Preferences)
	return v.faults
}

type validator struct{ faults payload.Faults }

// ranges checks each number that is present against its range tag.
func (v *validator) ranges(s *shape, value reflect.Value) {
	for i := range s.fields {
		switch f, member := &s.fields[i], value.Field(i); f.kind {
		case kindObject:
			v.ranges(f.object, member)
		case kindNumber:
			n := Number(member.String())
			if n.Given() && !f.limits.contains(n.Float()) {
				v.faults.Add(f.pointer, "must be %v, got %s", f.limits, n)
			}
		}
	}
}

func (v *validator) request(r *Request) {
	if payload.CleanText(r.Assets.SiteID) == "" {
		v.faults.Add("/request/assets/site_id", "must not be blank")
	}
	if w := r.TimeWindow; !w.StartUTC.Instant().Before(w.EndUTC.Instant()) {
		v.faults.Add("/request/time_window/end_utc", "must be after start_utc (%s), got %s", w.StartUTC, w.EndUTC)
	}
	if slo := r.ServiceLevelObjectiveMS; r.Environment == EnvironmentProd && slo.Float() > maxProdSLOMS {
		v.faults.Add("/request/service_level_objective_ms", "must be ≤ %v in prod, got %s", maxProdSLOMS, slo)
	}
	if r.Mode == ModeShadow || r.Mode == "" {
		switch hard := r.Constraints.Hard; {
		case !hard.NoControlActions.Given():
			v.faults.Add("/request/constraints/hard/no_control_actions", "must be true in shadow mode, but is absent")
		case !hard.NoControlActions.True():
			v.faults.Add("/request/constraints/hard/no_control_actions", "must be true in shadow mode, got %s", hard.NoControlActions)
		}
	}
}

func (v *validator) signals(s *Signals) {
	v.atLeast("/request/signals/energy/facility_power_kw", s.Energy.FacilityPowerKW, "it_load_kw", s.Energy.ITLoadKW)
	v.atLeast("/request/signals/thermal/p95_rack_inlet_c", s.Thermal.P95RackInletC, "avg_rack_inlet_c", s.Thermal.AvgRackInletC)
	v.atLeast("/request/signals/thermal/return_temp_c", s.Thermal.ReturnTempC, "supply_temp_c", s.Thermal.SupplyTempC)

	batch, latency := s.Workload.JobMix.BatchPct, s.Workload.JobMix.LatencySensitivePct
	if sum := batch.Float() + latency.Float(); batch.Given() && latency.Given() &&
		math.Abs(sum-100) > jobMixTolerancePct+roundingError {
		v.faults.Add("/request/signals/workload/job_mix", "must sum to 100 ± %v, got %s + %s = %v",
			jobMixTolerancePct, batch, latency, sum)
	}
}

func (v *validator) preferences(p *Preferences) {
	w := p.ObjectiveWeights
	if sum := w.Energy.Float() + w.ThermalRisk.Float() + w.WorkloadEfficiency.Float(); w != (ObjectiveWeights{}) && sum <= 0 {
		v.faults.Add("/request/preferences/objective_weights", "must have a positive sum, got %v", sum)
	}
	if k := p.TopK.Float(); k != math.Trunc(k) {
		v.faults.Add("/request/preferences/top_k", "must be a whole number, got %s", p.TopK)
	}
}

// atLeast checks that value ≥ bound if both are present. boundName is the field
// of the bound, in the same object.
func (v *validator) atLeast(at jsontext.Pointer, value Number, boundName string, bound Number) {
	if value.Given() && bound.Given() && value.Float() < bound.Float() {
		v.faults.Add(at, "must be ≥ %s (%s), got %s", boundName, bound, value)
	}
}
