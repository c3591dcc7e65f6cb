package mv

import (
	"fmt"
	"math"
	"slices"
)

// Coefficient is one term of a model. The standard error holds change points
// fixed and is the plain one of least squares.
type Coefficient struct {
	Name     string   `json:"name"`
	Unit     string   `json:"unit"`
	Value    float64  `json:"value"`
	StdError float64  `json:"std_error"`
	T        *float64 `json:"t,omitempty"`
}

// ChangePoint is an estimated change point with its 90 % profile-likelihood
// interval, which assumes independent errors and is too narrow where rho is
// large.
type ChangePoint struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	Unit  string  `json:"unit"`
}

// Fitted is a model fitted to the baseline. Absent figures are not defined.
type Fitted struct {
	Model        string        `json:"model"`
	Target       Target        `json:"target"`
	Equation     string        `json:"equation"`
	Unit         string        `json:"unit"` // of the modeled load
	Coefficients []Coefficient `json:"coefficients"`
	ChangePoints []ChangePoint `json:"change_points,omitempty"`
	Knots        []float64     `json:"temperature_knots,omitempty"`
	Occupied     []int         `json:"occupied_intervals_of_week,omitempty"` // Sunday 00:00 is 0
	Dropped      []string      `json:"dropped_drivers,omitempty"`            // constant, or combinations of others

	N        int `json:"n"`        // rows used
	Supplied int `json:"supplied"` // rows of the baseline
	P        int `json:"p"`        // parameters, change points included
	DOF      int `json:"dof"`      // n - p

	SSE          float64         `json:"sse"`
	MeanLoad     float64         `json:"mean_load"`
	ResidualSD   float64         `json:"residual_sd"` // sqrt(SSE / (n-p))
	R2           *float64        `json:"r2,omitempty"`
	AdjustedR2   *float64        `json:"adjusted_r2,omitempty"`
	CVRMSE       *float64        `json:"cv_rmse_n_minus_p,omitempty"`
	CVRMSEn      *float64        `json:"cv_rmse_n,omitempty"`
	NMBE         *float64        `json:"nmbe_n_minus_p,omitempty"` // 0 by construction for least squares
	Rho          Autocorrelation `json:"rho"`
	NPrime       float64         `json:"n_prime"` // n (1-rho)/(1+rho), Pearson; at most n
	NPrimeCapped bool            `json:"n_prime_capped"`
	DurbinWatson float64         `json:"durbin_watson"`

	shape    modelShape
	lin      *linearFit
	base     *sample
	points   []float64
	slots    map[int]int // slot of the week to group, TOWT only
	occupied map[int]bool
	regimes  int
	wrong    string        // why the signs refuse the model
	linear   []Coefficient // names and units of the linear drivers, without values
}

// Refusal says why the signs of the model are refused; empty if they are fine.
func (f *Fitted) Refusal() string { return f.wrong }

// effort bounds the search for two change points.
type effort struct {
	grid  int
	exact bool
}

var (
	fullEffort  = effort{grid: 240, exact: true}
	quickEffort = effort{grid: 48}
)

// Fit fits the model to the rows of t that are complete. An error means that
// there are too few rows or drivers. A model whose signs are refused is
// returned with the reason in Refusal, and no saving may be computed from it.
func Fit(t *Table, model string, target Target) (*Fitted, error) {
	m, err := parseModel(model)
	if err != nil {
		return nil, err
	}
	s, err := t.sample(m, target)
	if err != nil {
		return nil, err
	}
	f, err := fitSample(s, m, fullEffort)
	if err != nil {
		return nil, err
	}
	f.describe(t, target)
	return f, nil
}

