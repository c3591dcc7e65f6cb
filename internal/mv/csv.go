package mv

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// maxRows bounds a file: ten years of quarter hours, and some more.
const maxRows = 400_000

// Layout says how a CSV file is to be read. Nothing in it is guessed where a
// guess could move the saving: zone, stamp convention and units are declared.
type Layout struct {
	Time        string   `json:"time"`                  // column of the time stamps
	Load        string   `json:"load"`                  // column of the facility's load
	LoadUnit    string   `json:"load_unit"`             // Wh, kWh, MWh, W, kW or MW
	Temperature string   `json:"temperature,omitempty"` // column of the outdoor dry-bulb temperature
	WetBulb     string   `json:"wet_bulb,omitempty"`    // column of the outdoor wet-bulb temperature
	Humidity    string   `json:"humidity,omitempty"`    // column of the relative humidity in percent; gives the wet-bulb temperature
	TempUnit    string   `json:"temp_unit,omitempty"`   // C or F, for both temperatures
	IT          string   `json:"it,omitempty"`          // column of the IT load
	ITUnit      string   `json:"it_unit,omitempty"`     // like LoadUnit; empty means the unit of the load
	Drivers     []string `json:"drivers,omitempty"`     // columns of other drivers
	Hours       string   `json:"hours,omitempty"`       // column of the hours that a row covers
	Stamp       string   `json:"stamp,omitempty"`       // "start" or "end" of the interval
	Zone        string   `json:"zone,omitempty"`        // name of the site's time zone, for the record
	ZeroMissing bool     `json:"zero_missing"`          // zero load counts as missing

	// Location is the zone of the site. The caller loads it, since this package
	// reads no files.
	Location *time.Location `json:"-"`
}

// csvRow is one row with its stamp read.
type csvRow struct {
	stamp  time.Time
	values []float64
}

// csvReader holds what is gathered while a file is read.
type csvReader struct {
	layout   Layout
	columns  []Column
	index    []int
	findings []Finding
	dateOnly bool
	doubled  int
}

// ReadCSV reads a table with a header line. It returns what it found in the
// file beside the table; the error is a *Refused where the file cannot be used.
// Fields that are empty, NA, NaN, null or - are missing.
func ReadCSV(data []byte, layout Layout) (*Table, []Finding, error) {
	r := &csvReader{layout: layout, dateOnly: true}
	rows, err := r.rows(data)
	if err != nil {
		return nil, r.findings, err
	}
	t, err := r.table(rows)
	return t, r.findings, err
}

func (r *csvReader) find(code string, count int, format string, args ...any) {
	if count > 0 {
		r.findings = append(r.findings, found(code, count, fmt.Sprintf(format, args...)))
	}
}

// declare checks the declarations and finds the columns.
func (r *csvReader) declare(header []string) error {
	l := r.layout
	type want struct {
		name, unit string
		role       Role
		units      map[string]float64
	}
	temps := map[string]float64{"C": 1, "F": 1}
	loads := map[string]float64{}
	for _, m := range []map[string]float64{energyUnits, powerUnits} {
		for k, v := range m {
			loads[k] = v
		}
	}
	if l.ITUnit == "" {
		l.ITUnit = l.LoadUnit
	}
	wants := []want{{l.Load, l.LoadUnit, "", loads}}
	if l.Temperature != "" {
		wants = append(wants, want{l.Temperature, l.TempUnit, Temperature, temps})
	}
	if l.WetBulb != "" {
		wants = append(wants, want{l.WetBulb, l.TempUnit, WetBulb, temps})
	}
	if l.IT != "" {
		wants = append(wants, want{l.IT, l.ITUnit, IT, loads})
	}
	for _, d := range l.Drivers {
		if m, err := parseModel(d); err != nil || m.shape != shapeLinear || len(m.linear) != 1 || d == "T" || d == "IT" || d == "WetBulb" {
			r.find("MV228", 1, "Column %q.", d)
		}
		wants = append(wants, want{d, "", Other, nil})
	}
	if l.Humidity != "" {
		if l.WetBulb != "" || l.Temperature == "" {
			r.find("MV105", 1, "A humidity needs a dry-bulb temperature and excludes a wet-bulb temperature.")
		}
		wants = append(wants, want{l.Humidity, "%", Other, nil})
	}
	if l.Hours != "" {
		wants = append(wants, want{l.Hours, "h", Other, nil})
	}
	clean := make([]string, len(header))
	for i, h := range header {
		clean[i] = strings.TrimSpace(strings.TrimPrefix(h, "\ufeff"))
	}
	names := []string{l.Time}
	for _, w := range wants {
		names = append(names, w.name)
		if w.units != nil && w.units[w.unit] == 0 {
			r.find("MV105", 1, "Column %q has the unit %q.", w.name, w.unit)
		}
		r.columns = append(r.columns, Column{Name: w.name, Role: w.role, Unit: w.unit})
	}
	if l.IT != "" && isPower(l.ITUnit) != isPower(l.LoadUnit) {
		r.find("MV105", 1, "The load is in %s and the IT in %s; both must be energy or both power.", l.LoadUnit, l.ITUnit)
	}
	for _, name := range names {
		i := slices.Index(clean, name)
		if i < 0 {
			r.find("MV106", 1, "Column %q.", name)
		}
		r.index = append(r.index, i)
	}
	if l.Stamp != "" && l.Stamp != "start" && l.Stamp != "end" {
		r.find("MV104", 1, "The convention is %q.", l.Stamp)
	}
	return refuse(r.findings)
}

