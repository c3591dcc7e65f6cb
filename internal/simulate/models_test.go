package simulate

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got-want) > tolerance {
		t.Errorf("%s: got %.4f, want %.4f ± %v", what, got, want, tolerance)
	}
}

func TestClockIsLocal(t *testing.T) {
	t.Parallel()
	// Saturday 02:30 UTC is still Friday evening five hours to the west.
	at := clockAt(time.Date(2026, time.March, 7, 2, 30, 0, 0, time.UTC), -5*time.Hour)
	if want := (clock{hour: 21.5, yearDay: 65}); at != want {
		t.Errorf("got %+v, want %+v", at, want)
	}
}

func TestBump(t *testing.T) {
	t.Parallel()
	near(t, "at its peak", bump(14, 14), 1, 1e-12)
	near(t, "four hours off", bump(18, 14), 0.47, 0.02)
	near(t, "across midnight", bump(0, 22), bump(2, 0), 1e-12)
	if night := bump(2, 14); night > 0.1 {
		t.Errorf("opposite half: got %v", night)
	}
}

func TestDrift(t *testing.T) {
	t.Parallel()
	const n, spread, memory = 200_000, 2.0, 0.9
	d := newDrift(rand.New(rand.NewPCG(1, 2)), spread, memory)
	var sum, squares, products, before float64
	for range n {
		x := d.next()
		sum, squares, products = sum+x, squares+x*x, products+x*before
		before = x
	}
	near(t, "mean", sum/n, 0, 0.1)
	near(t, "standard deviation", math.Sqrt(squares/n), spread, 0.1)
	near(t, "correlation of neighbors", products/squares, memory, 0.01)
}

func TestClimate(t *testing.T) {
	t.Parallel()
	c := climate{meanC: 10, seasonK: 9, dayK: 4}
	near(t, "warmest hour of the year", c.temperature(clock{hour: 15, yearDay: 196}), 23, 1e-9)
	near(t, "coldest hour of the year", c.temperature(clock{hour: 3, yearDay: 196 - 365.25/2}), -3, 1e-9)
}

func TestWorkFollowsOfficeHours(t *testing.T) {
	t.Parallel()
	w := demoSites()[0].work
	day, night, weekend := w.at(clock{hour: 14}, 0), w.at(clock{hour: 2}, 0), w.at(clock{hour: 14, weekend: true}, 0)
	if day.powerUtilization <= weekend.powerUtilization || weekend.powerUtilization <= night.powerUtilization {
		t.Errorf("IT power: day %v, weekend %v, night %v", day.powerUtilization, weekend.powerUtilization, night.powerUtilization)
	}
	if day.latencyPct <= night.latencyPct {
		t.Errorf("latency-sensitive share: day %v, night %v", day.latencyPct, night.latencyPct)
	}
}

func TestUPSEfficiency(t *testing.T) {
	t.Parallel()
	near(t, "a quarter", upsEfficiency(0.25), 0.947, 0.004)
	near(t, "a half", upsEfficiency(0.5), 0.962, 0.004)
	near(t, "full", upsEfficiency(1), 0.963, 0.004)
	if upsEfficiency(0.1) >= upsEfficiency(0.25) {
		t.Error("not worse at low load")
	}
}

func TestFreeCooling(t *testing.T) {
	t.Parallel()
	for outsideC, want := range map[float64]float64{-5: 1, 8: 1, 12: 0.5, 16: 0, 30: 0} {
		near(t, "share", freeCooling(outsideC, 20), want, 1e-9)
	}
}

func TestChillerCOP(t *testing.T) {
	t.Parallel()
	if hot := chillerCOP(35, 21, 1); hot < 3 || hot > 5 {
		t.Errorf("COP at 35 °C: %v", hot)
	}
	if chillerCOP(35, 21, 1) >= chillerCOP(20, 21, 1) {
		t.Error("no worse on a hot day")
	}
	if chillerCOP(30, 21, 0.3) >= chillerCOP(30, 21, 1) {
		t.Error("no worse at low load")
	}
}

func TestFansFollowTheCubeLaw(t *testing.T) {
	t.Parallel()
	p := demoSites()[0].plant
	full, part := p.run(p.itRatedKW, 21, 5), p.run(0.6*p.itRatedKW, 21, 5)
	near(t, "at full load", full.fan, p.fanRatedKW, 1e-9)
	near(t, "at part load", part.fan/full.fan, math.Pow(p.airFlow(0.6*p.itRatedKW), 3), 1e-9)
	if minimum := p.airFlow(0); minimum != 0.5 {
		t.Errorf("least flow: %v", minimum)
	}
}

func TestColdDaySavesTheChiller(t *testing.T) {
	t.Parallel()
	p := demoSites()[0].plant
	cold, hot := p.run(800, 21, 2), p.run(800, 21, 33)
	if cold.chiller != 0 || hot.chiller < 0.15*800 {
		t.Errorf("chiller: cold day %v kW, hot day %v kW", cold.chiller, hot.chiller)
	}
}

func TestHotSpotsAtHighLoad(t *testing.T) {
	t.Parallel()
	p := demoSites()[1].plant
	low, high := p.inlets(0.6*p.itRatedKW, 21.5), p.inlets(0.95*p.itRatedKW, 21.5)
	if low.above(27) >= high.above(27) {
		t.Errorf("share of hot racks: %v at low load, %v at high load", low.above(27), high.above(27))
	}
	near(t, "share above the 95th percentile", high.above(high.p95C()), 0.05, 1e-3)
}
