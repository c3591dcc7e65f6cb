package mv

import (
	"math"
	"slices"
	"sort"
)

// minSegment is the number of rows that must lie on each sloped side of a
// change point.
const minSegment = 3

// ordered is a driver in ascending order, with its distinct values.
type ordered struct {
	order []int     // rows by ascending driver
	knots []float64 // distinct values
	upper []int     // rows above knots[k] are order[upper[k]:]
}

func orderBy(t []float64) *ordered {
	o := &ordered{order: make([]int, len(t))}
	for i := range o.order {
		o.order[i] = i
	}
	sort.SliceStable(o.order, func(a, b int) bool { return t[o.order[a]] < t[o.order[b]] })
	for i, row := range o.order {
		if i == 0 || t[row] != o.knots[len(o.knots)-1] {
			o.knots, o.upper = append(o.knots, t[row]), append(o.upper, i)
		}
		o.upper[len(o.upper)-1] = i + 1
	}
	return o
}

// projection removes the columns w and the intercept: an orthonormal basis of
// their space, and the rest of y.
type projection struct {
	q    [][]float64
	rest []float64
	sse  float64
}

// project builds the basis by Gram-Schmidt, applied twice.
func project(y []float64, w [][]float64) *projection {
	n := len(y)
	one := make([]float64, n)
	for i := range one {
		one[i] = 1 / math.Sqrt(float64(n))
	}
	p := &projection{q: [][]float64{one}}
	for _, c := range w {
		v := slices.Clone(c)
		before := math.Sqrt(sumSquares(v))
		p.remove(v)
		p.remove(v)
		length := math.Sqrt(sumSquares(v))
		if length <= 1e-12*before || length == 0 {
			continue
		}
		for i := range v {
			v[i] /= length
		}
		p.q = append(p.q, v)
	}
	p.rest = slices.Clone(y)
	p.remove(p.rest)
	p.remove(p.rest)
	p.sse = sumSquares(p.rest)
	return p
}

func (p *projection) remove(v []float64) {
	for _, q := range p.q {
		var d float64
		for i := range q {
			d += q[i] * v[i]
		}
		for i := range q {
			v[i] -= d * q[i]
		}
	}
}

// hingeSums are the sums that describe the hinge max(T-c, 0) for c in the gap
// that begins at a knot: with d = c - knot, the hinge is u - d*v, where u is
// max(T-knot, 0) and v tells the rows above the knot.
type hingeSums struct {
	alpha, beta float64   // rest of y times u and v
	a, b, c     float64   // u'Mu, u'Mv and v'Mv, where M removes the other columns
	hq, gq      []float64 // Q'u and Q'v
	rows        int       // rows above the knot
}

// sweep computes the sums of every gap from the right to the left, by adding
// positive pieces only.
func sweep(o *ordered, p *projection) []hingeSums {
	k := len(p.q)
	sums := make([]hingeSums, len(o.knots))
	store := make([]float64, 2*k*len(o.knots))
	h, g := make([]float64, k), make([]float64, k)
	var ru, rv, s1, s2, n float64
	for j := len(o.knots) - 2; j >= 0; j-- {
		// The rows at knot j+1 move above, then the reference moves down to knot j.
		for _, row := range o.order[o.upper[j]:o.upper[j+1]] {
			n++
			rv += p.rest[row]
			for i, q := range p.q {
				g[i] += q[row]
			}
		}
		step := o.knots[j+1] - o.knots[j]
		s2 += step * (2*s1 + step*n)
		s1 += step * n
		ru += step * rv
		s := &sums[j]
		s.hq, s.gq = store[2*k*j:2*k*j+k:2*k*j+k], store[2*k*j+k:2*k*(j+1):2*k*(j+1)]
		var hh, hg, gg float64
		for i := range k {
			h[i] += step * g[i]
			s.hq[i], s.gq[i] = h[i], g[i]
			hh += h[i] * h[i]
			hg += h[i] * g[i]
			gg += g[i] * g[i]
		}
		s.alpha, s.beta = ru, rv
		s.a, s.b, s.c = s2-hh, s1-hg, n-gg
		s.rows = int(n)
	}
	sums[len(o.knots)-1].hq, sums[len(o.knots)-1].gq = make([]float64, k), make([]float64, k)
	return sums
}

// bestInGap maximizes (alpha-d*beta)^2 / (a-2bd+cd^2) over d in [0, width]: the
// reduction of the sum of squares. The stationary point has a closed form. The
// sign of the slope at d is that of alpha-d*beta.
func bestInGap(alpha, beta, a, b, c, width, floor float64) (d, gain float64) {
	gain = -1
	try := func(x float64) {
		den := a - 2*b*x + c*x*x
		if den <= floor {
			return
		}
		num := alpha - x*beta
		if g := num * num / den; g > gain {
			d, gain = x, g
		}
	}
	try(0)
	try(width)
	if q := beta*b - alpha*c; q != 0 {
		if x := (beta*a - alpha*b) / q; x > 0 && x < width {
			try(x)
		}
	}
	return d, gain
}

// hingeOptimum is the best single hinge.
type hingeOptimum struct {
	at        float64 // change point, in the units of t
	low, high float64 // profile-likelihood interval
	gain      float64 // reduction of the sum of squares
}

// searchHinge finds the change point c that minimizes the sum of squares of y on
// an intercept, the columns w and max(T-c, 0). It looks at every gap between
// distinct values of T, and in each gap the optimum has a closed form, so the
// result is exact. c is at least from. Both sides keep minSegment rows.
func searchHinge(o *ordered, p *projection, from float64) (hingeOptimum, []hingeSums, bool) {
	sums := sweep(o, p)
	best, ok := hingeOptimum{gain: -1}, false
	for j := 0; j+1 < len(o.knots); j++ {
		s := &sums[j]
		if s.rows < minSegment || o.upper[j] < minSegment || o.knots[j+1] <= from {
			continue
		}
		floor := 1e-11 * (s.a + s.c + float64(s.rows))
		d, gain := bestInGap(s.alpha, s.beta, s.a, s.b, s.c, o.knots[j+1]-o.knots[j], floor)
		if c := o.knots[j] + d; gain > best.gain && c >= from {
			best, ok = hingeOptimum{at: c, gain: gain}, true
		}
	}
	return best, sums, ok
}

// profile widens the optimum to all change points whose sum of squares stays
// below limit.
func (h *hingeOptimum) profile(o *ordered, sums []hingeSums, sse, limit float64) {
	h.low, h.high = h.at, h.at
	for j := 0; j+1 < len(o.knots); j++ {
		s := &sums[j]
		if s.rows < minSegment || o.upper[j] < minSegment {
			continue
		}
		width := o.knots[j+1] - o.knots[j]
		d, gain := bestInGap(s.alpha, s.beta, s.a, s.b, s.c, width, 1e-11*(s.a+s.c+float64(s.rows)))
		if gain >= 0 && sse-gain <= limit {
			h.low, h.high = min(h.low, o.knots[j]+d), max(h.high, o.knots[j]+d)
		}
	}
}

// negated mirrors a driver, so that a heating hinge becomes a cooling hinge.
func negated(t []float64) []float64 {
	out := make([]float64, len(t))
	for i, v := range t {
		out[i] = -v
	}
	return out
}

// hingeColumn is max(T-c, 0), or max(c-T, 0) where heating.
func hingeColumn(t []float64, c float64, heating bool) []float64 {
	out := make([]float64, len(t))
	for i, v := range t {
		if heating {
			v, c := -v, -c
			out[i] = max(v-c, 0)
		} else {
			out[i] = max(v-c, 0)
		}
	}
	return out
}
