package report

import (
	"math"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/mv"
)

// color is red, green and blue.
type color [3]int

// The colors are told apart with any color vision and in gray.
var (
	ink       = color{30, 33, 40}
	gray      = color{120, 126, 136}
	pale      = color{216, 220, 226}
	blue      = color{0, 90, 160}
	paleBlue  = color{205, 224, 242}
	orange    = color{200, 80, 0}
	paleSheet = color{244, 246, 249}
)

// point is a position in millimeters from the upper left corner of a plot.
type point [2]float64

// shape is one thing to draw; exactly one of its kinds applies.
type shape struct {
	kind   shapeKind
	points []point
	color  color
	width  float64 // of a line, in millimeters
	dashed bool
	text   string
	anchor string  // start, middle or end
	size   float64 // of a text in points, or of a dot in millimeters
}

type shapeKind int

const (
	lineShape shapeKind = iota
	areaShape
	dotShape
	textShape
)

// plot is a picture made of shapes, which PDF and SVG draw alike.
type plot struct {
	name    string // of its SVG file
	title   string
	caption string
	w, h    float64 // millimeters
	shapes  []shape
}

// frame is the area of a plot that data is drawn in, with its two scales.
type frame struct {
	p                        *plot
	words                    *words
	left, right, top, bottom float64 // millimeters
	x0, x1, y0, y1           float64 // values at the edges
	cut                      timeCut // of an axis of time
}

// The size of every plot, in millimeters.
const (
	plotWidth  = 174.0
	plotHeight = 62.0
)

// newFrame makes a plot whose scales hold the given values, with y rounded to
// whole ticks.
func newFrame(w *words, name, title, caption string, x, y [2]float64) (*plot, *frame) {
	p := &plot{name: name, title: title, caption: caption, w: plotWidth, h: plotHeight}
	if !(x[0] < x[1]) {
		x[0], x[1] = x[0]-1, x[1]+1
	}
	if !(y[0] < y[1]) {
		y[0], y[1] = y[0]-1, y[1]+1
	}
	step := tickStep(y[1]-y[0], 5)
	f := &frame{
		p: p, words: w, left: 20, right: plotWidth - 3, top: 4, bottom: plotHeight - 11,
		x0: x[0], x1: x[1], y0: math.Floor(y[0]/step) * step, y1: math.Ceil(y[1]/step) * step,
	}
	for i := range int(math.Round((f.y1-f.y0)/step)) + 1 {
		v := f.y0 + float64(i)*step
		at := f.y(v)
		p.line(pale, 0.15, false, point{f.left, at}, point{f.right, at})
		p.label(f.left-1.5, at+0.9, "end", w.tick(v, step))
	}
	p.line(gray, 0.2, false, point{f.left, f.top}, point{f.left, f.bottom}, point{f.right, f.bottom})
	return p, f
}

func (f *frame) x(v float64) float64 {
	return f.left + (v-f.x0)/(f.x1-f.x0)*(f.right-f.left)
}

func (f *frame) y(v float64) float64 {
	return f.bottom - (v-f.y0)/(f.y1-f.y0)*(f.bottom-f.top)
}

// at is the position of a value pair.
func (f *frame) at(x, y float64) point { return point{f.x(x), f.y(y)} }

// zero draws the line y = 0 where it is inside.
func (f *frame) zero() {
	if f.y0 < 0 && f.y1 > 0 {
		f.p.line(gray, 0.25, false, point{f.left, f.y(0)}, point{f.right, f.y(0)})
	}
}

// valueAxis labels x with numbers.
func (f *frame) valueAxis(title string) {
	step := tickStep(f.x1-f.x0, 8)
	for i := int(math.Ceil(f.x0/step - 1e-9)); float64(i)*step <= f.x1+1e-9*step; i++ {
		f.tick(f.x(float64(i)*step), f.words.tick(float64(i)*step, step))
	}
	f.p.label((f.left+f.right)/2, plotHeight-1.5, "middle", title)
}

// tick marks a place on the x axis.
func (f *frame) tick(at float64, text string) {
	f.p.line(gray, 0.2, false, point{at, f.bottom}, point{at, f.bottom + 1})
	f.p.label(at, f.bottom+4, "middle", text)
}

// timeCut is a long stretch without data that an axis of time leaves out.
type timeCut struct{ from, to, keep float64 }

