package mv

import (
	"fmt"
	"math"
)

// Names of the formulas of uncertainty.
const (
	FormulaAdjusted  = "matrix_ar1_adjusted" // headline for days and shorter rows: matrix_ar1 with the corrections of adjust
	FormulaMonthly   = "matrix_adjusted"     // headline for months: matrix_plain with moving change points
	FormulaAR1       = "matrix_ar1"          // variance of the predicted sum by the matrix of the fit, AR(1) errors, change points held
	FormulaMatrix    = "matrix_plain"        // the same with independent errors
	FormulaG14       = "guideline14"         // ASHRAE Guideline 14, independent errors
	FormulaG14N      = "guideline14_n"       // ASHRAE Guideline 14 with n' for n
	FormulaSun       = "sun_baltazar_n"      // Guideline 14 with n' and the factor of Sun and Baltazar for the reporting months
	FormulaBootstrap = "block_bootstrap"     // quantiles of a moving-block bootstrap of the residuals
)

// confidenceLevels are those of every table of uncertainty.
var confidenceLevels = []float64{0.68, 0.80, 0.90, 0.95}

// Level is the uncertainty at one confidence. FSU, the half-width over the
// absolute saving, is absent where the saving is zero; it is never negative.
type Level struct {
	Confidence float64  `json:"confidence"`
	HalfWidth  float64  `json:"half_width"`
	Low        float64  `json:"low"`
	High       float64  `json:"high"`
	ZeroInside bool     `json:"zero_inside"`
	FSU        *float64 `json:"fsu,omitempty"`
}

// Uncertainty is one formula at all levels.
type Uncertainty struct {
	Formula  string  `json:"formula"`
	Headline bool    `json:"headline"`
	DOF      float64 `json:"dof"` // degrees of freedom of Student's t; 0 for quantiles
	Levels   []Level `json:"levels"`
}

// At is the level of a confidence; ok is false where it was not computed.
func (u Uncertainty) At(confidence float64) (Level, bool) {
	for _, l := range u.Levels {
		if math.Abs(l.Confidence-confidence) < 1e-9 {
			return l, true
		}
	}
	return Level{}, false
}

// Savings is the avoided energy of the reporting period.
type Savings struct {
	Unit                string        `json:"unit"`      // of energy
	Predicted           float64       `json:"predicted"` // adjusted baseline
	Metered             float64       `json:"metered"`
	Avoided             float64       `json:"avoided"` // predicted less metered
	Fraction            *float64      `json:"fraction,omitempty"`
	RowsSupplied        int           `json:"rows_supplied"`
	RowsUsed            int           `json:"rows_used"`
	RowsUnknownSlot     int           `json:"rows_unknown_slot"` // masked: hour of the week not in the baseline
	RowsOutside         int           `json:"rows_outside"`      // outside the range of a driver of the baseline
	NegativePredictions int           `json:"negative_predictions"`
	Uncertainty         []Uncertainty `json:"uncertainty"`
	ByMonth             []MonthSaving `json:"by_month"`
	Cumulative          []Part        `json:"cumulative"`

	rep       *sample   // rows used
	pred      []float64 // their predictions
	influence []float64 // of the baseline rows on the predicted energy
}

// MonthSaving is the part of one calendar month.
type MonthSaving struct {
	Month     string  `json:"month"`
	Predicted float64 `json:"predicted"`
	Metered   float64 `json:"metered"`
	Avoided   float64 `json:"avoided"`
	HalfWidth float64 `json:"half_width_90"` // of the month alone, by the headline formula
	Rows      int     `json:"rows"`
}

// Avoided computes the avoided energy of the complete rows of t, which is the
// reporting period. seed is that of the bootstrap. The error is a *Refused where
// the period has no usable row; a model whose signs are refused has no saving.
func (f *Fitted) Avoided(t *Table, seed uint64) (*Savings, error) {
	if f.wrong != "" {
		return nil, fmt.Errorf("model %s is refused: %s", f.Model, f.wrong)
	}
	s, err := t.sample(f.shape, f.Target)
	if err != nil {
		return nil, err
	}
	if len(s.y) == 0 {
		return nil, refuse([]Finding{found("MV225", 1, "It is the reporting period.")})
	}
	r, err := f.savings(s, energyUnit(t.Load.Unit))
	if err != nil {
		return nil, err
	}
	r.bootstrap(f, seed)
	if err := r.overTime(f); err != nil {
		return nil, err
	}
	return r, nil
}

// savings computes everything but the bootstrap.
func (f *Fitted) savings(s *sample, unit string) (*Savings, error) {
	pred := f.predict(s)
	used := s.part(func(i int) bool { return !math.IsNaN(pred[i]) })
	if len(used.y) == 0 {
		return nil, refuse([]Finding{found("MV225", 1, "The baseline never saw any hour of the week of the reporting period.")})
	}
	r := &Savings{Unit: unit, RowsSupplied: s.supplied, RowsUsed: len(used.y), RowsUnknownSlot: len(s.y) - len(used.y), rep: used}
	for _, p := range pred {
		if !math.IsNaN(p) {
			r.pred = append(r.pred, p)
		}
	}
	var predicted, metered []float64
	for i, p := range r.pred {
		predicted, metered = append(predicted, p*used.weight[i]), append(metered, used.y[i]*used.weight[i])
		if p < 0 {
			r.NegativePredictions++
		}
	}
	r.Predicted, r.Metered = sumOf(predicted), sumOf(metered)
	diff := make([]float64, len(predicted))
	for i := range diff {
		diff[i] = predicted[i] - metered[i]
	}
	r.Avoided = sumOf(diff)
	if r.Predicted != 0 {
		r.Fraction = defined(r.Avoided / r.Predicted)
	}
	r.RowsOutside = f.outside(used)
	r.months(predicted, metered)
	f.uncertainty(r)
	return r, nil
}

