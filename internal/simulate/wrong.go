package simulate

import (
	"math/rand/v2"
	"strings"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

// mistake is an error that happens in practice, and how the request then ends.
type mistake struct {
	name   string
	expect Outcome
	make   func(*signals.Request)
}

// mistakes returns mistakes in signals: first wrong values, which the worker
// finds, then wrong shapes, which the API refuses.
func mistakes() []mistake {
	return []mistake{
		{"facility power below IT load", Failed, func(r *signals.Request) {
			e := &r.Signals.Energy
			e.ITLoadKW, e.FacilityPowerKW = e.FacilityPowerKW, e.ITLoadKW // meters swapped
		}},
		{"control actions allowed", Failed, func(r *signals.Request) {
			r.Constraints.Hard.NoControlActions = "false"
		}},
		{"p95 inlet below the average", Failed, func(r *signals.Request) {
			r.Signals.Thermal.P95RackInletC = "17.5"
		}},
		{"return air colder than supply", Failed, func(r *signals.Request) {
			t := &r.Signals.Thermal
			t.SupplyTempC, t.ReturnTempC = t.ReturnTempC, t.SupplyTempC // probes swapped
		}},
		{"window that ends before it starts", Failed, func(r *signals.Request) {
			w := &r.TimeWindow
			w.StartUTC, w.EndUTC = w.EndUTC, w.StartUTC
		}},
		{"job mix of 112 %", Failed, func(r *signals.Request) {
			r.Signals.Workload.JobMix = signals.JobMix{BatchPct: "72", LatencySensitivePct: "40"}
		}},
		{"negative fan power and a UPS of 961 %", Failed, func(r *signals.Request) {
			r.Signals.Cooling.FanPowerKW = "-38.5"
			r.Signals.Energy.UPSEfficiencyPct = "961"
		}},
		{"slow service level objective in prod", Failed, func(r *signals.Request) {
			r.Environment = signals.EnvironmentProd
			r.ServiceLevelObjectiveMS = "9000"
		}},
		{"IT load missing", Refused, func(r *signals.Request) {
			r.Signals.Energy.ITLoadKW = "" // null
		}},
		{"mode control", Refused, func(r *signals.Request) {
			r.Mode = "control"
		}},
		{"timestamp without a zone", Refused, func(r *signals.Request) {
			r.TimeWindow.StartUTC = signals.Time(strings.TrimSuffix(string(r.TimeWindow.StartUTC), "Z"))
		}},
		{"site id empty", Refused, func(r *signals.Request) {
			r.Assets.SiteID = ""
		}},
	}
}

// wrong returns a submission for each mistake, at random times of the day, and
// a free-form one whose keys clash.
func wrong(rng *rand.Rand, sites []site, day time.Time) []Submission {
	var out []Submission
	for _, m := range mistakes() {
		s := sites[rng.IntN(len(sites))]
		doc := s.document(newNoise(rng), day.Add(time.Duration(rng.IntN(96))*step), step)
		m.make(&doc.Request)
		out = append(out, submission("wrong: "+m.name, m.expect, "", doc))
	}
	clash := map[string]any{"fanSpeed": 1180, "fan_speed": 1240, "note": "two keys, one name in snake_case"}
	return append(out, submission("wrong: keys that clash", Failed, "", clash))
}