// fitSample fits without the words and units that a reader needs.
func fitSample(s *sample, m modelShape, e effort) (*Fitted, error) {
	f := &Fitted{Model: m.name, shape: m, base: s, N: len(s.y), Supplied: s.supplied}
	if len(s.y) < 3 {
		return nil, fmt.Errorf("model %s: %d complete rows are too few", m.name, len(s.y))
	}
	if m.shape == shapeTOWT {
		if s.interval == Month {
			return nil, fmt.Errorf("model %s needs days or shorter rows", m.name)
		}
		f.week()
	} else if err := f.search(e); err != nil {
		return nil, err
	}
	cols, group, _ := f.design(s)
	groups := max(len(f.slots), 1)
	lin, err := leastSquares(s.y, cols, group, groups)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", m.name, err)
	}
	f.lin = lin
	f.P = lin.params() + len(f.points)
	f.DOF = f.N - f.P
	if f.DOF < 1 {
		return nil, fmt.Errorf("model %s: %d rows for %d parameters", m.name, f.N, f.P)
	}
	f.figures()
	f.checkSigns()
	return f, nil
}

// search finds the change points of the shape.
func (f *Fitted) search(e effort) error {
	s := f.base
	switch f.shape.shape {
	case shape3PC, shape3PH, shape4P:
		t, w := s.t, s.linear
		if f.shape.shape == shape3PH {
			t = negated(t)
		}
		if f.shape.shape == shape4P {
			w = append([][]float64{t}, w...)
		}
		o := orderBy(t)
		p := project(s.y, w)
		best, sums, ok := searchHinge(o, p, math.Inf(-1))
		if !ok {
			return fmt.Errorf("model %s: the temperature has too few distinct values", f.shape.name)
		}
		sse := max(p.sse-best.gain, 0)
		best.profile(o, sums, p.sse, f.profileLimit(sse, len(w)+3))
		cp := ChangePoint{Value: best.at, Low: best.low, High: best.high}
		if f.shape.shape == shape3PH {
			cp = ChangePoint{Value: -best.at, Low: -best.high, High: -best.low}
		}
		f.points, f.ChangePoints = []float64{cp.Value}, []ChangePoint{cp}
	case shape5P:
		pair, ok := searchPair(s.y, s.t, s.linear, e.grid, e.exact)
		if !ok {
			return fmt.Errorf("model %s: the temperature has too few distinct values", f.shape.name)
		}
		f.points = []float64{pair.low, pair.high}
		f.profilePair(pair, e)
	}
	return nil
}

// profileLimit is the sum of squares below which a change point is inside its
// 90 % interval, for independent errors.
func (f *Fitted) profileLimit(sse float64, p int) float64 {
	dof := float64(max(f.N-p, 1))
	return sse * (1 + fQuantile(0.90, dof)/dof)
}

// profilePair gives both change points their intervals: one moves, the other
// follows at its best.
func (f *Fitted) profilePair(pair pairOptimum, e effort) {
	f.ChangePoints = []ChangePoint{{Value: pair.low, Low: pair.low, High: pair.low}, {Value: pair.high, Low: pair.high, High: pair.high}}
	if !e.exact {
		return
	}
	s := f.base
	limit := f.profileLimit(pair.sse, len(s.linear)+5)
	up, down := orderBy(s.t), orderBy(negated(s.t))
	for side := range f.points {
		held := hingeColumn(s.t, f.points[1-side], side == 1)
		p := project(s.y, append(s.linear[:len(s.linear):len(s.linear)], held))
		o := up
		if side == 0 {
			o = down
		}
		best, sums, ok := searchHinge(o, p, math.Inf(-1))
		if !ok {
			continue
		}
		best.profile(o, sums, p.sse, limit)
		cp := &f.ChangePoints[side]
		low, high := best.low, best.high
		if side == 0 {
			low, high = -best.high, -best.low
		}
		cp.Low, cp.High = min(low, cp.Value), max(high, cp.Value)
	}
	f.ChangePoints[0].High = min(f.ChangePoints[0].High, pair.high)
	f.ChangePoints[1].Low = max(f.ChangePoints[1].Low, pair.low)
}

