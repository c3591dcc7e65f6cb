package mv

import (
	"math"
	"math/rand/v2"
	"slices"
)

// bootstrapRuns is the number of resamples; it bounds the error of a 90 %
// half-width at about 3 %.
const bootstrapRuns = 800

// bootstrap adds the half-widths of a moving-block bootstrap of the residuals:
// the baseline is resampled through the influence of its rows on the predicted
// sum, and the reporting rows get residuals of their own. Change points are
// held. It is a cross-check that assumes no form of the autocorrelation.
func (r *Savings) bootstrap(f *Fitted, seed uint64) {
	scale := math.Sqrt(float64(f.N) / float64(f.DOF))
	e, n := f.lin.resid, f.N
	length := blockLength(f)
	random := rand.New(rand.NewPCG(seed, 0x6d76)) //nolint:gosec // a seeded generator on purpose: the result is to be reproducible
	draws := make([]float64, bootstrapRuns)
	for b := range draws {
		draws[b] = scale * (resample(random, e, r.influence, n, length) - resample(random, e, r.rep.weight, n, length))
	}
	center := meanOf(draws)
	for i := range draws {
		draws[i] = math.Abs(draws[i] - center)
	}
	slices.Sort(draws)
	u := Uncertainty{Formula: FormulaBootstrap}
	for _, c := range confidenceLevels {
		u.Levels = append(u.Levels, r.level(c, quantileSorted(draws, c)))
	}
	r.Uncertainty = append(r.Uncertainty, u)
}

// resample is the sum of the weights times residuals drawn in blocks.
func resample(random *rand.Rand, e, weight []float64, n, length int) float64 {
	var s float64
	for i := 0; i < len(weight); i += length {
		from := random.IntN(n - length + 1)
		for k := i; k < min(i+length, len(weight)); k++ {
			s += weight[k] * e[from+k-i]
		}
	}
	return s
}

// blockLength is the length that minimizes the error of the variance for AR(1)
// residuals (Kuensch 1989), at least one day of shorter rows, at most a quarter
// of the baseline.
func blockLength(f *Fitted) int {
	rho := min(math.Abs(f.rho()), 0.97)
	x := 6 * rho * rho / ((1 - rho*rho) * (1 - rho*rho))
	l := int(math.Ceil(math.Cbrt(x * float64(f.N))))
	if step := f.base.interval.step(); step > 0 {
		l = max(l, int(24/step.Hours()))
	}
	return max(1, min(l, f.N/4))
}
