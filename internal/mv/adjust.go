package mv

import (
	"math"
)

// adjusted is the standard errors of a saving with corrections for what the
// plain formulas hold fixed, and the degrees of freedom of their t.
type adjusted struct{ ar1, plain, dof float64 }

// adjust computes the headline standard errors. Four corrections to the matrix
// form matter for short baselines and strong autocorrelation:
//
//   - change points move: their derivatives are columns of the matrix;
//   - the autocorrelation of residuals underestimates that of the errors, by
//     about (1 + (2q+1) rho)/n for q smooth terms and is raised by as much
//     (Kendall 1954 for q = 1);
//   - the residual variance is SSE/(n - tr(HR)), which is unbiased under AR(1)
//     errors with the correlation R, instead of SSE/(n-p);
//   - t has n' - q degrees of freedom instead of n - p.
//
// Hour-of-week levels are no smooth terms: neighbors have different ones.
func (f *Fitted) adjust(r *Savings) adjusted {
	cols, group, _ := f.design(f.base)
	lin, repCols, repGroup := f.lin, f.columnsOf(r.rep), f.groupsOf(r.rep)
	if len(f.points) > 0 {
		moving, err := leastSquares(f.base.y, append(cols, f.derivatives(f.base)...), group, len(f.lin.groupN))
		if err == nil {
			lin, repCols = moving, append(repCols, f.derivatives(r.rep)...)
		}
	}
	a := lin.influence(repGroup, r.rep.weight, repCols)
	out := adjusted{plain: f.ResidualSD * math.Sqrt(sumSquares(a)+sumSquares(r.rep.weight))}

	n, q := float64(f.N), float64(1+len(lin.kept))
	if len(f.lin.groupN) > 1 {
		q = float64(1 + len(f.Knots) + 1 + len(f.shape.linear))
	}
	rho := (n*f.rho() + q) / math.Max(n-2*q-1, n/2)
	rho = math.Max(-0.99, math.Min(0.99, rho))
	pos := f.base.pos
	dof := n - lin.traceAR1(pos, rho)
	sigma := f.ResidualSD
	if dof > n/10 {
		sigma = math.Sqrt(f.SSE / dof)
	}
	out.ar1 = sigma * math.Sqrt(math.Max(quadraticAR1(a, pos, rho), 0)+math.Max(quadraticAR1(r.rep.weight, r.rep.pos, rho), 0))
	out.dof = math.Max(2, math.Min(n*(1-rho)/(1+rho)-q, float64(f.DOF)))
	return out
}

// derivatives is the change of the prediction with each change point, up to a
// factor: the rows on the sloped side of it.
func (f *Fitted) derivatives(s *sample) [][]float64 {
	var out [][]float64
	step := func(c float64, below, above float64) {
		col := make([]float64, len(s.t))
		for i, t := range s.t {
			if t < c {
				col[i] = below
			} else if t > c {
				col[i] = above
			}
		}
		out = append(out, col)
	}
	slope := func(k int) float64 { v, _, _ := f.lin.coefficient(k); return v }
	switch f.shape.shape {
	case shape3PC:
		step(f.points[0], 0, 1)
	case shape3PH:
		step(f.points[0], 1, 0)
	case shape4P:
		step(f.points[0], slope(0), -slope(1))
	case shape5P:
		step(f.points[0], 1, 0)
		step(f.points[1], 0, 1)
	}
	return out
}

// traceAR1 is tr(HR): the sum of squares, in units of the variance, that a fit
// takes out of AR(1) errors.
func (f *linearFit) traceAR1(pos []int, rho float64) float64 {
	q := len(f.kept)
	// R z for each column, by one pass forward and one backward.
	var trace float64
	for j := range q {
		rz := timesAR1(f.scaled[j], pos, rho)
		for i := range q {
			var d float64
			for k, v := range f.scaled[i] {
				d += v * rz[k]
			}
			trace += f.inv[i*q+j] * d
		}
	}
	// Each group contributes the quadratic form of its own rows.
	last, carry := make([]int, len(f.groupN)), make([]float64, len(f.groupN))
	for i, g := range f.group {
		if carry[g] != 0 {
			carry[g] *= powInt(rho, pos[i]-last[g])
		}
		trace += (1 + 2*carry[g]) / f.groupN[g]
		carry[g]++
		last[g] = pos[i]
	}
	return trace
}

// timesAR1 is the correlation matrix of AR(1) errors times v.
func timesAR1(v []float64, pos []int, rho float64) []float64 {
	out := append([]float64(nil), v...)
	var carry float64
	for i := 1; i < len(v); i++ {
		carry = powInt(rho, pos[i]-pos[i-1]) * (carry + v[i-1])
		out[i] += carry
	}
	carry = 0
	for i := len(v) - 2; i >= 0; i-- {
		carry = powInt(rho, pos[i+1]-pos[i]) * (carry + v[i+1])
		out[i] += carry
	}
	return out
}