// rows reads every row whose stamp is readable.
func (r *csvReader) rows(data []byte) ([]csvRow, error) {
	in := csv.NewReader(bytes.NewReader(data))
	in.FieldsPerRecord, in.ReuseRecord = -1, true
	header, err := in.Read()
	if err != nil {
		r.find("MV116", 1, "The header could not be read.")
		return nil, refuse(r.findings)
	}
	fields := len(header)
	if err := r.declare(slices.Clone(header)); err != nil {
		return nil, err
	}
	var rows []csvRow
	bad := map[string]int{}
	for {
		record, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || len(rows) >= maxRows {
			r.find("MV116", 1, "Reading stopped after %d rows.", len(rows))
			return nil, refuse(r.findings)
		}
		if len(record) != fields {
			bad["MV115"]++
			continue
		}
		row, code := r.row(record, rows, bad)
		if code == "MV103" {
			r.find("MV103", 1, "The first such stamp is %q.", record[r.index[0]])
			return nil, refuse(r.findings)
		}
		if code != "" {
			bad[code]++
			continue
		}
		rows = append(rows, row)
	}
	for _, code := range []string{"MV101", "MV102", "MV107", "MV111", "MV115"} {
		r.find(code, bad[code], "This concerns %d.", bad[code])
	}
	r.find("MV117", r.doubled, "This concerns %d.", r.doubled)
	if len(rows) == 0 {
		r.find("MV114", 1, "")
		return nil, refuse(r.findings)
	}
	return rows, nil
}

// row reads one record; the code names what is wrong with its stamp.
func (r *csvReader) row(record []string, before []csvRow, bad map[string]int) (csvRow, string) {
	text := strings.TrimSpace(record[r.index[0]])
	if isMissing(text) {
		return csvRow{}, "MV101"
	}
	stamp, code := r.stamp(text, before)
	if code != "" {
		return csvRow{}, code
	}
	row := csvRow{stamp: stamp, values: make([]float64, len(r.columns))}
	for i := range r.columns {
		v := strings.TrimSpace(record[r.index[i+1]])
		row.values[i] = math.NaN()
		if isMissing(v) {
			continue
		}
		x, err := strconv.ParseFloat(v, 64)
		if err != nil || math.IsInf(x, 0) || math.IsNaN(x) || math.Abs(x) > 1e15 {
			bad["MV107"]++
			continue
		}
		row.values[i] = x
	}
	return row, ""
}

func isMissing(text string) bool {
	switch strings.ToLower(text) {
	case "", "na", "nan", "n/a", "null", "-":
		return true
	}
	return false
}

// table sorts the rows, finds the interval, and drops what does not lie on it.
func (r *csvReader) table(rows []csvRow) (*Table, error) {
	byTime := func(i, j int) bool { return rows[i].stamp.Before(rows[j].stamp) }
	if !sort.SliceIsSorted(rows, byTime) {
		r.find("MV110", 1, "")
		sort.SliceStable(rows, byTime)
	}
	interval := r.interval(rows)
	if interval == "" {
		r.find("MV113", 1, "Supported are 15 and 30 minutes, hours, days and months.")
		return nil, refuse(r.findings)
	}
	if r.layout.Stamp == "" && !r.dateOnly {
		r.find("MV104", 1, "It moves the hour of the week.")
		return nil, refuse(r.findings)
	}
	rows = r.onGrid(rows, interval)
	rows = r.unique(rows, interval)
	if len(rows) == 0 {
		r.find("MV114", 1, "")
		return nil, refuse(r.findings)
	}
	return r.assemble(rows, interval), nil
}

