package mv

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
)

// rankTolerance is the length of what is left of a column of length one after
// the columns before it are taken out, below which it counts as a linear
// combination of them. The columns are centered first, so that a polynomial of
// degree ten (NIST's Filip) still has full rank.
const rankTolerance = 1e-13

// linearFit is a least-squares fit of y on group means and columns:
// y = mean of the group + sum of b_k (z_k - mean of z_k in the group). One
// group is a plain intercept; the 168 hours of a week are 168 groups, which are
// absorbed exactly instead of becoming 168 columns.
type linearFit struct {
	group  []int
	groupN []float64
	meanY  []float64
	meanZ  [][]float64 // by column, then group

	kept    []int // columns in the fit
	dropped []int // columns that are linear combinations of earlier ones

	scaled [][]float64 // kept columns, demeaned, of length one; by column, then row
	scale  []float64   // length of each kept column before scaling
	coef   []float64   // of kept columns, in the units of y over z
	inv    []float64   // inverse of the Gram matrix of the scaled columns, q x q

	resid []float64
	sse   float64
}

// leastSquares fits y (n) on cols (each n) and the groups by Householder QR of
// the centered and scaled columns. Every group must have at least one row.
func leastSquares(y []float64, cols [][]float64, group []int, groups int) (*linearFit, error) {
	n := len(y)
	f := &linearFit{group: group, groupN: make([]float64, groups)}
	for _, g := range group {
		f.groupN[g]++
	}
	var yc []float64
	f.meanY, yc = f.demean(y)
	f.meanZ = make([][]float64, len(cols))
	var z [][]float64
	for k, c := range cols {
		var zc []float64
		f.meanZ[k], zc = f.demean(c)
		length := math.Sqrt(sumSquares(zc))
		if magnitude := math.Sqrt(sumSquares(c)); length <= rankTolerance*magnitude || length == 0 {
			f.dropped = append(f.dropped, k)
			continue
		}
		for i := range zc {
			zc[i] /= length
		}
		f.kept, f.scale, z = append(f.kept, k), append(f.scale, length), append(z, zc)
	}
	if n < groups+len(f.kept) {
		return nil, fmt.Errorf("%d rows for %d parameters", n, groups+len(f.kept))
	}
	beta, r := f.solve(z, yc)
	f.scaled, f.coef = make([][]float64, len(f.kept)), make([]float64, len(f.kept))
	for j := range f.kept {
		f.scaled[j] = z[j]
		f.coef[j] = beta[j] / f.scale[j]
	}
	f.inv = gramInverse(r, len(f.kept))
	f.resid = residuals(yc, f.scaled, beta)
	f.sse = sumSquares(f.resid)
	return f, nil
}

// demean returns the mean of each group and the values less that.
func (f *linearFit) demean(v []float64) (means, rest []float64) {
	if len(f.groupN) == 1 {
		m := meanOf(v)
		rest = make([]float64, len(v))
		for i, x := range v {
			rest[i] = x - m
		}
		return []float64{m}, rest
	}
	means, rest = make([]float64, len(f.groupN)), make([]float64, len(v))
	for i, x := range v {
		means[f.group[i]] += x
	}
	for g := range means {
		means[g] /= f.groupN[g]
	}
	second := make([]float64, len(means))
	for i, x := range v {
		second[f.group[i]] += x - means[f.group[i]]
	}
	for g := range means {
		means[g] += second[g] / f.groupN[g]
	}
	for i, x := range v {
		rest[i] = x - means[f.group[i]]
	}
	return means, rest
}

