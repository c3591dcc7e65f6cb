package mv

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Coverage says how much of a period the data covers.
type Coverage struct {
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Expected int       `json:"rows_expected"`
	Rows     int       `json:"rows_present"` // rows with a load
}

// expected is the number of rows that a period should have.
func expected(i Interval, p Period) int {
	if p.To.Before(p.From) || p.From.IsZero() {
		return 0
	}
	switch i {
	case Month, Day:
		n := i.position(p.To.In(p.From.Location())) - i.position(p.From)
		return n
	}
	return int(p.To.Sub(p.From) / i.step())
}

func (t *Table) coverage(p Period) Coverage {
	c := Coverage{From: p.From, To: p.To, Expected: expected(t.Interval, p)}
	for _, v := range t.Load.Values {
		if !math.IsNaN(v) {
			c.Rows++
		}
	}
	return c
}

// Limits of the sufficiency rules; sources are CalTRACK 2.0 (2.2.1, 2.2.2),
// Guideline 14 and ISO/IEC 30134-2.
const (
	fullYearDays     = 365
	missingShare     = 0.10
	monthCoverage    = 0.90
	outsideShare     = 0.10
	interpolatedRows = 6 * time.Hour
	outlierIQR       = 3.0
)

// FillTemperatures interpolates gaps of the temperatures of at most 6 hours
// (CalTRACK 2.3.3) and returns what it filled. Loads are never filled.
func (t *Table) FillTemperatures() []Finding {
	step := t.Interval.step()
	if step == 0 {
		return nil
	}
	filled := 0
	for k := range t.Drivers {
		c := &t.Drivers[k]
		if c.Role != Temperature && c.Role != WetBulb {
			continue
		}
		c.Values = slices.Clone(c.Values) // the table may share them with another
		last := -1
		for i, v := range c.Values {
			if math.IsNaN(v) {
				continue
			}
			if last >= 0 && i-last > 1 && t.Start[i].Sub(t.Start[last])-step <= interpolatedRows {
				span := t.Start[i].Sub(t.Start[last]).Hours()
				for gap := last + 1; gap < i; gap++ {
					share := t.Start[gap].Sub(t.Start[last]).Hours() / span
					c.Values[gap] = c.Values[last] + share*(v-c.Values[last])
					filled++
				}
			}
			last = i
		}
	}
	if filled == 0 {
		return nil
	}
	return []Finding{found("MV216", filled, fmt.Sprintf("%d readings.", filled))}
}

// checker gathers findings of one table.
type checker struct{ findings []Finding }

func (c *checker) add(code string, count int, format string, args ...any) {
	c.findings = append(c.findings, found(code, count, fmt.Sprintf(format, args...)))
}

// quality looks at the readings of a period. name is "baseline" or "reporting
// period".
func quality(t *Table, p Period, name string) []Finding {
	c := &checker{}
	cov := t.coverage(p)
	if cov.Rows == 0 {
		c.add("MV225", 1, "It is the %s.", name)
		return c.findings
	}
	days := p.days()
	if name == "baseline" {
		if days < fullYearDays-0.5 && t.Interval != Month || t.Interval == Month && cov.Expected < 12 {
			c.add("MV201", 1, "It has %.0f days.", days)
		}
	} else if days < fullYearDays-0.5 && t.Interval != Month || t.Interval == Month && cov.Expected < 12 {
		c.add("MV220", 1, "It has %.0f days.", days)
	}
	if miss := cov.Expected - cov.Rows; float64(miss) > missingShare*float64(cov.Expected) {
		c.add("MV202", miss, "%d of %d rows of the %s are missing.", miss, cov.Expected, name)
	}
	c.months(t, p, name)
	c.gaps(t, name)
	c.load(t, name)
	c.drivers(t, name)
	return c.findings
}

