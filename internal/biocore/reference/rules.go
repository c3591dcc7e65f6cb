package reference

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/leomutto/pilot-in-a-box/internal/biocore"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

// The rules' figures.
const (
	// inletMarginK is the distance to the inlet limit that the setpoint rule
	// keeps.
	inletMarginK = 0.5
	// largestStepK bounds one change of the setpoint if the request does not.
	largestStepK = 1.0
	// savingPerK is the share of the chillers' power that 1 K of setpoint
	// saves. The usual rule of thumb is 1 to 2 % for each °F of chilled water,
	// which is 1.8 to 3.6 % for each K.
	savingPerK = 0.025

	// designDeltaTK is the difference between return and supply air at which
	// the air flow fits the load. Data halls are commonly designed for 10 to
	// 15 K.
	designDeltaTK = 12.0
	// leastFlow bounds the reduction of the air flow in one step.
	leastFlow = 0.9

	// approachK is by how much the wet-bulb temperature must be below the
	// cooling setpoint for free cooling to start, and fullApproachK for it to
	// carry the whole load that the rule lets it carry. The first is about the
	// sum of the approaches of a cooling tower, a heat exchanger and a coil.
	approachK     = 7.0
	fullApproachK = 14.0
	// freeCoolingShare is the largest share of the chillers' power that the rule
	// replaces.
	freeCoolingShare = 0.8

	// Batch work is worth shifting above these, and batchShift is the share of it
	// that the rule shifts. The later hour is assumed to be laterSaving cheaper or
	// cleaner.
	highCarbonG  = 300.0 // g CO2e/kWh
	highPriceUSD = 0.12  // USD/kWh
	batchShift   = 0.25
	laterSaving  = 0.2

	// The names of the fields that the rules advise on.
	targetSetpoint = "cooling_setpoint_c"
	targetFans     = "fan_power_kw"
	targetChillers = "chiller_kw"
	targetBatch    = "batch_pct"
)

// advice is the result of one rule.
type advice struct {
	category, kind, target, units string
	current, suggested            float64
	facilityKW                    float64 // change of the facility's power
	kgPerDay, usdPerDay           float64 // changes that do not follow from facilityKW
	risk                          float64 // 0–1
	urgent                        bool    // comes before all savings
	narrative, reason             string
}

// advise applies all rules, most valuable advice first. Advice that is riskier
// than the request's max_risk_score is left out, unless it is urgent.
func advise(r *signals.Request) []advice {
	var list []advice
	for _, a := range []*advice{setpoint(r), fans(r), freeCooling(r), shiftBatch(r)} {
		limit := r.Constraints.Soft.MaxRiskScore
		if a != nil && (a.urgent || !limit.Given() || a.risk <= limit.Float()) {
			list = append(list, *a)
		}
	}
	slices.SortStableFunc(list, func(a, b advice) int {
		switch {
		case a.urgent != b.urgent && a.urgent:
			return -1
		case a.urgent != b.urgent:
			return 1
		case a.facilityKW < b.facilityKW:
			return -1
		case a.facilityKW > b.facilityKW:
			return 1
		default:
			return 0
		}
	})
	return list
}

// setpoint raises the cooling setpoint by the headroom of the hottest inlets,
// less a margin, and lowers it when they are above their limit. A degree of
// setpoint moves the inlets by a degree.
func setpoint(r *signals.Request) *advice {
	thermal, cooling, hard := &r.Signals.Thermal, &r.Signals.Cooling, &r.Constraints.Hard
	if !given(thermal.P95RackInletC, hard.MaxRackInletP95C, cooling.CoolingSetpointC) {
		return nil
	}
	largest := largestStepK
	if hard.MaxSetpointChangeC.Given() {
		largest = min(largest, hard.MaxSetpointChangeC.Float())
	}
	headroom := hard.MaxRackInletP95C.Float() - thermal.P95RackInletC.Float()
	change, urgent := 0.0, false
	switch {
	case headroom < 0 || tooManyHotspots(r):
		change, urgent = -min(max(-headroom, inletMarginK), largest), true
	case headroom > inletMarginK:
		change = min(headroom-inletMarginK, largest)
	}
	change = math.Trunc(change*10+math.Copysign(1e-9, change)) / 10 // in the steps of 0.1 K that controllers have
	if change == 0 {
		return nil
	}
	current := cooling.CoolingSetpointC.Float()
	a := &advice{
		category: "cooling", kind: "setpoint_change", target: targetSetpoint, units: "C",
		current: current, suggested: current + change, urgent: urgent,
		facilityKW: -change * savingPerK * cooling.ChillerKW.Float(),
		risk:       0.1,
		reason:     "inlet_headroom",
		narrative: fmt.Sprintf("The hottest inlets (%v °C) are %.1f K below their limit (%v °C). A setpoint that is %.1f K higher keeps a margin of at least %.1f K.",
			thermal.P95RackInletC, headroom, hard.MaxRackInletP95C, change, inletMarginK),
	}
	if !urgent { // the more of the headroom it takes, the riskier
		a.risk = round(0.1+0.2*change/headroom, 2)
	} else {
		a.category, a.reason = "thermal_risk", "inlet_limit"
		a.narrative = fmt.Sprintf("The hottest inlets are at %v °C with a limit of %v °C, and %s racks are too hot. A setpoint that is %.1f K lower brings them down.",
			thermal.P95RackInletC, hard.MaxRackInletP95C, orUnknown(thermal.HotspotRackCount), -change)
	}
	return a
}

