package kpi_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/kpi"
)

// hoursOf makes a series of hours in which load gives the IT power and overhead
// the power beside it, in kW; a load of 0 is a gap.
func hoursOf(r kpi.Range, zone *time.Location, load func(at time.Time) float64, overhead func(load float64) float64) *kpi.Series {
	s := kpi.NewSeries(kpi.Hour.Divide(r, zone))
	for i := range s.Len() {
		hour, _, _ := s.At(i)
		if it := load(hour.From.In(zone)); it > 0 {
			price := 0.1
			s.Add(&kpi.Values{ITLoadKW: it, FacilityKW: it + overhead(it), PricePerKWh: &price}, hour)
		}
	}
	return s
}

// weekly is a load with a weekend.
func weekly(at time.Time) float64 {
	if day := at.Weekday(); day == time.Saturday || day == time.Sunday {
		return 600 + float64(at.Hour())
	}
	return 1000 + 10*float64(at.Hour())
}

func days(t *testing.T, from string, n int, zone *time.Location) kpi.Range {
	t.Helper()
	start, err := kpi.ParseTime(from, time.Now(), zone)
	require.NoError(t, err)
	y, m, d := start.In(zone).Date()
	return kpi.Range{From: start, To: kpi.StartOfDay(y, m, d+n, zone)}
}

