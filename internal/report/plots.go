package report

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/leomutto/pilot-in-a-box/internal/mv"
)

const (
	plottedRows   = 400  // of each period, in plots over time
	plottedPoints = 1200 // of the baseline, in plots over a driver
)

// plots are the pictures of a result. Those that need rows are missing where the
// result was read from JSON, which holds none.
type plots struct {
	load, residuals, months, cumulative *plot
	drivers                             []*plot
}

func (p *plots) all() []*plot {
	var out []*plot
	for _, q := range append([]*plot{p.load, p.residuals, p.months, p.cumulative}, p.drivers...) {
		if q != nil {
			out = append(out, q)
		}
	}
	return out
}

// drawPlots draws every plot that the result has figures for.
func drawPlots(w *words, r *mv.Result) *plots {
	p := &plots{}
	if rows := r.Averaged(plottedRows); len(rows) > 1 {
		p.load, p.residuals = loadPlot(w, r, rows), residualPlot(w, r, rows)
	}
	for _, t := range r.ResidualTests {
		if t.By == "month" && len(t.Groups) > 1 {
			p.months = monthPlot(w, r, t)
		}
	}
	if r.Savings != nil && len(r.Savings.Cumulative) > 0 {
		p.cumulative = cumulativePlot(w, r)
	}
	for _, c := range r.DriverCurves(plottedPoints) {
		if len(c.Points) > 1 {
			p.drivers = append(p.drivers, driverPlots(w, r, c)...)
		}
	}
	return p
}

// reportingSince marks where the reporting period starts.
func (f *frame) reportingSince(r *mv.Result) {
	from := r.Plan.Reporting.From
	if from.IsZero() || f.cut.seconds(from) <= f.x0 || f.cut.seconds(from) >= f.x1 {
		return
	}
	x := f.x(f.cut.seconds(from))
	f.p.line(gray, 0.3, true, point{x, f.top}, point{x, f.bottom})
}

// loadPlot shows metered load and prediction over time.
func loadPlot(w *words, r *mv.Result, rows []mv.Row) *plot {
	var x, y []float64
	cut := newTimeCut(r)
	for _, row := range rows {
		x, y = append(x, cut.seconds(row.Start)), append(y, row.Load, row.Predicted)
	}
	p, f := newFrame(w, "load", w.say("plot.load", r.Model.Unit), w.say("plot.load.caption", w.whole(len(rows)), w.whole(len(r.Rows()))), bounds(x...), bounds(y...))
	f.cut = cut
	for _, part := range byPeriod(rows) {
		metered, predicted := make([]point, len(part)), make([]point, len(part))
		for i, row := range part {
			metered[i], predicted[i] = f.at(cut.seconds(row.Start), row.Load), f.at(cut.seconds(row.Start), row.Predicted)
		}
		p.line(gray, 0.25, false, metered...)
		p.line(blue, 0.25, false, predicted...)
	}
	f.reportingSince(r)
	f.timeAxis(rows[0].Start, rows[len(rows)-1].Start)
	f.legend(shape{text: w.say("metered"), color: gray, width: 0.5}, shape{text: w.say("predicted"), color: blue, width: 0.5})
	return p
}

// residualPlot shows metered less predicted over time.
func residualPlot(w *words, r *mv.Result, rows []mv.Row) *plot {
	var x, y []float64
	cut := newTimeCut(r)
	for _, row := range rows {
		x, y = append(x, cut.seconds(row.Start)), append(y, row.Load-row.Predicted)
	}
	p, f := newFrame(w, "residuals", w.say("plot.residuals", r.Model.Unit), w.say("plot.residuals.caption"), bounds(x...), bounds(append(y, 0)...))
	f.cut = cut
	f.zero()
	for _, part := range byPeriod(rows) {
		dots := make([]point, len(part))
		for i, row := range part {
			dots[i] = f.at(cut.seconds(row.Start), row.Load-row.Predicted)
		}
		c := blue
		if part[0].Period == "reporting" {
			c = orange
		}
		p.dots(c, dotSize(len(rows)), dots...)
	}
	f.reportingSince(r)
	f.timeAxis(rows[0].Start, rows[len(rows)-1].Start)
	f.legend(shape{kind: dotShape, text: w.say("baseline"), color: blue, size: 0.9}, shape{kind: dotShape, text: w.say("reporting"), color: orange, size: 0.9})
	return p
}

// byPeriod cuts rows where the period changes.
func byPeriod(rows []mv.Row) [][]mv.Row {
	var out [][]mv.Row
	for i := 0; i < len(rows); {
		j := i
		for j < len(rows) && rows[j].Period == rows[i].Period {
			j++
		}
		out = append(out, rows[i:j])
		i = j
	}
	return out
}