// newTimeCut cuts the time between two periods where it would take more than a
// quarter of the axis.
func newTimeCut(r *mv.Result) timeCut {
	p := &r.Plan
	if p.Reporting.From.IsZero() {
		return timeCut{}
	}
	gap := p.Reporting.From.Sub(p.Baseline.To).Seconds()
	data := p.Baseline.To.Sub(p.Baseline.From).Seconds() + p.Reporting.To.Sub(p.Reporting.From).Seconds()
	if gap < data/3 {
		return timeCut{}
	}
	return timeCut{float64(p.Baseline.To.Unix()), float64(p.Reporting.From.Unix()), data * 0.03}
}

// seconds is the value of a moment on an axis of time.
func (c timeCut) seconds(t time.Time) float64 {
	v := float64(t.Unix())
	if c.to > c.from && v >= c.to {
		v += c.from - c.to + c.keep
	}
	return v
}

// inside tells whether a moment is in the stretch that is left out.
func (c timeCut) inside(t time.Time) bool {
	v := float64(t.Unix())
	return v >= c.from && v < c.to
}

// timeAxis labels x with months or days from first to last.
func (f *frame) timeAxis(first, last time.Time) {
	f.p.h = f.bottom + 5 // no title below the labels
	days := (f.x1 - f.x0) / 86400
	layout, months, skip := "2006-01", 0, 0
	switch {
	case days > 1500:
		layout, months = "2006", 12
	case days > 400:
		months = 3
	case days > 70:
		months = 1
	default:
		layout, skip = "2006-01-02", int(days/7)+1
	}
	at := time.Date(first.Year(), first.Month(), 1, 0, 0, 0, 0, first.Location())
	if months == 0 {
		at = time.Date(first.Year(), first.Month(), first.Day(), 0, 0, 0, 0, first.Location())
	} else if months > 1 {
		at = time.Date(first.Year(), 1, 1, 0, 0, 0, 0, first.Location())
	}
	room := math.Inf(-1) // a label needs 14 mm
	for ; !at.After(last); at = at.AddDate(0, months, skip) {
		x := f.x(f.cut.seconds(at))
		if at.Before(first) || f.cut.inside(at) || x < room {
			continue
		}
		f.tick(x, at.Format(layout))
		room = x + 14
	}
}

// legend names the colors above the data, from the left.
func (f *frame) legend(entries ...shape) {
	x := f.left + 2
	for _, e := range entries {
		mark := e
		if e.kind == dotShape {
			mark.points = []point{{x + 3, f.top - 2}}
		} else {
			mark.kind, mark.points = lineShape, []point{{x, f.top - 2}, {x + 6, f.top - 2}}
			if e.kind == areaShape {
				mark.width = 2
			}
		}
		mark.text = ""
		f.p.shapes = append(f.p.shapes, mark)
		f.p.label(x+7.5, f.top-1.2, "start", e.text)
		x += 13 + 1.35*float64(len([]rune(e.text)))
	}
}

func (p *plot) line(c color, width float64, dashed bool, points ...point) {
	p.shapes = append(p.shapes, shape{kind: lineShape, points: points, color: c, width: width, dashed: dashed})
}

func (p *plot) area(c color, points ...point) {
	p.shapes = append(p.shapes, shape{kind: areaShape, points: points, color: c})
}

func (p *plot) dots(c color, size float64, points ...point) {
	p.shapes = append(p.shapes, shape{kind: dotShape, points: points, color: c, size: size})
}

func (p *plot) label(x, y float64, anchor, text string) {
	p.shapes = append(p.shapes, shape{kind: textShape, points: []point{{x, y}}, color: ink, text: text, anchor: anchor, size: 7})
}

// tickStep is 1, 2 or 5 times a power of ten, such that about n steps fill the
// span.
func tickStep(span float64, n int) float64 {
	raw := span / float64(n)
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range []float64{1, 2, 5} {
		if raw <= m*power*(1+1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// tick writes the label of a scale with the given step.
func (w *words) tick(v, step float64) string {
	return w.fixed(v, max(0, min(9, -int(math.Floor(math.Log10(step)+1e-9)))))
}

// dotSize is larger where there are few dots.
func dotSize(n int) float64 {
	switch {
	case n <= 60:
		return 1.2
	case n <= 400:
		return 0.7
	}
	return 0.5
}

// bounds is the range of values.
func bounds(values ...float64) [2]float64 {
	b := [2]float64{math.Inf(1), math.Inf(-1)}
	for _, v := range values {
		b[0], b[1] = min(b[0], v), max(b[1], v)
	}
	if b[0] > b[1] {
		return [2]float64{0, 1}
	}
	return b
}
