package kpi

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// What a comparison needs, so that a difference says something of the site.
const (
	LeastComparedDays  = 14   // length of each period
	LeastMatchedCells  = 84   // of the 168 hours of a week
	leastCellHours     = 2    // of each period in a cell
	hourCoveredPct     = 90.0 // from which an hour counts
	leastPeriodPct     = 50.0 // completeness of each period
	closePoints        = 5.0  // by how much the completeness of two figures may differ
	sameLoadPct        = 2.0  // a change of the IT load that is not worth a warning
	sameOutdoorK       = 1.0  // a difference of the outdoor temperature that is not worth a warning
	leastTrapHours     = 48   // to fit the overhead over the IT load
	hoursOfWeek        = 7 * 24
	comparableLengthBy = 0.01
)

// Compared is a figure of two periods. It speaks of a difference and never of a
// saving: the load, the weather and other things differ between periods, too.
type Compared struct {
	KPI
	Before, After Figure
	Difference    *float64 // after − before; nil: withheld, and Withheld says why
	DifferencePct *float64 // of the figure before
	PerHour       *float64 // kWh, kg or USD: difference of the means of an hour
	Withheld      string
}

// Comparison is a comparison of two periods.
type Comparison struct {
	Matched       bool    // by hour of the week; false: plain
	Cells         int     // hours of the week that are in both periods; 0 when plain
	MatchedHours  float64 // hours of the period after that the figures rest on
	CompletePct   [2]float64
	Refusals      []string // why there are no figures; empty: there are
	Figures       []Compared
	ITLoadKW      [2]*float64 // mean power, before and after
	PricePerKWh   [2]*float64 // mean price, weighted with energy
	CarbonGPerKWh [2]*float64 // mean intensity, weighted with energy
	SetpointC     [2]*float64
	DryBulbC      [2]*float64 // outdoor temperatures
	WetBulbC      [2]*float64
	Weather       string // what is known of the weather of the periods
	Trap          *Trap  // nil: the hours before do not tell how the overhead follows the IT load
	ITLoadChanged bool   // by more than 2 %
	ITLoadDiffPct *float64
}

// Trap says how much of a difference of PUE the IT load alone explains. The
// overhead of the hours before is fitted by least squares as
//
//	overhead = Alpha + Beta × IT load
//
// and a facility that did not change would then have a PUE of
// 1 + Beta + Alpha / IT load.
type Trap struct {
	AlphaKW      float64 // overhead without IT load
	Beta         float64 // kW of overhead for each kW of IT load
	RSquared     float64
	Hours        int     // in the fit
	PUEBefore    float64 // of the hours that the figures rest on
	PUEAfter     float64
	Expected     float64 // PUE that the unchanged facility would have at the IT load after
	ByLoad       float64 // Expected − PUEBefore
	Rest         float64 // PUEAfter − Expected
	Extrapolated bool    // the IT load after lies outside of that of the hours before
}

// Text says it in a sentence.
func (t *Trap) Text() string {
	change, word := t.PUEAfter-t.PUEBefore, "rose"
	if change < 0 {
		word = "fell"
	}
	return fmt.Sprintf("PUE %s by %.3f; the change of the IT load alone would have changed it by %+.3f. A difference of PUE is not a saving.",
		word, math.Abs(change), t.ByLoad)
}

// period is one side of a comparison: what the hours add up to.
type period struct {
	times   Range
	hours   *Series
	sums    Sums
	covered float64
	wanted  float64
}

func newPeriod(times Range, hours *Series, now time.Time) period {
	p := period{times: times, hours: hours, wanted: Wanted(times, now)}
	for i := range hours.Len() {
		_, s, covered := hours.At(i)
		p.sums.Merge(s)
		p.covered += covered
	}
	return p
}

func (p *period) completePct() float64 {
	if p.wanted <= 0 {
		return 0
	}
	return min(100, 100*p.covered/p.wanted)
}

// CompareHours compares two periods whose hours are given as series of the
// buckets Hour on the clock of a zone.
//
// Plain figures are those of the whole periods. Matched ones rest on hours of
// the week that both periods have at least twice, at least 90 % covered: each
// hour before is weighted so that every hour of the week weighs as much as it
// does after. A Monday is thus compared with Mondays. A ratio is still a ratio of
// sums.
func CompareHours(before, after Range, hoursBefore, hoursAfter *Series, zone *time.Location, now time.Time, matched bool) Comparison {
	b, a := newPeriod(before, hoursBefore, now), newPeriod(after, hoursAfter, now)
	c := Comparison{Matched: matched, Weather: noWeather, CompletePct: [2]float64{b.completePct(), a.completePct()}}
	for _, side := range []struct {
		name string
		p    *period
	}{{"before", &b}, {"after", &a}} {
		if side.p.wanted < LeastComparedDays*24*3600-3600 { // a period with a clock change may be an hour shorter
			c.Refusals = append(c.Refusals, fmt.Sprintf("The period %s is shorter than %d days.", side.name, LeastComparedDays))
		}
		if pct := side.p.completePct(); pct < leastPeriodPct {
			c.Refusals = append(c.Refusals, fmt.Sprintf("Readings cover %.1f %% of the period %s, which is less than %.0f %%.", pct, side.name, leastPeriodPct))
		}
	}
	trapHours := hoursBefore
	if matched {
		c.match(&b, &a, zone)
		if c.Cells < LeastMatchedCells {
			c.Refusals = append(c.Refusals, fmt.Sprintf("Only %d of the 168 hours of the week are in both periods; at least %d are needed.", c.Cells, LeastMatchedCells))
		}
	}
	c.MatchedHours = a.covered / 3600
	if len(c.Refusals) > 0 {
		return c
	}
	c.context(&b, &a)
	c.Trap = trapOf(trapHours, &b, &a)
	c.figures(&b, &a)
	return c
}

