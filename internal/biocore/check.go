package biocore

import (
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

const (
	// roundingAllowance is the difference that BioCore's rounding to two decimals
	// may cause between current + delta and suggested, in the units of the action.
	roundingAllowance = 0.01

	// currentAllowance is the relative difference that is allowed between an
	// action's current value and the value in the request.
	currentAllowance = 0.005

	roundingError = 1e-9 // of sums of decimal fractions in binary
)

// dimension is what a unit measures, as far as the checks need to know.
type dimension string

const (
	temperature dimension = "a temperature"
	power       dimension = "a power"
	energy      dimension = "an energy"
	percentage  dimension = "a percentage"
	plain       dimension = "a plain number"
	duration    dimension = "a duration"
)

// knownUnits returns the units that an action may have. A unit that is not in
// the list is a fault: an action in kelvins, for example, could not be
// compared with the limits of the request.
func knownUnits() map[string]dimension {
	return map[string]dimension{
		"C": temperature, "°C": temperature,
		"kW": power, "kWh": energy, "pct": percentage, "%": percentage,
		"count": plain, "ratio": plain, "minutes": duration,
	}
}

// controlWords are the words of an action's type that announce an act instead
// of advice.
func controlWords() []string {
	return []string{"actuate", "apply", "command", "control", "execute", "override", "write"}
}

// Check reports everything that is wrong with the meaning of an answer that
// Decode accepted, given the request that was sent: an answer to another
// request, statements that are missing or that contradict each other, more
// recommendations than were asked for, and recommendations that break a hard
// constraint.
func Check(request *signals.Document, answer *Answer) payload.Faults {
	c := checker{request: &request.Request, response: &answer.Response}
	c.identity(request, answer)
	c.statements()
	c.recommendations()
	return c.faults
}

type checker struct {
	request  *signals.Request
	response *Response
	faults   payload.Faults
}

// identity checks that the answer names its request.
func (c *checker) identity(request *signals.Document, answer *Answer) {
	c.same("/correlation_id", answer.CorrelationID, request.CorrelationID)
	c.same("/response/request_id", c.response.RequestID, c.request.RequestID)
	c.same("/response/idempotency_key", c.response.IdempotencyKey, c.request.IdempotencyKey)
}

// same adds a fault if the answer repeats an id of the request differently. An
// id that the request does not have can have any value.
func (c *checker) same(at jsontext.Pointer, got, want string) {
	if want != "" && got != want {
		c.faults.Add(at, "must be %s as in the request, got %s", payload.Quote(want), payload.Quote(got))
	}
}

// statements checks that BioCore states what shadow mode requires.
func (c *checker) statements() {
	c.mustBeTrue("/response/status/validation/schema_valid", c.response.Status.Validation.SchemaValid)
	c.mustBeTrue("/response/summary/guardrails/shadow_read_only_enforced", c.response.Summary.Guardrails.ShadowReadOnlyEnforced)
	c.mustBeTrue("/response/summary/guardrails/constraints_satisfied", c.response.Summary.Guardrails.ConstraintsSatisfied)
	c.mustBeTrue("/response/audit/no_control_actions_enforced", c.response.Audit.NoControlActionsEnforced)
	if mode := c.response.Audit.Mode; mode != signals.ModeShadow {
		c.faults.Add("/response/audit/mode", "must be %q, got %s", signals.ModeShadow, payload.Quote(mode))
	}
}

func (c *checker) mustBeTrue(at jsontext.Pointer, statement bool) {
	if !statement {
		c.faults.Add(at, "must be true, got false")
	}
}

func (c *checker) recommendations() {
	const at jsontext.Pointer = "/response/recommendations"
	if k := c.request.Preferences.TopK; k.Given() && float64(len(c.response.Recommendations)) > k.Float() {
		c.faults.Add(at, "must have at most %s elements, the top_k of the request, got %d", k, len(c.response.Recommendations))
	}
	seen := map[string]bool{}
	for i := range c.response.Recommendations {
		r, here := &c.response.Recommendations[i], at.AppendToken(strconv.Itoa(i))
		if seen[r.RecID] {
			c.faults.Add(here+"/rec_id", "must be unique, but %s is given twice", payload.Quote(r.RecID))
		}
		seen[r.RecID] = true
		c.action(&r.Action, here+"/action")
	}
}

func (c *checker) action(a *Action, at jsontext.Pointer) {
	for _, word := range controlWords() {
		if strings.Contains(strings.ToLower(a.Type), word) {
			c.faults.Add(at+"/type", "must be advice, but %s is a control action", payload.Quote(a.Type))
			break
		}
	}
	if sum := a.Current + a.Delta; differs(sum, a.Suggested, roundingAllowance) {
		c.faults.Add(at+"/suggested", "must be current + delta (%v), got %v", sum, a.Suggested)
	}
	of, known := knownUnits()[a.Units]
	if !known {
		c.faults.Add(at+"/units", "must be one of C, °C, kW, kWh, pct, %%, count, ratio, minutes, got %s", payload.Quote(a.Units))
		return
	}
	if want := dimensionOf(a.Target); want != "" && of != want {
		c.faults.Add(at+"/units", "must be units of %s, as the target %s is, got %s", want, payload.Quote(a.Target), payload.Quote(a.Units))
	}
	c.current(a, at)
	c.constraints(a, of, at)
}

// current checks that an action starts from the value that the request holds
// for its target.
func (c *checker) current(a *Action, at jsontext.Pointer) {
	given := c.measured(a.Target)
	if given.Given() && differs(a.Current, given.Float(), max(roundingAllowance, currentAllowance*math.Abs(given.Float()))) {
		c.faults.Add(at+"/current", "must be %s, the %s of the request, got %v", given, leafOf(a.Target), a.Current)
	}
}

// constraints checks an action against the hard constraints of the request.
// Every change of a temperature counts as a change of a setpoint, whatever its
// target is called. A higher setpoint is expected to raise the rack inlets by
// as much: the air that reaches them is supply air mixed with air of the room.
func (c *checker) constraints(a *Action, of dimension, at jsontext.Pointer) {
	hard, thermal := &c.request.Constraints.Hard, &c.request.Signals.Thermal
	change := a.Suggested - a.Current
	if largest := hard.MaxSetpointChangeC; of == temperature && largest.Given() &&
		max(math.Abs(a.Delta), math.Abs(change)-roundingAllowance) > largest.Float()+roundingError {
		c.faults.Add(at+"/delta", "must change a temperature by at most %s K, the max_setpoint_change_c of the request, got %v", largest, a.Delta)
	}
	if most := hard.MaxHotspotRackCount; leafOf(a.Target) == "hotspot_rack_count" && most.Given() && a.Suggested > most.Float() {
		c.faults.Add(at+"/suggested", "must be at most %s, the max_hotspot_rack_count of the request, got %v", most, a.Suggested)
	}
	if !relaxesCooling(a, of) {
		return
	}
	if highest, p95 := hard.MaxRackInletP95C, thermal.P95RackInletC; highest.Given() && p95.Given() {
		expected := p95.Float()
		if of == temperature {
			expected += max(a.Delta, change)
		}
		if expected > highest.Float()+roundingAllowance {
			c.faults.Add(at+"/suggested", "must keep p95_rack_inlet_c (%s) at or below %s, the max_rack_inlet_p95_c of the request; %v is expected", p95, highest, expected)
		}
	}
	if most, hot := hard.MaxHotspotRackCount, thermal.HotspotRackCount; most.Given() && hot.Given() && hot.Float() > most.Float() {
		c.faults.Add(at+"/suggested", "must not relax the cooling while hotspot_rack_count (%s) is above %s, the max_hotspot_rack_count of the request", hot, most)
	}
}

// relaxesCooling reports whether an action leaves the racks with less cooling:
// a higher temperature, or less of the fans, the chillers or the valve.
func relaxesCooling(a *Action, of dimension) bool {
	rise := max(a.Delta, a.Suggested-a.Current)
	fall := min(a.Delta, a.Suggested-a.Current)
	if of == temperature {
		return rise > 0
	}
	target := strings.ToLower(a.Target)
	return fall < 0 && (strings.Contains(target, "fan") || strings.Contains(target, "chiller") ||
		strings.Contains(target, "valve") || strings.Contains(target, "cooling"))
}

// dimensionOf returns what a target measures, judged by its name, or "" if the
// name does not tell. The suffixes are those of the signals.
func dimensionOf(target string) dimension {
	leaf := strings.ToLower(leafOf(target))
	for _, known := range []struct {
		suffix string
		dimension
	}{{"_kwh", energy}, {"_kw", power}, {"_pct", percentage}, {"_c", temperature}, {"_count", plain}, {"_minutes", duration}} {
		if strings.HasSuffix(leaf, known.suffix) {
			return known.dimension
		}
	}
	if strings.Contains(leaf, "temp") || strings.Contains(leaf, "setpoint") || strings.Contains(leaf, "inlet") {
		return temperature
	}
	return ""
}

// measured returns the value of a target that is one of the signals of the
// request which an operator can change, or an absent number.
func (c *checker) measured(target string) signals.Number {
	s := &c.request.Signals
	switch leafOf(target) {
	case "cooling_setpoint_c":
		return s.Cooling.CoolingSetpointC
	case "supply_temp_c":
		return s.Thermal.SupplyTempC
	case "chiller_kw":
		return s.Cooling.ChillerKW
	case "fan_power_kw":
		return s.Cooling.FanPowerKW
	case "cooling_valve_position_pct":
		return s.Cooling.CoolingValvePositionPct
	case "it_load_kw":
		return s.Energy.ITLoadKW
	case "batch_pct":
		return s.Workload.JobMix.BatchPct
	default:
		return ""
	}
}

// leafOf returns the last part of a target such as cooling.chiller_kw or
// /request/signals/cooling/chiller_kw.
func leafOf(target string) string {
	return target[strings.LastIndexAny(target, "./")+1:]
}

func differs(a, b, allowance float64) bool {
	return !(math.Abs(a-b) <= allowance+roundingError*max(math.Abs(a), math.Abs(b), 1)) // also true for NaN
}