// monthPlot shows the mean residual of each calendar month as bars.
func monthPlot(w *words, r *mv.Result, t mv.ResidualTest) *plot {
	y := []float64{0}
	for _, g := range t.Groups {
		y = append(y, g.Mean)
	}
	p, f := newFrame(w, "residuals-by-month", w.say("plot.months", r.Model.Unit), w.say("plot.months.caption"), [2]float64{0, float64(len(t.Groups))}, bounds(y...))
	for i, g := range t.Groups {
		left, right := f.x(float64(i)+0.2), f.x(float64(i)+0.8)
		p.area(blue, point{left, f.y(0)}, point{left, f.y(g.Mean)}, point{right, f.y(g.Mean)}, point{right, f.y(0)})
		f.tick((left+right)/2, w.known("month", g.Group))
	}
	f.zero()
	p.h = f.bottom + 5
	return p
}

// driverPlots shows load with the fitted line, and residuals, along a driver.
func driverPlots(w *words, r *mv.Result, c mv.DriverCurve) []*plot {
	var x, y, e []float64
	for _, p := range c.Points {
		x, y, e = append(x, p.X), append(y, p.Load), append(e, p.Residual)
	}
	for _, p := range c.Line {
		y = append(y, p[1])
	}
	axis := c.Driver
	if c.Unit != "" {
		axis = fmt.Sprintf("%s (%s)", c.Driver, w.known("unit", c.Unit))
	}
	file := fileName(c.Driver)
	fit, f := newFrame(w, "load-by-"+file, w.say("plot.driver", axis, r.Model.Unit), w.say("plot.driver.caption", w.whole(len(c.Points)), w.whole(c.Rows)), bounds(x...), bounds(y...))
	dots, residuals := make([]point, len(c.Points)), make([]point, len(c.Points))
	for i, p := range c.Points {
		dots[i] = f.at(p.X, p.Load)
	}
	fit.dots(gray, dotSize(len(dots)), dots...)
	var line []point
	for _, p := range c.Line {
		line = append(line, f.at(p[0], p[1]))
	}
	if len(line) > 1 {
		fit.line(blue, 0.5, false, line...)
	}
	f.valueAxis(axis)
	rest, g := newFrame(w, "residuals-by-"+file, w.say("plot.driver_residuals", axis, r.Model.Unit), w.say("plot.driver_residuals.caption"), bounds(x...), bounds(append(e, 0)...))
	g.zero()
	for i, p := range c.Points {
		residuals[i] = g.at(p.X, p.Residual)
	}
	rest.dots(blue, dotSize(len(residuals)), residuals...)
	g.valueAxis(axis)
	return []*plot{fit, rest}
}

var notInFileNames = regexp.MustCompile(`[^a-z0-9]+`)

// fileName makes a name of a driver safe as part of a file's name.
func fileName(driver string) string {
	name := strings.Trim(notInFileNames.ReplaceAllString(strings.ToLower(driver), "-"), "-")
	if name == "" {
		return "driver"
	}
	return name[:min(len(name), 40)]
}

// cumulativePlot shows the saving so far with its 90 % interval.
func cumulativePlot(w *words, r *mv.Result) *plot {
	s := r.Savings
	from := r.Plan.Reporting.From
	x, y := []float64{float64(from.Unix())}, []float64{0}
	for _, c := range s.Cumulative {
		x, y = append(x, float64(c.Until.Unix())), append(y, c.Avoided-c.HalfWidth, c.Avoided+c.HalfWidth)
	}
	p, f := newFrame(w, "cumulative", w.say("plot.cumulative", s.Unit), w.say("plot.cumulative.caption"), bounds(x...), bounds(y...))
	start := f.at(f.cut.seconds(from), 0)
	line, upper, lower := []point{start}, []point{start}, []point{}
	for _, c := range s.Cumulative {
		line = append(line, f.at(f.cut.seconds(c.Until), c.Avoided))
		upper = append(upper, f.at(f.cut.seconds(c.Until), c.Avoided+c.HalfWidth))
		lower = append([]point{f.at(f.cut.seconds(c.Until), c.Avoided-c.HalfWidth)}, lower...)
	}
	p.area(paleBlue, append(upper, lower...)...)
	f.zero()
	p.line(blue, 0.5, false, line...)
	p.dots(blue, 1, line...)
	f.timeAxis(from, s.Cumulative[len(s.Cumulative)-1].Until)
	f.legend(shape{text: w.say("avoided"), color: blue, width: 0.5}, shape{kind: areaShape, text: w.say("interval90"), color: paleBlue})
	return p
}