// design is the columns and groups of a sample under the fitted shape. known is
// false for rows whose interval of the week the baseline never saw.
func (f *Fitted) design(s *sample) (cols [][]float64, group []int, known []bool) {
	group, known = make([]int, len(s.y)), make([]bool, len(s.y))
	for i := range known {
		known[i] = true
	}
	switch f.shape.shape {
	case shape3PC:
		cols = append(cols, hingeColumn(s.t, f.points[0], false))
	case shape3PH:
		cols = append(cols, hingeColumn(s.t, f.points[0], true))
	case shape4P:
		cols = append(cols, hingeColumn(s.t, f.points[0], true), hingeColumn(s.t, f.points[0], false))
	case shape5P:
		cols = append(cols, hingeColumn(s.t, f.points[0], true), hingeColumn(s.t, f.points[1], false))
	case shapeTOWT:
		cols = f.weekColumns(s)
		for i, slot := range s.slot {
			group[i], known[i] = f.slots[slot]
		}
	}
	return append(cols, s.linear...), group, known
}

// ownColumns is the number of columns that belong to the shape itself.
func (f *Fitted) ownColumns() int {
	switch f.shape.shape {
	case shape3PC, shape3PH:
		return 1
	case shape4P, shape5P:
		return 2
	case shapeTOWT:
		return f.regimes * (len(f.Knots) + 1)
	}
	return 0
}

// figures computes what describes the fit.
func (f *Fitted) figures() {
	e, n := f.lin.resid, float64(f.N)
	f.SSE = f.lin.sse
	f.MeanLoad = meanOf(f.base.y)
	f.ResidualSD = math.Sqrt(f.SSE / float64(f.DOF))
	_, sst := centered(f.base.y)
	if sst > 0 {
		f.R2 = defined(1 - f.SSE/sst)
		f.AdjustedR2 = defined(1 - f.SSE/float64(f.DOF)/(sst/(n-1)))
	}
	if f.MeanLoad > 0 {
		f.CVRMSE = defined(f.ResidualSD / f.MeanLoad)
		f.CVRMSEn = defined(math.Sqrt(f.SSE/n) / f.MeanLoad)
		f.NMBE = defined(sumOf(e) / float64(f.DOF) / f.MeanLoad)
	}
	f.Rho = Lag1(e, f.base.pos)
	f.DurbinWatson = durbinWatson(e, f.base.pos)
	rho := f.rho()
	f.NPrime = n * (1 - rho) / (1 + rho)
	if f.NPrime > n {
		f.NPrime, f.NPrimeCapped = n, true
	}
}

// rho is the autocorrelation that the formulas use, kept away from 1 and -1.
func (f *Fitted) rho() float64 { return max(-0.999, min(0.999, f.Rho.Pearson)) }