// fans reduces the air flow when return and supply air are closer together than
// by design, which means that more air flows than the load needs. The power of
// a fan goes with the cube of its flow (affinity laws; ASHRAE Handbook, HVAC
// Systems and Equipment, chapter Fans).
func fans(r *signals.Request) *advice {
	thermal, power := &r.Signals.Thermal, r.Signals.Cooling.FanPowerKW
	if !given(thermal.SupplyTempC, thermal.ReturnTempC, power) || !cool(r) {
		return nil
	}
	rise := thermal.ReturnTempC.Float() - thermal.SupplyTempC.Float()
	flow := max(rise/designDeltaTK, leastFlow)
	current := power.Float()
	suggested := round(current*flow*flow*flow, 2)
	if flow > 0.98 || suggested >= current {
		return nil
	}
	return &advice{
		category: "cooling", kind: "fan_flow_change", target: targetFans, units: "kW",
		current: current, suggested: suggested, facilityKW: suggested - current,
		risk: round(2*(1-flow), 2), reason: "fan_cube_law",
		narrative: fmt.Sprintf("Return air is only %.1f K above supply air; %.0f K is the design. %.0f %% of the air flow carries the load, and by the cube law that takes %.2f kW instead of %.2f kW.",
			rise, designDeltaTK, 100*flow, suggested, current),
	}
}

// freeCooling lets outside air replace chillers when its wet-bulb temperature
// is far enough below the setpoint.
func freeCooling(r *signals.Request) *advice {
	cooling, w := &r.Signals.Cooling, &r.Signals.Weather
	if !given(w.OutdoorWetBulbC, cooling.CoolingSetpointC, cooling.ChillerKW) || !cool(r) {
		return nil
	}
	approach := cooling.CoolingSetpointC.Float() - w.OutdoorWetBulbC.Float()
	share := freeCoolingShare * min(max((approach-approachK)/(fullApproachK-approachK), 0), 1)
	current := cooling.ChillerKW.Float()
	suggested := round(current*(1-share), 2)
	if share < 0.05 || suggested >= current {
		return nil
	}
	return &advice{
		category: "cooling", kind: "free_cooling", target: targetChillers, units: "kW",
		current: current, suggested: suggested, facilityKW: suggested - current,
		risk: 0.15, reason: "wet_bulb",
		narrative: fmt.Sprintf("The wet-bulb temperature (%v °C) is %.1f K below the cooling setpoint. Free cooling can replace %.0f %% of the chillers' power.",
			w.OutdoorWetBulbC, approach, 100*share),
	}
}

// shiftBatch moves batch work to a later hour while electricity is dirty or
// expensive. The energy is used later, so only emissions and cost fall.
func shiftBatch(r *signals.Request) *advice {
	e, batch := &r.Signals.Energy, r.Signals.Workload.JobMix.BatchPct
	if !given(batch) || batch.Float() < 10 {
		return nil
	}
	dirty := e.CarbonIntensityGCO2PerKWh.Float() > highCarbonG
	dear := e.EnergyPriceUSDPerKWh.Float() > highPriceUSD
	if !dirty && !dear {
		return nil
	}
	current := batch.Float()
	suggested := round(current*(1-batchShift), 1)
	hours := 1.0 // of a day, as long as the horizon of the request
	if horizon := r.Preferences.RecommendationHorizonMinutes; horizon.Given() {
		hours = min(horizon.Float()/60, 24)
	}
	shiftedKWh := e.FacilityPowerKW.Float() * (current - suggested) / 100 * hours
	a := &advice{
		category: "workload", kind: "batch_shift", target: targetBatch, units: "pct",
		current: current, suggested: suggested, risk: 0.1, reason: "energy_price",
		kgPerDay:  -shiftedKWh * laterSaving * e.CarbonIntensityGCO2PerKWh.Float() / 1000,
		usdPerDay: -shiftedKWh * laterSaving * e.EnergyPriceUSDPerKWh.Float(),
		narrative: fmt.Sprintf("Electricity costs %v USD/kWh. Batch jobs that run later, at a lower price, save about %.0f %% of their cost.", e.EnergyPriceUSDPerKWh, 100*laterSaving),
	}
	if dirty && (r.Constraints.Soft.PreferLowerCarbon.True() || !dear) {
		a.reason = "carbon_intensity"
		a.narrative = fmt.Sprintf("Electricity causes %v g CO2e/kWh. Batch jobs that run later, with cleaner electricity, save about %.0f %% of their emissions.", e.CarbonIntensityGCO2PerKWh, 100*laterSaving)
	}
	return a
}

