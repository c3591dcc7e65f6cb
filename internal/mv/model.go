package mv

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// The shapes of models. A model's name is its shape and its linear drivers,
// joined by "+": "3PC+IT", "IT+WetBulb", "T", "TOWT".
const (
	shapeMean   = "mean"
	shapeLinear = "linear"
	shape3PC    = "3PC"
	shape3PH    = "3PH"
	shape4P     = "4P"
	shape5P     = "5P"
	shapeTOWT   = "TOWT"
)

var shapes = []string{shapeMean, shape3PC, shape3PH, shape4P, shape5P, shapeTOWT}

// roleToken is how the name of a model names the driver of a role.
func roleToken(r Role) string {
	switch r {
	case Temperature:
		return "T"
	case WetBulb:
		return "WetBulb"
	case IT:
		return "IT"
	}
	return ""
}

// modelShape is the parsed name of a model.
type modelShape struct {
	name   string
	shape  string
	linear []string // tokens of linear drivers
}

// parseModel reads the name of a model.
func parseModel(name string) (modelShape, error) {
	m := modelShape{name: name, shape: shapeLinear, linear: strings.Split(name, "+")}
	if slices.Contains(shapes, m.linear[0]) {
		m.shape, m.linear = m.linear[0], m.linear[1:]
	}
	if slices.Contains(m.linear, "") || m.shape == shapeMean && len(m.linear) > 0 {
		return m, fmt.Errorf("model %q is not known; a model is mean, 3PC, 3PH, 4P, 5P or TOWT, then +IT, +WetBulb or other drivers, or drivers alone such as IT+WetBulb", name)
	}
	return m, nil
}

// usesTemperature tells whether the shape needs the outdoor temperature.
func (m modelShape) usesTemperature() bool {
	return m.shape != shapeMean && m.shape != shapeLinear
}

// withoutIT tells whether the model leaves the IT load out.
func (m modelShape) withoutIT() bool { return !slices.Contains(m.linear, roleToken(IT)) }

// Target says which load is modeled.
type Target string

// The loads that can be modeled.
const (
	Facility Target = "facility"
	Overhead Target = "overhead" // facility less IT
)

// sample is the complete rows of one model: all values present.
type sample struct {
	interval   Interval
	y          []float64 // load of each row, as modeled
	weight     []float64 // factor from y to energy
	pos        []int     // positions in time; neighbors differ by one
	start      []time.Time
	t          []float64   // outdoor temperature, nil where the model has none
	linear     [][]float64 // linear drivers
	slot       []int       // interval of the week, Sunday 00:00 is 0
	supplied   int         // rows of the table
	fahrenheit bool
}

// meanPower tells whether the rows are modeled as mean power: where the unit is
// one of power, and for months, which differ in length.
func (t *Table) meanPower() bool { return isPower(t.Load.Unit) || t.Interval == Month }

// loadAt is the modeled load of a row, NaN where it is missing.
func (t *Table) loadAt(i int, target Target) float64 {
	v := t.Load.Values[i]
	if target == Overhead {
		if it := t.driver(roleToken(IT)); it != nil {
			v -= it.Values[i]
		}
	}
	return t.perHour(i, v, t.Load.Unit)
}

// perHour turns energy of a row into mean power where rows are modeled so.
func (t *Table) perHour(i int, v float64, unit string) float64 {
	if t.meanPower() && energyUnits[unit] != 0 {
		if t.Hours[i] <= 0 {
			return math.NaN()
		}
		return v / t.Hours[i]
	}
	return v
}

// sample gathers the rows that are complete for a model.
func (t *Table) sample(m modelShape, target Target) (*sample, error) {
	s := &sample{interval: t.Interval, supplied: t.Len()}
	var drivers []*Column
	temp := t.driver(roleToken(Temperature))
	if m.usesTemperature() && temp == nil {
		return nil, fmt.Errorf("model %s needs an outdoor temperature", m.name)
	}
	if target == Overhead && t.driver(roleToken(IT)) == nil {
		return nil, fmt.Errorf("the overhead needs an IT column")
	}
	for _, token := range m.linear {
		c := t.driver(token)
		if c == nil {
			return nil, fmt.Errorf("model %s needs the driver %s", m.name, token)
		}
		drivers = append(drivers, c)
	}
	s.linear = make([][]float64, len(drivers))
	if temp != nil {
		s.fahrenheit = temp.Unit == "F"
	}
	values := make([]float64, len(drivers))
rows:
	for i := range t.Start {
		y := t.loadAt(i, target)
		if math.IsNaN(y) || m.usesTemperature() && math.IsNaN(temp.Values[i]) {
			continue
		}
		for k, c := range drivers {
			values[k] = t.perHour(i, c.Values[i], c.Unit)
			if math.IsNaN(values[k]) {
				continue rows
			}
		}
		for k, v := range values {
			s.linear[k] = append(s.linear[k], v)
		}
		if m.usesTemperature() {
			s.t = append(s.t, temp.Values[i])
		}
		s.add(t, i, y)
	}
	return s, nil
}

// add appends what every row has.
func (s *sample) add(t *Table, i int, y float64) {
	w := 1.0
	if t.meanPower() {
		w = t.Hours[i]
	}
	s.y, s.weight = append(s.y, y), append(s.weight, w)
	s.pos, s.start = append(s.pos, t.Interval.position(t.Start[i])), append(s.start, t.Start[i])
	minutes := 24 * 60
	if step := t.Interval.step(); step > 0 {
		minutes = int(step.Minutes())
	}
	at := t.Start[i]
	s.slot = append(s.slot, (int(at.Weekday())*24*60+at.Hour()*60+at.Minute())/minutes)
}

// part is the rows of s for which keep is true.
func (s *sample) part(keep func(i int) bool) *sample {
	out := &sample{interval: s.interval, fahrenheit: s.fahrenheit, linear: make([][]float64, len(s.linear))}
	for i := range s.y {
		if !keep(i) {
			continue
		}
		out.y, out.weight = append(out.y, s.y[i]), append(out.weight, s.weight[i])
		out.pos, out.start = append(out.pos, s.pos[i]), append(out.start, s.start[i])
		out.slot = append(out.slot, s.slot[i])
		if s.t != nil {
			out.t = append(out.t, s.t[i])
		}
		for k := range s.linear {
			out.linear[k] = append(out.linear[k], s.linear[k][i])
		}
	}
	out.supplied = len(out.y)
	return out
}