// defined is a pointer to a finite value, and nil for any other.
func defined(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

// checkSigns refuses what no building does: a cooling slope that falls with the
// temperature, a heating slope that rises with it, a bend downward.
func (f *Fitted) checkSigns() {
	slope := func(k int) float64 {
		v, _, ok := f.lin.coefficient(k)
		if !ok {
			return 0
		}
		return v
	}
	switch f.shape.shape {
	case shape3PC:
		if slope(0) <= 0 {
			f.wrong = fmt.Sprintf("the cooling slope is %.6g and not positive", slope(0))
		}
	case shape3PH:
		if slope(0) <= 0 {
			f.wrong = fmt.Sprintf("the load rises with the temperature below the change point (slope %.6g)", -slope(0))
		}
	case shape4P:
		if slope(0)+slope(1) <= 0 {
			f.wrong = fmt.Sprintf("the load bends downward at the change point (slopes %.6g and %.6g)", -slope(0), slope(1))
		}
	case shape5P:
		if slope(0) <= 0 || slope(1) <= 0 {
			f.wrong = fmt.Sprintf("the heating slope is %.6g and the cooling slope %.6g; the load must rise on both sides", -slope(0), slope(1))
		}
	}
}

// predict is the prediction of the model for rows of a sample, NaN where the
// interval of the week is not known.
func (f *Fitted) predict(s *sample) []float64 {
	cols, group, known := f.design(s)
	out := make([]float64, len(s.y))
	for i := range out {
		out[i] = math.NaN()
		if known[i] {
			out[i] = f.lin.predict(group[i], func(k int) float64 { return cols[k][i] })
		}
	}
	return out
}

// describe adds names, units and the equation.
func (f *Fitted) describe(t *Table, target Target) {
	f.Target = target
	f.Unit = t.Load.Unit
	if t.meanPower() && !isPower(f.Unit) {
		f.Unit = f.Unit[:len(f.Unit)-1]
	}
	tempUnit := ""
	if c := t.driver("T"); c != nil {
		tempUnit = c.Unit
	}
	for i := range f.ChangePoints {
		f.ChangePoints[i].Unit = tempUnit
	}
	slopeUnit := f.Unit + "/" + tempUnit
	switch f.shape.shape {
	case shape3PC:
		f.intercept("intercept")
		f.term(0, "cooling_slope", slopeUnit, 1)
	case shape3PH:
		f.intercept("intercept")
		f.term(0, "heating_slope", slopeUnit, 1)
	case shape4P:
		f.intercept("load_at_change_point")
		f.term(0, "left_slope", slopeUnit, -1)
		f.term(1, "right_slope", slopeUnit, 1)
	case shape5P:
		f.intercept("base")
		f.term(0, "heating_slope", slopeUnit, 1)
		f.term(1, "cooling_slope", slopeUnit, 1)
	case shapeTOWT:
		names := []string{"occ", "unocc"}
		if f.regimes == 1 && len(f.Occupied) == 0 {
			names = names[1:]
		}
		for r := range f.regimes {
			for k := range len(f.Knots) + 1 {
				f.term(r*(len(f.Knots)+1)+k, fmt.Sprintf("%s:t%d", names[r], k), slopeUnit, 1)
			}
		}
	default:
		f.intercept("intercept")
	}
	own := f.ownColumns()
	for k, token := range f.shape.linear {
		c := t.driver(token)
		unit := c.Unit
		if t.meanPower() && energyUnits[unit] != 0 {
			unit = unit[:len(unit)-1]
		}
		f.term(own+k, c.Name, f.Unit+"/"+unit, 1)
		f.linear = append(f.linear, Coefficient{Name: c.Name, Unit: unit})
	}
	for _, k := range f.lin.dropped {
		if k >= own {
			f.Dropped = append(f.Dropped, t.driver(f.shape.linear[k-own]).Name)
		}
	}
	slices.Sort(f.Dropped)
	f.Equation = f.equation()
}

func (f *Fitted) intercept(name string) {
	v, variance := f.lin.intercept()
	f.addCoefficient(name, f.Unit, v, variance)
}

func (f *Fitted) term(k int, name, unit string, sign float64) {
	if v, variance, ok := f.lin.coefficient(k); ok {
		f.addCoefficient(name, unit, sign*v, variance)
	}
}

func (f *Fitted) addCoefficient(name, unit string, v, variance float64) {
	c := Coefficient{Name: name, Unit: unit, Value: v, StdError: f.ResidualSD * math.Sqrt(max(variance, 0))}
	if c.StdError > 0 {
		c.T = defined(v / c.StdError)
	}
	f.Coefficients = append(f.Coefficients, c)
}

// equation writes the model as a formula with its names.
func (f *Fitted) equation() string {
	text := map[string]string{
		shapeMean: "load = intercept", shapeLinear: "load = intercept",
		shape3PC: "load = intercept + cooling_slope*max(T-cp, 0)", shape3PH: "load = intercept + heating_slope*max(cp-T, 0)",
		shape4P:   "load = load_at_change_point - left_slope*max(cp-T, 0) + right_slope*max(T-cp, 0)",
		shape5P:   "load = base + heating_slope*max(cp1-T, 0) + cooling_slope*max(T-cp2, 0)",
		shapeTOWT: "load = level of the interval of the week + piecewise linear in T, separate for occupied and unoccupied intervals",
	}[f.shape.shape]
	for _, c := range f.Coefficients[max(len(f.Coefficients)-len(f.shape.linear)+len(f.Dropped), 0):] {
		text += fmt.Sprintf(" + b_%s*%s", c.Name, c.Name)
	}
	return text
}