// months looks at the share of readings by month and by day.
func (c *checker) months(t *Table, p Period, name string) {
	if t.Interval == Month {
		var poor []string
		for i, h := range t.Hours {
			full := Month.end(t.Start[i]).Sub(t.Start[i]).Hours()
			if h > 0 && h < monthCoverage*full {
				poor = append(poor, t.Start[i].Format("2006-01"))
			}
		}
		if len(poor) > 0 {
			c.add("MV203", len(poor), "In the %s: %s.", name, strings.Join(poor, ", "))
		}
		return
	}
	rows, dayRows := map[int]int{}, map[int]int{}
	for i, v := range t.Load.Values {
		if !math.IsNaN(v) {
			rows[Month.position(t.Start[i])]++
			dayRows[Day.position(t.Start[i])]++
		}
	}
	var poor []string
	for at := p.From; at.Before(p.To); {
		next := time.Date(at.Year(), at.Month()+1, 1, 0, 0, 0, 0, at.Location())
		end := next
		if end.After(p.To) {
			end = p.To
		}
		want := expected(t.Interval, Period{at, end})
		if want > 0 && float64(rows[Month.position(at)]) < monthCoverage*float64(want) {
			poor = append(poor, at.Format("2006-01"))
		}
		at = next
	}
	if len(poor) > 0 {
		c.add("MV203", len(poor), "In the %s: %s.", name, strings.Join(poor, ", "))
	}
	if t.Interval == Day {
		return
	}
	perDay := int(24*time.Hour/t.Interval.step()) / 2
	half := 0
	for _, n := range dayRows {
		if n < perDay {
			half++
		}
	}
	if half > 0 {
		c.add("MV205", half, "%d days of the %s.", half, name)
	}
}

// gaps finds the longest stretch without readings.
func (c *checker) gaps(t *Table, name string) {
	last := -1
	var longest time.Duration
	var at time.Time
	for i, v := range t.Load.Values {
		if math.IsNaN(v) {
			continue
		}
		if last >= 0 && t.Interval.position(t.Start[i])-t.Interval.position(t.Start[last]) > 1 {
			from := t.Interval.end(t.Start[last])
			if d := t.Start[i].Sub(from); d > longest {
				longest, at = d, from
			}
		}
		last = i
	}
	if longest > 24*time.Hour {
		c.add("MV204", 1, "%.1f days from %s in the %s.", longest.Hours()/24, at.Format("2006-01-02 15:04"), name)
	}
}

// load looks at the values of the load.
func (c *checker) load(t *Table, name string) {
	values := present(t.Load.Values)
	if len(values) < 10 {
		return
	}
	negative, _ := slices.BinarySearch(values, 0)
	if negative > 0 {
		c.add("MV207", negative, "%d readings of the %s.", negative, name)
	}
	q1, median, q3 := quantileSorted(values, 0.25), quantileSorted(values, 0.5), quantileSorted(values, 0.75)
	limit := median + outlierIQR*(q3-q1)
	high := 0
	for _, v := range values {
		if q3 > q1 && v > limit {
			high++
		}
	}
	if high > 0 {
		c.add("MV208", high, "%d readings of the %s are above %.6g %s.", high, name, limit, t.Load.Unit)
	}
	c.stuck(t, name)
	c.counter(t, name)
	c.unitStep(t.Load, name)
	if it := t.driver("IT"); it != nil {
		below := 0
		for i, v := range t.Load.Values {
			if v < it.Values[i]*(1-1e-9) {
				below++
			}
		}
		if below > 0 {
			c.add("MV213", below, "%d rows of the %s.", below, name)
		}
		c.unitStep(*it, name)
	}
}

// stuck finds a day of equal readings, or a week of equal days.
func (c *checker) stuck(t *Table, name string) {
	limit := 7
	if step := t.Interval.step(); step > 0 {
		limit = int(24 * time.Hour / step)
	}
	if t.Interval == Month {
		limit = 3
	}
	run, longest := 1, 1
	for i := 1; i < t.Len(); i++ {
		if v := t.Load.Values[i]; v == t.Load.Values[i-1] && v != 0 {
			run++
			longest = max(longest, run)
		} else {
			run = 1
		}
	}
	if longest >= limit {
		c.add("MV210", longest, "%d equal readings in a row in the %s.", longest, name)
	}
}