// solve drops the columns without full rank and solves for the others, with
// one step of refinement. It returns the coefficients and the triangle R.
func (f *linearFit) solve(z [][]float64, y []float64) ([]float64, *mat.Dense) {
	n := len(y)
	for {
		q := len(f.kept)
		if q == 0 {
			return nil, nil
		}
		data := make([]float64, n*q)
		for j, c := range z[:q] {
			for i, v := range c {
				data[i*q+j] = v
			}
		}
		var qr mat.QR
		qr.Factorize(mat.NewDense(n, q, data))
		var full mat.Dense
		qr.RTo(&full)
		bad := -1
		for j := range q {
			if math.Abs(full.At(j, j)) < rankTolerance {
				bad = j
				break
			}
		}
		if bad >= 0 {
			f.dropped = append(f.dropped, f.kept[bad])
			f.kept = append(f.kept[:bad:bad], f.kept[bad+1:]...)
			f.scale = append(f.scale[:bad:bad], f.scale[bad+1:]...)
			copy(z[bad:], z[bad+1:])
			continue
		}
		beta := make([]float64, q)
		rest := y
		for range 2 {
			var step mat.VecDense
			// The condition was judged by rankTolerance already, so gonum's own
			// warning about it is not an error here.
			_ = qr.SolveVecTo(&step, false, mat.NewVecDense(n, rest))
			for j := range beta {
				beta[j] += step.AtVec(j)
			}
			rest = residuals(y, z[:q], beta)
		}
		return beta, &full
	}
}

// residuals is y less the columns times their coefficients.
func residuals(y []float64, cols [][]float64, beta []float64) []float64 {
	out := append([]float64(nil), y...)
	for j, c := range cols {
		b := beta[j]
		for i, v := range c {
			out[i] = math.FMA(-b, v, out[i])
		}
	}
	return out
}

// gramInverse is (R'R)^-1 for the upper triangle R, row by row.
func gramInverse(r *mat.Dense, q int) []float64 {
	ri := make([]float64, q*q) // R^-1
	for j := range q {
		ri[j*q+j] = 1 / r.At(j, j)
		for i := j - 1; i >= 0; i-- {
			var s float64
			for k := i + 1; k <= j; k++ {
				s += r.At(i, k) * ri[k*q+j]
			}
			ri[i*q+j] = -s / r.At(i, i)
		}
	}
	inv := make([]float64, q*q)
	for i := range q {
		for j := range q {
			for k := max(i, j); k < q; k++ {
				inv[i*q+j] += ri[i*q+k] * ri[j*q+k]
			}
		}
	}
	return inv
}

// params is the number of parameters: groups and columns.
func (f *linearFit) params() int { return len(f.groupN) + len(f.kept) }

// predict is the prediction for a row of group g with the values z of all
// columns, kept or not.
func (f *linearFit) predict(g int, z func(k int) float64) float64 {
	p := f.meanY[g]
	for j, k := range f.kept {
		p += f.coef[j] * (z(k) - f.meanZ[k][g])
	}
	return p
}

// coefficient is the coefficient of column k and its variance in units of the
// residual variance. ok is false where the column was dropped.
func (f *linearFit) coefficient(k int) (value, variance float64, ok bool) {
	q := len(f.kept)
	for j, c := range f.kept {
		if c == k {
			return f.coef[j], f.inv[j*q+j] / f.scale[j] / f.scale[j], true
		}
	}
	return 0, 0, false
}

// intercept is the prediction of group 0 where all columns are 0, and its
// variance in units of the residual variance.
func (f *linearFit) intercept() (value, variance float64) {
	q := len(f.kept)
	value = f.predict(0, func(int) float64 { return 0 })
	variance = 1 / f.groupN[0]
	for i, a := range f.kept {
		for j, b := range f.kept {
			variance += f.meanZ[a][0] / f.scale[i] * f.inv[i*q+j] * f.meanZ[b][0] / f.scale[j]
		}
	}
	return value, variance
}

// influence is the vector a for which the sum of a_i y_i over the baseline rows
// is the sum of w_j times the prediction of row j.
func (f *linearFit) influence(group []int, weights []float64, z [][]float64) []float64 {
	q := len(f.kept)
	groupWeight := make([]float64, len(f.groupN))
	d := make([]float64, q)
	for j, w := range weights {
		groupWeight[group[j]] += w
		for k, c := range f.kept {
			d[k] += w * (z[c][j] - f.meanZ[c][group[j]])
		}
	}
	v := make([]float64, q)
	for i := range q {
		for j := range q {
			v[i] += f.inv[i*q+j] * d[j] / f.scale[j]
		}
	}
	a := make([]float64, len(f.group))
	for i, g := range f.group {
		a[i] = groupWeight[g] / f.groupN[g]
	}
	for j, c := range f.scaled {
		for i, s := range c {
			a[i] += s * v[j]
		}
	}
	return a
}
