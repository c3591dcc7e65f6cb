package mv

import (
	"math"
	"time"
)

// Interval is the length of the rows of a Table.
type Interval string

// The lengths that a row may have.
const (
	QuarterHour Interval = "quarter_hour"
	HalfHour    Interval = "half_hour"
	Hour        Interval = "hour"
	Day         Interval = "day"
	Month       Interval = "month"
)

// step is the fixed duration of a row, or 0 where the calendar decides.
func (i Interval) step() time.Duration {
	switch i {
	case QuarterHour:
		return 15 * time.Minute
	case HalfHour:
		return 30 * time.Minute
	case Hour:
		return time.Hour
	}
	return 0
}

// position numbers the rows of an interval, so that neighbors differ by one.
func (i Interval) position(t time.Time) int {
	switch i {
	case Month:
		return t.Year()*12 + int(t.Month())
	case Day:
		y, m, d := t.Date()
		return int(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / 86400)
	}
	return int(t.Unix() / int64(i.step()/time.Second))
}

// end is the end of the row that starts at t.
func (i Interval) end(t time.Time) time.Time {
	switch i {
	case Month:
		return t.AddDate(0, 1, 0)
	case Day:
		return t.AddDate(0, 0, 1)
	}
	return t.Add(i.step())
}

// Role says what a driver is to the models.
type Role string

// The roles of drivers.
const (
	Temperature Role = "temperature" // outdoor dry-bulb temperature
	WetBulb     Role = "wet_bulb"    // outdoor wet-bulb temperature
	IT          Role = "it"          // energy or power of the IT equipment
	Other       Role = "other"       // any other quantity that explains the load
)

// Column is one series of a Table: one value a row, NaN where it is missing.
type Column struct {
	Name   string
	Role   Role
	Unit   string // Wh, kWh, MWh, W, kW, MW; C or F for temperatures; free for others
	Values []float64
}

// Table is metered data in rows of one length, sorted by time, without
// duplicate stamps. Rows may be absent.
type Table struct {
	Interval Interval
	Start    []time.Time // start of each row, in the zone of the site
	Load     Column      // energy or mean power of the facility
	Drivers  []Column
	Hours    []float64 // hours that each row covers
}

// Len is the number of rows.
func (t *Table) Len() int { return len(t.Start) }

// driver finds a driver by its role, or by its name for the role Other.
func (t *Table) driver(token string) *Column {
	for i := range t.Drivers {
		d := &t.Drivers[i]
		if roleToken(d.Role) == token || d.Name == token && d.Role == Other {
			return d
		}
	}
	return nil
}

// Period is the half-open stretch of time [From, To).
type Period struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// days is the length of a period in days of 24 hours.
func (p Period) days() float64 { return p.To.Sub(p.From).Hours() / 24 }

// within returns the rows of t that start in the period. The columns share the
// memory of t.
func (t *Table) within(p Period) *Table {
	lo, hi := 0, len(t.Start)
	for lo < hi && t.Start[lo].Before(p.From) {
		lo++
	}
	for hi > lo && !t.Start[hi-1].Before(p.To) {
		hi--
	}
	out := &Table{Interval: t.Interval, Start: t.Start[lo:hi], Load: t.Load, Hours: t.Hours[lo:hi]}
	out.Load.Values = t.Load.Values[lo:hi]
	for _, d := range t.Drivers {
		d.Values = d.Values[lo:hi]
		out.Drivers = append(out.Drivers, d)
	}
	return out
}

// energyUnits and powerUnits give each unit in watt-hours and watts.
var (
	energyUnits = map[string]float64{"Wh": 1, "kWh": 1e3, "MWh": 1e6}
	powerUnits  = map[string]float64{"W": 1, "kW": 1e3, "MW": 1e6}
)

// isPower tells whether the unit is one of mean power.
func isPower(unit string) bool { return powerUnits[unit] != 0 }

// energyUnit is the unit of a load summed over time: that of energy which
// belongs to a unit of power, else the unit itself.
func energyUnit(unit string) string {
	if isPower(unit) {
		return unit + "h"
	}
	return unit
}

// Daily sums a Table of shorter rows into local calendar days. A day with at
// least half of its readings is scaled to its full length (CalTRACK 2.2.2.1);
// a day with fewer is missing. Drivers become the mean of the readings, and the
// IT column is treated like the load.
func (t *Table) Daily() *Table {
	if t.Interval.step() == 0 {
		return t
	}
	out := &Table{Interval: Day, Load: t.Load}
	out.Load.Values = nil
	for _, d := range t.Drivers {
		d.Values = nil
		out.Drivers = append(out.Drivers, d)
	}
	for i := 0; i < t.Len(); {
		y, m, d := t.Start[i].Date()
		from := time.Date(y, m, d, 0, 0, 0, 0, t.Start[i].Location())
		j := i
		for j < t.Len() && Day.position(t.Start[j]) == Day.position(t.Start[i]) {
			j++
		}
		rows := from.AddDate(0, 0, 1).Sub(from).Hours() / t.Interval.step().Hours()
		out.Start = append(out.Start, from)
		out.Hours = append(out.Hours, rows*t.Interval.step().Hours())
		out.Load.Values = append(out.Load.Values, dayValue(t.Load.Values[i:j], rows, !isPower(t.Load.Unit)))
		for k, c := range t.Drivers {
			out.Drivers[k].Values = append(out.Drivers[k].Values, dayValue(c.Values[i:j], rows, energyUnits[c.Unit] != 0))
		}
		i = j
	}
	return out
}

// dayValue is the sum or the mean of one day that should have rows readings.
func dayValue(values []float64, rows float64, sum bool) float64 {
	var present []float64
	for _, v := range values {
		if !math.IsNaN(v) {
			present = append(present, v)
		}
	}
	n := float64(len(present))
	if n == 0 || n < rows/2 {
		return math.NaN()
	}
	total := sumOf(present)
	if !sum {
		return total / n
	}
	if n == rows {
		return total
	}
	return total / n * rows
}