// counter recognizes a register reading: it only grows, or grows and wraps.
func (c *checker) counter(t *Table, name string) {
	var up, down, n int
	var values []float64
	for _, v := range t.Load.Values {
		if math.IsNaN(v) {
			continue
		}
		if len(values) > 0 {
			n++
			if v >= values[len(values)-1] {
				up++
			} else if v < values[len(values)-1]/2 {
				down++
			}
		}
		values = append(values, v)
	}
	if n < 30 || up+down < n || values[len(values)-1] == values[0] {
		return
	}
	if down > 0 && down <= max(1, n/100) {
		c.add("MV226", down, "%d times in the %s.", down, name)
		c.add("MV212", 1, "It is the %s.", name)
	} else if down == 0 {
		c.add("MV212", 1, "It is the %s.", name)
	}
}

// unitStep compares the medians of the quarters of a period with the median of
// all: a factor near 1,000 is a change of unit.
func (c *checker) unitStep(col Column, name string) {
	n := len(col.Values)
	if n < 8 {
		return
	}
	var medians []float64
	for k := range 4 {
		if part := present(col.Values[k*n/4 : (k+1)*n/4]); len(part) > 0 {
			medians = append(medians, quantileSorted(part, 0.5))
		}
	}
	for _, a := range medians {
		for _, b := range medians {
			if b > 0 && a/b > 300 && a/b < 3000 {
				c.add("MV211", 1, "Column %q of the %s has levels of %.4g and %.4g.", col.Name, name, b, a)
				return
			}
		}
	}
}

// drivers looks at the drivers.
func (c *checker) drivers(t *Table, name string) {
	for _, d := range t.Drivers {
		values := present(d.Values)
		missing := 0
		for i, v := range d.Values {
			if math.IsNaN(v) && !math.IsNaN(t.Load.Values[i]) {
				missing++
			}
		}
		if missing > 0 {
			c.add("MV215", missing, "Column %q lacks %d rows of the %s.", d.Name, missing, name)
		}
		if len(values) > 1 && values[0] == values[len(values)-1] {
			c.add("MV218", 1, "Column %q is %.6g throughout the %s.", d.Name, values[0], name)
		}
		if (d.Role == Temperature || d.Role == WetBulb) && len(values) > 0 {
			c.temperature(d, values, name)
		}
		c.clock(t, d, name)
	}
}

// temperature checks a temperature against what weather can be.
func (c *checker) temperature(d Column, sorted []float64, name string) {
	low, high, median := -60.0, 60.0, 45.0
	if d.Unit == "F" {
		low, high, median = -76, 140, 113
	}
	mid := quantileSorted(sorted, 0.5)
	if sorted[0] < low || sorted[len(sorted)-1] > high || mid > median {
		c.add("MV219", 1, "Column %q of the %s runs from %.4g to %.4g %s.", d.Name, name, sorted[0], sorted[len(sorted)-1], d.Unit)
	}
}

// clock looks for the hour of a clock change that is missing in one series and
// present in the other: a Sunday in March, or the first of November, between
// 01:00 and 03:59.
func (c *checker) clock(t *Table, d Column, name string) {
	if t.Interval.step() == 0 {
		return
	}
	for i := range t.Start {
		at := t.Start[i]
		if at.Weekday() != time.Sunday || at.Hour() < 1 || at.Hour() > 3 || at.Month() != time.March && at.Month() != time.November && at.Month() != time.October {
			continue
		}
		load, driver := math.IsNaN(t.Load.Values[i]), math.IsNaN(d.Values[i])
		alone := func(v []float64) bool {
			return i > 0 && i+1 < len(v) && !math.IsNaN(v[i-1]) && !math.IsNaN(v[i+1])
		}
		if load != driver && (load && alone(t.Load.Values) || driver && alone(d.Values)) {
			series := d.Name
			if load {
				series = t.Load.Name
			}
			c.add("MV214", 1, "Column %q at %s in the %s.", series, at.Format("2006-01-02 15:04"), name)
			return
		}
	}
}
