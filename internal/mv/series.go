package mv

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"
	"time"
)

// SHA256 is the hash of the result as JSON in one line, in hexadecimal. A result
// that was written as JSON and read again has the same hash. It is empty if the
// result cannot be encoded.
func (r *Result) SHA256() string {
	b, err := json.Marshal(r)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Part is the saving from the start of the reporting period until a moment.
type Part struct {
	Until     time.Time `json:"until"`
	Avoided   float64   `json:"avoided"`
	HalfWidth float64   `json:"half_width_90"`
}

// cumulativeParts is the number of moments for which the saving so far and its
// interval are computed.
const cumulativeParts = 12

// overTime adds the interval of every calendar month and the cumulative saving.
// The interval of a sum over a part is computed for that part: intervals of
// months cannot be added, since all of them share the error of the baseline.
func (r *Savings) overTime(f *Fitted) error {
	half := func(from, to int) (*Savings, float64, error) {
		i := -1
		s, err := f.savings(r.rep.part(func(int) bool { i++; return i >= from && i < to }), r.Unit)
		if err != nil {
			return nil, 0, err
		}
		level, _ := s.Headline().At(0.90)
		return s, level.HalfWidth, nil
	}
	from := 0
	for i := range r.ByMonth {
		m := &r.ByMonth[i]
		_, h, err := half(from, from+m.Rows)
		if err != nil {
			return err
		}
		m.HalfWidth = h
		from += m.Rows
	}
	n := len(r.rep.y)
	k := min(n, cumulativeParts)
	for i := 1; i <= k; i++ {
		to := i * n / k
		s, h, err := half(0, to)
		if err != nil {
			return err
		}
		r.Cumulative = append(r.Cumulative, Part{r.rep.interval.end(r.rep.start[to-1]), s.Avoided, h})
	}
	return nil
}

// Averaged is Rows averaged over runs of neighboring rows, so that each period
// has at most limit rows. Plots of a year of hours are made of it. Runs are whole
// days of shorter rows and whole weeks of days, since other runs would show a
// pattern that the data does not have.
func (r *Result) Averaged(limit int) []Row {
	rows := r.Rows()
	counts := map[string]int{}
	for _, row := range rows {
		counts[row.Period]++
	}
	var out []Row
	for i := 0; i < len(rows); {
		period := rows[i].Period
		size := (counts[period] + limit - 1) / limit
		if size > 1 {
			cycle := r.Interval.cycle()
			size = (size + cycle - 1) / cycle * cycle
		}
		mean := Row{Start: rows[i].Start, Period: period}
		j := i
		for ; j < len(rows) && j < i+size && rows[j].Period == period; j++ {
			mean.Load += rows[j].Load
			mean.Predicted += rows[j].Predicted
			mean.Hours += rows[j].Hours
		}
		n := float64(j - i)
		mean.Load, mean.Predicted, mean.Hours = mean.Load/n, mean.Predicted/n, mean.Hours/n
		out = append(out, mean)
		i = j
	}
	return out
}

// cycle is the number of rows after which a load resembles itself: a day of
// shorter rows, a week of days.
func (i Interval) cycle() int {
	switch {
	case i.step() > 0:
		return int(24 * time.Hour / i.step())
	case i == Day:
		return 7
	}
	return 1
}

// DriverPoint is one row of the baseline over one driver.
type DriverPoint struct {
	X        float64 // value of the driver
	Load     float64
	Residual float64 // metered less predicted
}

// DriverCurve is what the model says along one driver, with the rows that it was
// fitted to.
type DriverCurve struct {
	Driver string
	Unit   string
	Points []DriverPoint // at most the number asked for
	Rows   int           // rows of the fit
	Line   [][2]float64  // driver and mean prediction, the other drivers as they were
}

// DriverCurves shows the chosen model along each of its drivers. It is empty for
// a result that was read from JSON, and for a model without drivers.
func (r *Result) DriverCurves(limit int) []DriverCurve {
	f := r.Model
	if f == nil || f.base == nil {
		return nil
	}
	step := stride(f.N, limit)
	i := -1
	few := f.base.part(func(int) bool { i++; return i%step == 0 })
	residual := make([]float64, 0, len(few.y))
	for i := 0; i < f.N; i += step {
		residual = append(residual, f.lin.resid[i])
	}
	var out []DriverCurve
	add := func(name, unit string, values []float64, set func(*sample, []float64)) {
		c := DriverCurve{Driver: name, Unit: unit, Rows: f.N}
		for i, x := range values {
			c.Points = append(c.Points, DriverPoint{x, few.y[i], residual[i]})
		}
		c.Line = f.line(few, values, set)
		out = append(out, c)
	}
	if few.t != nil {
		unit := "C"
		if few.fahrenheit {
			unit = "F"
		}
		add("T", unit, few.t, func(s *sample, v []float64) { s.t = v })
	}
	for k := range few.linear {
		add(f.linear[k].Name, f.linear[k].Unit, few.linear[k], func(s *sample, v []float64) {
			s.linear = append([][]float64{}, s.linear...)
			s.linear[k] = v
		})
	}
	return out
}

// lineSteps is the number of stretches of a line along a driver.
const lineSteps = 60

// line is the mean prediction of the rows of s with one driver set to each value
// of a grid over its range.
func (f *Fitted) line(s *sample, values []float64, set func(*sample, []float64)) [][2]float64 {
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		low, high = min(low, v), max(high, v)
	}
	if !(low < high) {
		return nil
	}
	var out [][2]float64
	for i := range lineSteps + 1 {
		x := low + (high-low)*float64(i)/lineSteps
		at := *s
		same := make([]float64, len(values))
		for j := range same {
			same[j] = x
		}
		set(&at, same)
		var known []float64
		for _, p := range f.predict(&at) {
			if !math.IsNaN(p) {
				known = append(known, p)
			}
		}
		if len(known) > 0 {
			out = append(out, [2]float64{x, meanOf(known)})
		}
	}
	return out
}

// stride is the smallest step that leaves at most limit of n rows and shares no
// factor with the hours of a day or the days of a week, so that every hour and
// weekday stays.
func stride(n, limit int) int {
	step := (n + limit - 1) / limit
	for step > 1 && (step%2 == 0 || step%3 == 0 || step%7 == 0) {
		step++
	}
	return max(step, 1)
}
