package simulate

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/jobs/pipeline"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

// days has one day of each season, and at least one day of a weekend.
var days = []time.Time{
	time.Date(2026, time.January, 14, 0, 0, 0, 0, time.UTC),
	time.Date(2026, time.April, 15, 9, 30, 0, 0, time.UTC),
	time.Date(2026, time.July, 18, 23, 59, 0, 0, time.UTC),
	time.Date(2026, time.October, 14, 0, 0, 0, 0, time.UTC),
}

// body is the body of a submission.
type body struct {
	Payload  json.RawMessage `json:"payload"`
	Priority string          `json:"priority"`
}

func decodeBody(t *testing.T, s Submission) body {
	t.Helper()
	var b body
	if err := json.Unmarshal(s.Body, &b); err != nil {
		t.Fatalf("%s: %v", s.Name, err)
	}
	return b
}

// eachReading calls check with every request of signals that is meant to be
// done, of several seeds and days.
func eachReading(t *testing.T, check func(t *testing.T, r *signals.Request)) {
	t.Helper()
	for seed := range uint64(3) {
		for _, day := range days {
			for _, s := range Day(seed, day) {
				raw := decodeBody(t, s).Payload
				meta, _ := payload.Inspect(raw)
				if s.Expect != Done || !meta.Signals() {
					continue
				}
				doc, faults := signals.Decode(raw)
				if err := faults.Err(); err != nil {
					t.Fatalf("%s: %v", s.Name, err)
				}
				check(t, &doc.Request)
			}
		}
	}
}

func TestSameSeedSameBytes(t *testing.T) {
	t.Parallel()
	if !reflect.DeepEqual(Day(7, days[0]), Day(7, days[0])) {
		t.Error("the same seed and day gave two different results")
	}
	if reflect.DeepEqual(Day(7, days[0]), Day(8, days[0])) {
		t.Error("another seed changed nothing")
	}
	if !reflect.DeepEqual(Day(7, days[1]), Day(7, days[1].Add(time.Hour))) {
		t.Error("the time of the day changed the result")
	}
}

func TestComposition(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	outcomes := map[Outcome]int{}
	windows := map[string]int{}
	for _, s := range Day(1, days[0]) {
		if names[s.Name] {
			t.Errorf("two submissions are called %q", s.Name)
		}
		names[s.Name] = true
		outcomes[s.Expect]++

		b := decodeBody(t, s)
		if b.Priority != "" && !slices.Contains(jobs.Priorities(), jobs.Priority(b.Priority)) {
			t.Errorf("%s: unknown priority %q", s.Name, b.Priority)
		}
		if meta, _ := payload.Inspect(b.Payload); s.Expect == Done && meta.Signals() {
			windows[meta.SiteID]++
		}
	}
	if want := map[Outcome]int{Done: 2*96 + 20, Failed: 9, Refused: 4}; !reflect.DeepEqual(outcomes, want) {
		t.Errorf("outcomes: got %v, want %v", outcomes, want)
	}
	if want := map[string]int{"fra-1": 96, "iad-2": 96}; !reflect.DeepEqual(windows, want) {
		t.Errorf("windows of signals: got %v, want %v", windows, want)
	}
}

// TestOutcomes compares the intended outcome of each submission with what the
// API and the worker do with it.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	for _, day := range days {
		for _, s := range Day(3, day) {
			if got, why := outcome(t, decodeBody(t, s).Payload); got != s.Expect {
				t.Errorf("%s: got %s (%v), want %s", s.Name, got, why, s.Expect)
			}
		}
	}
}

func outcome(t *testing.T, raw []byte) (Outcome, error) {
	t.Helper()
	if err := payload.Check(raw, payload.Limits{}).Err(); err != nil {
		return Refused, err
	}
	meta, faults := payload.Inspect(raw)
	if err := faults.Err(); err != nil {
		return Refused, err
	}
	if meta.Signals() {
		if _, faults := signals.Decode(raw); len(faults) > 0 {
			return Refused, faults
		}
	}
	switch _, err := pipeline.Run(t.Context(), raw); {
	case err == nil:
		return Done, nil
	case errors.As(err, new(payload.Faults)):
		return Failed, err
	default:
		t.Fatal(err)
		return "", err
	}
}