func compared(t *testing.T, c kpi.Comparison, name string) kpi.Compared {
	t.Helper()
	for _, f := range c.Figures {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("there is no figure %s; refusals: %v", name, c.Refusals)
	return kpi.Compared{}
}

var later = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

// Two periods that begin on different days of the week and differ in length have
// no difference when every hour of the week is the same, and a naive one that is
// none of the site.
func TestMatchingComparesMondaysWithMondays(t *testing.T) {
	t.Parallel()
	loc := zone(t, "Europe/Madrid")
	overhead := func(it float64) float64 { return 0.3 * it }
	before := days(t, "2026-02-02", 20, loc) // from a Monday to a Saturday
	after := days(t, "2026-03-07", 25, loc)  // with the change to summer time
	b, a := hoursOf(before, loc, weekly, overhead), hoursOf(after, loc, weekly, overhead)

	matched := kpi.CompareHours(before, after, b, a, loc, later, true)
	require.Empty(t, matched.Refusals)
	assert.Equal(t, 168, matched.Cells)
	assert.InDelta(t, 25*24-1, matched.MatchedHours, 1e-9)
	f := compared(t, matched, "it_energy_kwh")
	require.NotNil(t, f.Difference)
	assert.InDelta(t, 0, *f.Difference, 1e-6)
	assert.InDelta(t, 0, *f.PerHour, 1e-9)
	assert.False(t, matched.ITLoadChanged)

	plain := kpi.CompareHours(before, after, b, a, loc, later, false)
	f = compared(t, plain, "it_energy_kwh")
	assert.Nil(t, f.Difference)
	assert.Contains(t, f.Withheld, "differ in length")
	require.NotNil(t, f.PerHour)
	assert.Greater(t, *f.PerHour*-1, 1.0, "more weekends")
}

// The matched difference equals one that is computed here from the definition: the
// mean over the hours of the week, weighted with the hours after.
func TestTheMatchedDifferenceIsThatOfItsDefinition(t *testing.T) {
	t.Parallel()
	loc := time.UTC
	before, after := days(t, "2026-02-01", 28, loc), days(t, "2026-03-01", 30, loc)
	lower := func(at time.Time) float64 { return weekly(at) - 0.5*float64(at.Day()+at.Hour()) }
	gap := func(at time.Time) float64 {
		if at.Day() == 12 || at.Hour() == 3 {
			return 0
		}
		return lower(at)
	}
	overhead := func(it float64) float64 { return 150 + 0.2*it }
	c := kpi.CompareHours(before, after, hoursOf(before, loc, weekly, overhead), hoursOf(after, loc, gap, overhead), loc, later, true)
	require.Empty(t, c.Refusals)
	assert.Equal(t, 168-7, c.Cells, "the hour 3 of each day is missing after")

	var difference, weights, it, facility, itBefore, facilityBefore float64
	for week := range 168 {
		var n [2]float64
		var kwh [2]float64
		for i, side := range []struct {
			r    kpi.Range
			load func(time.Time) float64
		}{{before, weekly}, {after, gap}} {
			for at := side.r.From.In(loc); at.Before(side.r.To); at = at.Add(time.Hour) {
				if (int(at.Weekday())+6)%7*24+at.Hour() == week && side.load(at) > 0 {
					n[i]++
					kwh[i] += side.load(at)
				}
			}
		}
		if n[0] >= 2 && n[1] >= 2 {
			difference += n[1] * (kwh[1]/n[1] - kwh[0]/n[0])
			weights += n[1]
			it, itBefore = it+kwh[1], itBefore+n[1]*kwh[0]/n[0]
		}
	}
	facility, facilityBefore = it*1.2+150*weights, itBefore*1.2+150*weights
	f := compared(t, c, "it_energy_kwh")
	require.NotNil(t, f.PerHour)
	assert.InEpsilon(t, difference/weights, *f.PerHour, 1e-9)
	assert.InEpsilon(t, difference, *f.Difference, 1e-9)
	pue := compared(t, c, "pue")
	assert.InEpsilon(t, facilityBefore/itBefore, *pue.Before.Value, 1e-12)
	assert.InEpsilon(t, facility/it, *pue.After.Value, 1e-12)
	assert.InEpsilon(t, facility/it-facilityBefore/itBefore, *pue.Difference, 1e-9)
}

// Eight percent more IT load and nothing else: the whole difference of PUE is that
// of the load.
func TestThePUETrap(t *testing.T) {
	t.Parallel()
	before, after := days(t, "2026-02-02", 28, time.UTC), days(t, "2026-03-02", 28, time.UTC)
	overhead := func(it float64) float64 { return 180 + 0.19*it }
	more := func(at time.Time) float64 { return 1.08 * weekly(at) }
	c := kpi.CompareHours(before, after, hoursOf(before, time.UTC, weekly, overhead), hoursOf(after, time.UTC, more, overhead), time.UTC, later, true)
	require.Empty(t, c.Refusals)
	require.NotNil(t, c.Trap)
	assert.True(t, c.ITLoadChanged)
	assert.InDelta(t, 8, *c.ITLoadDiffPct, 1e-9)
	assert.InDelta(t, 180, c.Trap.AlphaKW, 1e-6)
	assert.InDelta(t, 0.19, c.Trap.Beta, 1e-9)
	assert.InDelta(t, 1, c.Trap.RSquared, 1e-9)
	assert.InDelta(t, c.Trap.PUEAfter, c.Trap.Expected, 1e-9)
	assert.InDelta(t, 0, c.Trap.Rest, 1e-9)
	assert.Less(t, c.Trap.ByLoad, -0.005)
	assert.Contains(t, c.Trap.Text(), "PUE fell by")
	assert.Contains(t, c.Trap.Text(), "not a saving")

	constant := func(time.Time) float64 { return 1000 }
	c = kpi.CompareHours(before, after, hoursOf(before, time.UTC, constant, overhead), hoursOf(after, time.UTC, more, overhead), time.UTC, later, true)
	assert.Nil(t, c.Trap, "a constant load does not tell how the overhead follows it")
}

func TestComparisonsThatAreRefusedOrWithheld(t *testing.T) {
	t.Parallel()
	overhead := func(it float64) float64 { return 0.3 * it }
	before, after := days(t, "2026-02-02", 28, time.UTC), days(t, "2026-03-02", 28, time.UTC)
	whole := hoursOf(before, time.UTC, weekly, overhead)

	short := days(t, "2026-03-02", 13, time.UTC)
	c := kpi.CompareHours(before, short, whole, hoursOf(short, time.UTC, weekly, overhead), time.UTC, later, true)
	require.Len(t, c.Refusals, 1)
	assert.Contains(t, c.Refusals[0], "after is shorter than 14 days")
	assert.Empty(t, c.Figures)

	mornings := func(at time.Time) float64 {
		if at.Hour() >= 11 {
			return 0
		}
		return weekly(at)
	}
	c = kpi.CompareHours(before, after, whole, hoursOf(after, time.UTC, mornings, overhead), time.UTC, later, true)
	require.Len(t, c.Refusals, 2)
	assert.Contains(t, c.Refusals[0], "45.8 % of the period after")
	assert.Contains(t, c.Refusals[1], "Only 77 of the 168 hours")

	partial := func(at time.Time) float64 {
		if at.Hour() >= 20 {
			return 0
		}
		return weekly(at)
	}
	c = kpi.CompareHours(before, after, whole, hoursOf(after, time.UTC, partial, overhead), time.UTC, later, false)
	require.Empty(t, c.Refusals)
	f := compared(t, c, "pue")
	assert.NotNil(t, f.After.Value)
	assert.Nil(t, f.Difference)
	assert.Contains(t, f.Withheld, "partial")

	// A period that is not over is as long as it has lasted.
	c = kpi.CompareHours(before, after, whole, hoursOf(after, time.UTC, weekly, overhead), time.UTC, after.From.Add(48*time.Hour), true)
	require.NotEmpty(t, c.Refusals)
	assert.Contains(t, c.Refusals[0], "after is shorter")
}

// What a comparison says of the weather, with temperatures before and after.
func TestWeatherOfAComparison(t *testing.T) {
	t.Parallel()
	degrees := func(c float64) *float64 { return &c }
	before, after := days(t, "2026-02-02", 14, time.UTC), days(t, "2026-02-16", 14, time.UTC)
	for name, test := range map[string]struct {
		values [2]kpi.Values
		every  int // one reading in so many has them
		want   string
	}{
		"none":        {[2]kpi.Values{}, 1, "no weather data: the effect of weather cannot be told apart"},
		"one period":  {[2]kpi.Values{{DryBulbC: degrees(3)}, {}}, 1, "no weather data: the effect of weather cannot be told apart"},
		"other kinds": {[2]kpi.Values{{DryBulbC: degrees(3)}, {WetBulbC: degrees(3)}}, 1, "no weather data: the effect of weather cannot be told apart"},
		"like":        {[2]kpi.Values{{DryBulbC: degrees(3)}, {DryBulbC: degrees(2.1)}}, 1, "the mean outdoor temperature was 3.0 °C before and 2.1 °C after (-0.9 K)"},
		"warmer": {[2]kpi.Values{{DryBulbC: degrees(-3)}, {DryBulbC: degrees(4.5)}}, 1,
			"the mean outdoor temperature was -3.0 °C before and 4.5 °C after (+7.5 K): the weather may explain a part of every difference"},
		"wet bulb": {[2]kpi.Values{{WetBulbC: degrees(1)}, {WetBulbC: degrees(1)}}, 1, "the mean outdoor wet-bulb temperature was 1.0 °C before and 1.0 °C after (+0.0 K)"},
		"some": {[2]kpi.Values{{DryBulbC: degrees(3)}, {DryBulbC: degrees(3)}}, 2,
			"too little weather data: the outdoor temperature covers only 50.0 % of the readings of a period, so the effect of weather cannot be told apart"},
	} {
		var periods [2]*kpi.Series
		for k, times := range []kpi.Range{before, after} {
			periods[k] = kpi.NewSeries(kpi.Hour.Divide(times, time.UTC))
			for i := range periods[k].Len() {
				hour, _, _ := periods[k].At(i)
				v := kpi.Values{ITLoadKW: 100, FacilityKW: 140}
				if i%test.every == 0 {
					v.DryBulbC, v.WetBulbC = test.values[k].DryBulbC, test.values[k].WetBulbC
				}
				periods[k].Add(&v, hour)
			}
		}
		c := kpi.CompareHours(before, after, periods[0], periods[1], time.UTC, later, false)
		require.Empty(t, c.Refusals, name)
		assert.Equal(t, test.want, c.Weather, name)
	}
}
