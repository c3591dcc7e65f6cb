package mv

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"
)

// sumOf adds with Neumaier's compensation, always in the order of the slice.
func sumOf(values []float64) float64 {
	var s, c float64
	for _, v := range values {
		t := s + v
		if math.Abs(s) >= math.Abs(v) {
			c += (s - t) + v
		} else {
			c += (v - t) + s
		}
		s = t
	}
	return s + c
}

// meanOf is the mean, corrected once by the mean of the deviations.
func meanOf(values []float64) float64 {
	n := float64(len(values))
	if n == 0 {
		return 0
	}
	m := sumOf(values) / n
	var s float64
	for _, v := range values {
		s += v - m
	}
	return m + s/n
}

// sumSquares is the sum of squares of values.
func sumSquares(values []float64) float64 {
	var s, c float64
	for _, v := range values {
		x := v * v
		t := s + x
		if s >= x {
			c += (s - t) + x
		} else {
			c += (x - t) + s
		}
		s = t
	}
	return s + c
}

// centered is values less their mean, and the sum of the squares of that.
func centered(values []float64) ([]float64, float64) {
	m := meanOf(values)
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = v - m
	}
	return out, sumSquares(out)
}

// Autocorrelation is the lag-1 autocorrelation of a series, by both
// definitions. Pairs are true neighbors only: rows with a gap between them are
// no pair.
type Autocorrelation struct {
	Pearson float64 `json:"pearson"` // correlation of the pairs (e_t, e_t+1)
	ACF     float64 `json:"acf"`     // sum of products of deviations over their sum of squares (NIST)
	Pairs   int     `json:"pairs"`
}

// Lag1 computes the autocorrelation of values at the positions pos, which
// ascend; neighbors differ by one. A series without variation has 0.
func Lag1(values []float64, pos []int) Autocorrelation {
	dev, total := centered(values)
	var a, b []float64
	var cross float64
	for i := 1; i < len(values); i++ {
		if pos[i]-pos[i-1] == 1 {
			a, b = append(a, values[i-1]), append(b, values[i])
			cross += dev[i-1] * dev[i]
		}
	}
	r := Autocorrelation{Pairs: len(a)}
	if total == 0 || len(a) < 2 {
		return r
	}
	r.ACF = cross / total
	da, sa := centered(a)
	db, sb := centered(b)
	if sa > 0 && sb > 0 {
		var s float64
		for i := range da {
			s += da[i] * db[i]
		}
		r.Pearson = s / math.Sqrt(sa) / math.Sqrt(sb)
	}
	return r
}

// durbinWatson is the Durbin-Watson statistic over true neighbors.
func durbinWatson(e []float64, pos []int) float64 {
	var d float64
	for i := 1; i < len(e); i++ {
		if pos[i]-pos[i-1] == 1 {
			d += (e[i] - e[i-1]) * (e[i] - e[i-1])
		}
	}
	if s := sumSquares(e); s > 0 {
		return d / s
	}
	return 0
}

// tQuantile is the two-sided quantile of Student's t: |t| stays below it with
// the probability confidence.
func tQuantile(confidence float64, dof float64) float64 {
	if dof < 1 {
		dof = 1
	}
	return distuv.StudentsT{Mu: 0, Sigma: 1, Nu: dof}.Quantile(0.5 + confidence/2)
}

// chiSquareTail is the probability that chi-square with dof exceeds x.
func chiSquareTail(x float64, dof int) float64 {
	if dof < 1 || x <= 0 {
		return 1
	}
	return distuv.ChiSquared{K: float64(dof)}.Survival(x)
}

// fQuantile is the quantile of the F distribution with 1 and d2 degrees.
func fQuantile(p, d2 float64) float64 {
	t := tQuantile(p, d2)
	return t * t
}

// quantileSorted is the value below which the share q of sorted values lies, by
// linear interpolation between order statistics.
func quantileSorted(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	x := q * float64(len(sorted)-1)
	i := int(x)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (x-float64(i))*(sorted[i+1]-sorted[i])
}

// present is the values that are not missing, sorted.
func present(values []float64) []float64 {
	var out []float64
	for _, v := range values {
		if !math.IsNaN(v) {
			out = append(out, v)
		}
	}
	slices.Sort(out)
	return out
}

// quadraticAR1 is the sum over i and j of a_i a_j rho^|pos_i-pos_j|: the
// variance of the sum of a_i e_i, in units of the variance of e, where e is an
// AR(1) process. It takes time proportional to the length.
func quadraticAR1(a []float64, pos []int, rho float64) float64 {
	var q, carry float64
	for i, v := range a {
		if i > 0 {
			carry = powInt(rho, pos[i]-pos[i-1]) * (carry + a[i-1])
		}
		q += v * (v + 2*carry)
	}
	return q
}

// powInt is x to the power n, n >= 1, fast for the common n of 1.
func powInt(x float64, n int) float64 {
	if n == 1 {
		return x
	}
	return math.Pow(x, float64(n))
}