// TestNoWarnings checks that a submission meant to be done causes no warning,
// above all none about a PUE that differs from facility power over IT power.
func TestNoWarnings(t *testing.T) {
	t.Parallel()
	for _, s := range Day(5, days[3]) {
		if s.Expect != Done {
			continue
		}
		raw, err := pipeline.Run(t.Context(), decodeBody(t, s).Payload)
		if err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
		var result pipeline.Result
		if err := json.Unmarshal(raw, &result); err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
		if len(result.Warnings) > 0 {
			t.Errorf("%s: %v", s.Name, result.Warnings)
		}
	}
}

func TestEnergyBalance(t *testing.T) {
	t.Parallel()
	eachReading(t, func(t *testing.T, r *signals.Request) {
		t.Helper()
		e, c := r.Signals.Energy, r.Signals.Cooling
		it, facility := e.ITLoadKW.Float(), e.FacilityPowerKW.Float()
		upsLoss := it * (100/e.UPSEfficiencyPct.Float() - 1)
		known := it + upsLoss + c.ChillerKW.Float() + c.FanPowerKW.Float()
		// The remaining power is that of distribution, pumps and the building.
		// It has no signal of its own, but is never negative or large.
		if rest := (facility - known) / it; rest < 0.03 || rest > 0.08 {
			t.Errorf("%s: %.1f %% of the IT load is unaccounted for", r.RequestID, 100*rest)
		}
		pue := facility / it
		if pue < 1.1 || pue > 1.8 {
			t.Errorf("%s: PUE %.3f", r.RequestID, pue)
		}
		if off := math.Abs(e.PUECurrent.Float()/pue - 1); off > 0.011 {
			t.Errorf("%s: reported PUE is %.2f %% off", r.RequestID, 100*off)
		}
	})
}

func TestRanges(t *testing.T) {
	t.Parallel()
	within := func(t *testing.T, id, what string, value signals.Number, low, high float64) {
		t.Helper()
		if x := value.Float(); !value.Given() || x < low || x > high {
			t.Errorf("%s: %s is %s, want %v to %v", id, what, value, low, high)
		}
	}
	eachReading(t, func(t *testing.T, r *signals.Request) {
		t.Helper()
		s := r.Signals
		within(t, r.RequestID, "UPS efficiency", s.Energy.UPSEfficiencyPct, 94, 97)
		within(t, r.RequestID, "carbon intensity", s.Energy.CarbonIntensityGCO2PerKWh, 120, 550)
		within(t, r.RequestID, "price", s.Energy.EnergyPriceUSDPerKWh, 0.01, 0.4)
		within(t, r.RequestID, "supply air", s.Thermal.SupplyTempC, 18, 24)
		within(t, r.RequestID, "return air", s.Thermal.ReturnTempC, 28, 40)
		within(t, r.RequestID, "average inlet", s.Thermal.AvgRackInletC, 18, 27)
		within(t, r.RequestID, "p95 inlet", s.Thermal.P95RackInletC, s.Thermal.AvgRackInletC.Float(), 32) // 32: ASHRAE allowable, class A1
		within(t, r.RequestID, "hot spots", s.Thermal.HotspotRackCount, 0, 60)
		within(t, r.RequestID, "valve", s.Cooling.CoolingValvePositionPct, 5, 100)
		within(t, r.RequestID, "fans", s.Cooling.FanPowerKW, 5, 190)
		within(t, r.RequestID, "CPU", s.Workload.CPUUtilAvg, 3, 97)
		within(t, r.RequestID, "GPU", s.Workload.GPUUtilAvg, 3, 98)
		within(t, r.RequestID, "tokens per watt", s.Workload.TokensPerWattEst, 0.5, 5)
		within(t, r.RequestID, "outdoor temperature", s.Weather.OutdoorDryBulbC, -20, 40)
		within(t, r.RequestID, "humidity", s.Weather.RelativeHumidityPct, 15, 100)
		within(t, r.RequestID, "pressure", s.Weather.PressureHPa, 950, 1040)
	})
}