// cool reports whether the racks are cool enough to give up some cooling.
// Without the measurement or the limit they are not.
func cool(r *signals.Request) bool {
	p95, limit := r.Signals.Thermal.P95RackInletC, r.Constraints.Hard.MaxRackInletP95C
	return given(p95, limit) && limit.Float()-p95.Float() >= inletMarginK && !tooManyHotspots(r)
}

// tooManyHotspots reports whether more racks are too hot than the request
// allows.
func tooManyHotspots(r *signals.Request) bool {
	hot, most := r.Signals.Thermal.HotspotRackCount, r.Constraints.Hard.MaxHotspotRackCount
	return given(hot, most) && hot.Float() > most.Float()
}

func given(numbers ...signals.Number) bool {
	return !slices.Contains(numbers, "")
}

func orUnknown(n signals.Number) string {
	if n == "" {
		return "an unknown number of"
	}
	return string(n)
}

func round(x float64, decimals int) float64 {
	scale := math.Pow10(decimals)
	return math.Round(x*scale) / scale
}

// known returns a figure of an answer.
func known(x float64) *float64 {
	x = round(x, 4)
	return &x
}

// answerTo returns the answer to a request. The fingerprint names its bytes.
func answerTo(d *signals.Document, fingerprint string) *biocore.Answer {
	r := &d.Request
	list := advise(r)
	if k := topK(r); len(list) > k {
		list = list[:k]
	}
	it := r.Signals.Energy.ITLoadKW.Float()
	kgPerKWh := r.Signals.Energy.CarbonIntensityGCO2PerKWh.Float() / 1000
	out := &biocore.Answer{SchemaVersion: signals.Version, CorrelationID: d.CorrelationID, Trace: d.Trace}
	out.Response = biocore.Response{
		RequestID: cmp.Or(r.RequestID, fingerprint[:12]), IdempotencyKey: cmp.Or(r.IdempotencyKey, fingerprint[:12]), Model: model(),
		Status: biocore.Status{Code: "ok", Warnings: []string{}, Validation: biocore.Validation{SchemaValid: true}},
		Audit: biocore.Audit{Mode: signals.ModeShadow, NoControlActionsEnforced: true, LatencyMS: 1,
			SLOMS: r.ServiceLevelObjectiveMS.Float(), ServiceHealth: "ok (" + Name + ")"},
		Recommendations: []biocore.Recommendation{},
	}
	var kw, kg, usd, risk float64
	for i, a := range list {
		perDay := a.facilityKW*24*kgPerKWh + a.kgPerDay
		kw, kg, risk = kw+a.facilityKW, kg+perDay, max(risk, a.risk)
		usd += a.facilityKW*24*r.Signals.Energy.EnergyPriceUSDPerKWh.Float() + a.usdPerDay
		out.Response.Recommendations = append(out.Response.Recommendations, biocore.Recommendation{
			RecID: fmt.Sprintf("%s-%s", fingerprint[:12], a.kind), Priority: float64(i + 1), Category: a.category,
			Action: biocore.Action{Type: a.kind, Target: a.target, Current: a.current,
				Suggested: round(a.suggested, 4), Delta: round(a.suggested-a.current, 4), Units: a.units},
			ExpectedImpact: biocore.Impact{FacilityPowerKWDelta: known(a.facilityKW), PUEDelta: known(a.facilityKW / it), CO2eKgPerDayDelta: known(perDay)},
			Explainability: biocore.Explainability{Narrative: "Reference model: " + a.narrative, ReasonCodes: []string{a.reason}, OrganismTags: []string{Name}},
			Trace: biocore.Provenance{InputFingerprint: fingerprint, FeatureSetVersion: Version,
				DecisionID: fingerprint[:12] + fmt.Sprintf("-%d", i+1), GeneratedAtUTC: r.TimeWindow.EndUTC.UTC()},
		})
	}
	out.Response.Summary = biocore.Summary{
		Confidence: 0.5, RiskScore: risk,
		EstimatedImpact24h: biocore.Impact24h{EnergyKWh: known(24 * kw), EnergyCostUSD: known(usd), PUEDelta: known(kw / it), CO2eKg: known(kg)},
		Guardrails:         biocore.Guardrails{ShadowReadOnlyEnforced: true, ConstraintsSatisfied: true},
	}
	return out
}

// topK returns how many recommendations a request wants.
func topK(r *signals.Request) int {
	const usual = 3
	if k := r.Preferences.TopK; k.Given() {
		return int(min(k.Float(), 100))
	}
	return usual
}

func model() biocore.Model {
	return biocore.Model{Name: Name, Version: Version, PolicyID: "reference-rules-" + Version}
}