// hourOfWeek counts from Monday, 00:00.
func hourOfWeek(at time.Time) int { return (int(at.Weekday())+6)%7*24 + at.Hour() }

type weekCell struct {
	sums    Sums
	covered float64
	hours   int
}

func cellsOf(hours *Series, zone *time.Location) *[hoursOfWeek]weekCell {
	var cells [hoursOfWeek]weekCell
	for i := range hours.Len() {
		r, s, covered := hours.At(i)
		if covered <= 0 || 100*covered < hourCoveredPct*r.Seconds() || r.Seconds() < 3599 { // cut at an end of the period, or by a clock change
			continue
		}
		cell := &cells[hourOfWeek(r.From.In(zone))]
		cell.sums.Merge(s)
		cell.covered += covered
		cell.hours++
	}
	return &cells
}

// match replaces what both periods add up to by what their matched hours do.
func (c *Comparison) match(b, a *period, zone *time.Location) {
	before, after := cellsOf(b.hours, zone), cellsOf(a.hours, zone)
	b.sums, a.sums = Sums{}, Sums{}
	b.covered, a.covered, b.wanted, a.wanted = 0, 0, 0, 0
	for k := range hoursOfWeek {
		x, y := &before[k], &after[k]
		if x.hours < leastCellHours || y.hours < leastCellHours {
			continue
		}
		c.Cells++
		weight := y.covered / x.covered // so that energies before are those of as much time
		for _, quantity := range x.sums.Quantities() {
			*quantity *= weight
		}
		b.sums.Merge(&x.sums)
		a.sums.Merge(&y.sums)
		b.covered, a.covered = b.covered+y.covered, a.covered+y.covered
		b.wanted, a.wanted = b.wanted+float64(y.hours)*3600, a.wanted+float64(y.hours)*3600
	}
}

// meanKW is the mean power over the time that readings cover.
func (p *period) meanKW(kwh float64) *float64 { return ratio(kwh*3600, p.covered) }

func (c *Comparison) context(b, a *period) {
	c.ITLoadKW = [2]*float64{b.meanKW(b.sums.ITKWh), a.meanKW(a.sums.ITKWh)}
	c.PricePerKWh = [2]*float64{ratio(b.sums.Cost, b.sums.PriceFacilityKWh), ratio(a.sums.Cost, a.sums.PriceFacilityKWh)}
	c.CarbonGPerKWh = [2]*float64{ratio(1000*b.sums.CarbonKg, b.sums.CarbonFacilityKWh), ratio(1000*a.sums.CarbonKg, a.sums.CarbonFacilityKWh)}
	c.SetpointC = [2]*float64{b.sums.Setpoint.Value(), a.sums.Setpoint.Value()}
	c.DryBulbC = [2]*float64{b.sums.DryBulb.Value(), a.sums.DryBulb.Value()}
	c.WetBulbC = [2]*float64{b.sums.WetBulb.Value(), a.sums.WetBulb.Value()}
	c.Weather = weatherOf(&b.sums, &a.sums)
	if x, y := c.ITLoadKW[0], c.ITLoadKW[1]; x != nil && y != nil && *x > 0 {
		pct := 100 * (*y - *x) / *x
		c.ITLoadDiffPct, c.ITLoadChanged = &pct, math.Abs(pct) > sameLoadPct
	}
}

const noWeather = "no weather data: the effect of weather cannot be told apart"

// weatherOf says how the outdoor temperatures of two periods differ: the
// dry-bulb ones, or the wet-bulb ones where those are absent.
func weatherOf(b, a *Sums) string {
	name, before, after := "outdoor temperature", b.DryBulb, a.DryBulb
	if before.Seconds == 0 || after.Seconds == 0 {
		name, before, after = "outdoor wet-bulb temperature", b.WetBulb, a.WetBulb
	}
	x, y := before.Value(), after.Value()
	if x == nil || y == nil {
		return noWeather
	}
	if pct := 100 * min(before.Seconds/b.Seconds, after.Seconds/a.Seconds); pct < completeAt {
		return fmt.Sprintf("too little weather data: the %s covers only %.1f %% of the readings of a period, so the effect of weather cannot be told apart", name, pct)
	}
	difference := fmt.Sprintf("the mean %s was %.1f °C before and %.1f °C after (%+.1f K)", name, *x, *y, *y-*x)
	if math.Abs(*y-*x) > sameOutdoorK {
		return difference + ": the weather may explain a part of every difference"
	}
	return difference
}