// outside counts rows of s with a driver beyond the range of the baseline.
func (f *Fitted) outside(s *sample) int {
	count := 0
	beyond := make([]bool, len(s.y))
	mark := func(base, v []float64) {
		if len(base) == 0 {
			return
		}
		low, high := base[0], base[0]
		for _, x := range base {
			low, high = min(low, x), max(high, x)
		}
		for i, x := range v {
			beyond[i] = beyond[i] || x < low || x > high
		}
	}
	mark(f.base.t, s.t)
	for k := range s.linear {
		mark(f.base.linear[k], s.linear[k])
	}
	for _, b := range beyond {
		if b {
			count++
		}
	}
	return count
}

// months sums by calendar month.
func (r *Savings) months(predicted, metered []float64) {
	for i, at := range r.rep.start {
		m := at.Format("2006-01")
		if len(r.ByMonth) == 0 || r.ByMonth[len(r.ByMonth)-1].Month != m {
			r.ByMonth = append(r.ByMonth, MonthSaving{Month: m})
		}
		s := &r.ByMonth[len(r.ByMonth)-1]
		s.Predicted += predicted[i]
		s.Metered += metered[i]
		s.Avoided += predicted[i] - metered[i]
		s.Rows++
	}
}

// uncertainty adds every formula. The headline is the matrix form with moving
// change points: with AR(1) errors for days and shorter rows, plain for months,
// of which there are too few to estimate an autocorrelation.
func (f *Fitted) uncertainty(r *Savings) {
	monthly := f.base.interval == Month
	a := f.lin.influence(f.groupsOf(r.rep), r.rep.weight, f.columnsOf(r.rep))
	dof := float64(f.DOF)
	plain := f.ResidualSD * math.Sqrt(sumSquares(a)+sumSquares(r.rep.weight))
	rho := f.rho()
	ar1 := f.ResidualSD * math.Sqrt(max(quadraticAR1(a, f.base.pos, rho), 0)+max(quadraticAR1(r.rep.weight, r.rep.pos, rho), 0))
	if j := f.adjust(r); monthly {
		r.add(FormulaMonthly, true, dof, j.plain)
	} else {
		r.add(FormulaAdjusted, true, j.dof, j.ar1)
	}
	r.add(FormulaAR1, false, dof, ar1)
	r.add(FormulaMatrix, false, dof, plain)

	n, m := float64(f.N), float64(len(r.rep.y))
	weight := sumOf(r.rep.weight) / m // energy of one row per unit of load
	g14 := func(n2, k float64) float64 {
		return k * f.ResidualSD * weight * math.Sqrt(n/n2*(1+2/n2)*m) * f.scaleG14(r, m, weight)
	}
	r.add(FormulaG14, false, dof, g14(n, 1.26))
	r.add(FormulaG14N, false, dof, g14(f.NPrime, 1.26))
	if k, ok := sunBaltazar(f.base.interval, r.rep); ok {
		r.add(FormulaSun, false, dof, g14(f.NPrime, k))
	}
	r.influence = a
}

// scaleG14 is the mean predicted load over that of the baseline: Guideline 14
// takes the error relative to the load, so it grows with the predicted load.
func (f *Fitted) scaleG14(r *Savings, m, weight float64) float64 {
	if f.MeanLoad <= 0 {
		return 1
	}
	return math.Abs(r.Predicted) / (m * weight) / f.MeanLoad
}

func (f *Fitted) groupsOf(s *sample) []int {
	_, group, _ := f.design(s)
	return group
}

func (f *Fitted) columnsOf(s *sample) [][]float64 {
	cols, _, _ := f.design(s)
	return cols
}

// sunBaltazar is the factor for days or months over the months of the reporting
// period (Sun and Baltazar 2013); Guideline 14 has 1.26 for all.
func sunBaltazar(interval Interval, s *sample) (float64, bool) {
	a, b, d := -0.00024, 0.03535, 1.00286
	switch interval {
	case Month:
		a, b, d = -0.00022, 0.03306, 0.94054
	case Day:
	default:
		return 1.26, false
	}
	span := interval.end(s.start[len(s.start)-1]).Sub(s.start[0]).Hours() / 24
	months := math.Max(1, math.Round(span/(365.25/12)))
	return a*months*months + b*months + d, true
}

// add appends a formula from its standard error.
func (r *Savings) add(formula string, headline bool, dof, se float64) {
	u := Uncertainty{Formula: formula, Headline: headline, DOF: dof}
	for _, c := range confidenceLevels {
		u.Levels = append(u.Levels, r.level(c, tQuantile(c, dof)*se))
	}
	r.Uncertainty = append(r.Uncertainty, u)
}

// level is the interval of a half-width around the saving.
func (r *Savings) level(confidence, half float64) Level {
	l := Level{Confidence: confidence, HalfWidth: half, Low: r.Avoided - half, High: r.Avoided + half}
	l.ZeroInside = l.Low <= 0 && l.High >= 0
	if !r.zero() {
		l.FSU = defined(half / math.Abs(r.Avoided))
	}
	return l
}

// zero tells whether the saving is zero for all purposes.
func (r *Savings) zero() bool { return math.Abs(r.Avoided) <= 1e-9*math.Abs(r.Predicted) }

// Headline is the uncertainty that a claim rests on.
func (r *Savings) Headline() Uncertainty {
	for _, u := range r.Uncertainty {
		if u.Headline {
			return u
		}
	}
	return Uncertainty{}
}

// by is the uncertainty of a formula.
func (r *Savings) by(formula string) Uncertainty {
	for _, u := range r.Uncertainty {
		if u.Formula == formula {
			return u
		}
	}
	return Uncertainty{}
}