// interval is the length of the rows: the median distance of two stamps.
func (r *csvReader) interval(rows []csvRow) Interval {
	var gaps []time.Duration
	for i := 1; i < len(rows); i++ {
		if d := rows[i].stamp.Sub(rows[i-1].stamp); d > 0 {
			gaps = append(gaps, d)
		}
	}
	if len(gaps) == 0 {
		return ""
	}
	slices.Sort(gaps)
	switch d := gaps[(len(gaps)-1)/2]; {
	case d == 15*time.Minute:
		return QuarterHour
	case d == 30*time.Minute:
		return HalfHour
	case d == time.Hour:
		return Hour
	case d >= 23*time.Hour && d <= 25*time.Hour:
		return Day
	case d >= 27*24*time.Hour && d <= 32*24*time.Hour:
		return Month
	}
	return ""
}

// onGrid moves stamps to the start of their interval and drops those between
// the lines of the grid.
func (r *csvReader) onGrid(rows []csvRow, interval Interval) []csvRow {
	kept, off := rows[:0], 0
	for _, row := range rows {
		t := row.stamp
		switch interval {
		case Month:
			if r.layout.Stamp == "end" && !r.dateOnly {
				t = t.Add(-time.Nanosecond)
			}
			t = time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, t.Location())
		case Day:
			if r.layout.Stamp == "end" && !r.dateOnly {
				t = t.Add(-time.Nanosecond)
			}
			t = time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, t.Location())
		default:
			// The grid is that of the local clock, since zones may be off by half an hour.
			if _, offset := t.Zone(); (t.Unix()+int64(offset))%int64(interval.step()/time.Second) != 0 {
				off++
				continue
			}
			if r.layout.Stamp == "end" {
				t = t.Add(-interval.step())
			}
		}
		row.stamp = t
		kept = append(kept, row)
	}
	r.find("MV112", off, "This concerns %d rows.", off)
	return kept
}

// unique keeps one row a position. Values that contradict each other are
// missing in the row that is kept.
func (r *csvReader) unique(rows []csvRow, interval Interval) []csvRow {
	kept, same, conflict := rows[:0], 0, 0
	for _, row := range rows {
		if len(kept) == 0 || interval.position(kept[len(kept)-1].stamp) != interval.position(row.stamp) {
			kept = append(kept, row)
			continue
		}
		first, differs := kept[len(kept)-1], false
		for i, v := range row.values {
			if v != first.values[i] && !(math.IsNaN(v) && math.IsNaN(first.values[i])) {
				differs = true
				first.values[i] = math.NaN()
			}
		}
		if differs {
			conflict++
		} else {
			same++
		}
	}
	r.find("MV108", same, "This concerns %d rows.", same)
	r.find("MV109", conflict, "This concerns %d rows.", conflict)
	return kept
}

// assemble turns rows into columns.
func (r *csvReader) assemble(rows []csvRow, interval Interval) *Table {
	t := &Table{Interval: interval}
	for i := range r.columns {
		r.columns[i].Values = make([]float64, len(rows))
	}
	zeros := 0
	for i, row := range rows {
		t.Start = append(t.Start, row.stamp)
		t.Hours = append(t.Hours, interval.end(row.stamp).Sub(row.stamp).Hours())
		for k, v := range row.values {
			if k == 0 && v == 0 && r.layout.ZeroMissing {
				zeros++
				v = math.NaN()
			}
			r.columns[k].Values[i] = v
		}
	}
	r.find("MV209", zeros, "This concerns %d rows.", zeros)
	t.Load, t.Drivers = r.columns[0], r.columns[1:]
	if r.layout.Hours != "" {
		last := len(t.Drivers) - 1
		t.Hours, t.Drivers = t.Drivers[last].Values, t.Drivers[:last]
		for i, h := range t.Hours {
			if !(h > 0) {
				t.Hours[i], t.Load.Values[i] = 0, math.NaN()
			}
		}
	}
	if r.layout.Humidity != "" {
		t.wetBulbFromHumidity()
	}
	t.sameUnit()
	return t
}

// sameUnit converts the IT column to the unit of the load, so that the overhead
// is a difference.
func (t *Table) sameUnit() {
	c := t.driver(roleToken(IT))
	if c == nil || c.Unit == t.Load.Unit {
		return
	}
	factor := energyUnits[c.Unit] / energyUnits[t.Load.Unit]
	if isPower(t.Load.Unit) {
		factor = powerUnits[c.Unit] / powerUnits[t.Load.Unit]
	}
	for i := range c.Values {
		c.Values[i] *= factor
	}
	c.Unit = t.Load.Unit
}