func (c *Comparison) figures(b, a *period) {
	for _, k := range Definitions() {
		c.Figures = append(c.Figures, compareFigure(k, b, a, &a.sums))
		switch k.Name {
		case "cost_usd": // at the price before, so that energy alone moves it
			if price := c.PricePerKWh[0]; price != nil {
				same := a.sums
				same.Cost = same.PriceFacilityKWh * *price
				k.Name, k.Title, k.Formula = "cost_usd_constant_price", "Cost at the price before", k.Formula+", with the mean price of the period before"
				c.Figures = append(c.Figures, compareFigure(k, b, a, &same))
			}
		case "co2e_kg":
			if intensity := c.CarbonGPerKWh[0]; intensity != nil {
				same := a.sums
				same.CarbonKg = same.CarbonFacilityKWh * *intensity / 1000
				k.Name, k.Title, k.Formula = "co2e_kg_constant_intensity", "CO2e at the intensity before", k.Formula+", with the mean intensity of the period before"
				c.Figures = append(c.Figures, compareFigure(k, b, a, &same))
			}
		}
	}
}

func compareFigure(k KPI, b, a *period, after *Sums) Compared {
	f := Compared{KPI: k, Before: k.Compute(&b.sums, b.covered, b.wanted), After: k.Compute(after, a.covered, a.wanted)}
	x, y := f.Before.Value, f.After.Value
	var why []string
	switch {
	case x == nil || y == nil:
		why = append(why, "there is no figure for both periods")
	case f.Before.Quality != Complete || f.After.Quality != Complete:
		why = append(why, "a figure is partial")
	case math.Abs(f.Before.CompletenessPct-f.After.CompletenessPct) > closePoints:
		why = append(why, "the completeness of the figures differs by more than 5 points")
	}
	if len(why) == 0 && k.AddsUp && a.covered > 0 && b.covered > 0 {
		perHour := *y*3600/a.covered - *x*3600/b.covered
		f.PerHour = &perHour
		if math.Abs(a.wanted-b.wanted) > comparableLengthBy*b.wanted {
			why = append(why, "the periods differ in length; compare the means of an hour")
		}
	}
	if len(why) > 0 {
		f.Withheld = strings.Join(why, "; ")
		return f
	}
	difference := *y - *x
	f.Difference = &difference
	f.DifferencePct = ratio(100*difference, math.Abs(*x))
	return f
}

// trapOf fits the overhead over the IT load of the hours before. It is nil when
// there are too few hours, or when their IT load hardly varies: under 1 % of its
// mean.
func trapOf(hours *Series, b, a *period) *Trap {
	var load, overhead []float64
	for i := range hours.Len() {
		r, s, covered := hours.At(i)
		if covered > 0 && 100*covered >= hourCoveredPct*r.Seconds() {
			load = append(load, s.ITKWh*3600/covered)
			overhead = append(overhead, (s.FacilityKWh-s.ITKWh)*3600/covered)
		}
	}
	n := float64(len(load))
	loadAfter, before, after := a.meanKW(a.sums.ITKWh), ratio(b.sums.FacilityKWh, b.sums.ITKWh), ratio(a.sums.FacilityKWh, a.sums.ITKWh)
	if len(load) < leastTrapHours || loadAfter == nil || *loadAfter <= 0 || before == nil || after == nil {
		return nil
	}
	var mx, my float64
	low, high := load[0], load[0]
	for i := range load {
		mx, my = mx+load[i]/n, my+overhead[i]/n
		low, high = min(low, load[i]), max(high, load[i])
	}
	var sxx, sxy, syy float64
	for i := range load {
		dx, dy := load[i]-mx, overhead[i]-my
		sxx, sxy, syy = sxx+dx*dx, sxy+dx*dy, syy+dy*dy
	}
	if math.Sqrt(sxx/n) < 0.01*mx {
		return nil
	}
	t := Trap{Beta: sxy / sxx, Hours: len(load), PUEBefore: *before, PUEAfter: *after, Extrapolated: *loadAfter < low || *loadAfter > high}
	t.AlphaKW = my - t.Beta*mx
	if syy > 0 {
		t.RSquared = sxy * sxy / (sxx * syy)
	}
	t.Expected = 1 + t.Beta + t.AlphaKW / *loadAfter
	t.ByLoad, t.Rest = t.Expected-t.PUEBefore, t.PUEAfter-t.Expected
	return &t
}
