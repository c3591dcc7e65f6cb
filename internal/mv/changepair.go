package mv

import (
	"math"
)

// pairOptimum is the best pair of change points with a flat middle.
type pairOptimum struct {
	low, high float64 // heating and cooling change points
	sse       float64
}

// pairSearch finds the five-parameter optimum.
type pairSearch struct {
	y, t, mirrored []float64
	w              [][]float64
	up, down       *ordered
	best           pairOptimum
}

// searchPair finds the change points c1 <= c2 that minimize the sum of squares
// of y on an intercept, w, max(c1-T, 0) and max(T-c2, 0). grid bounds the number
// of knots of the first search. Without other drivers the result is exact if
// exact is set: every pair of gaps whose lower bound is below the best sum of
// squares is solved in closed form, inside and on its edges. With other drivers
// it is the best pair of observed values, polished one change point at a time.
func searchPair(y, t []float64, w [][]float64, grid int, exact bool) (pairOptimum, bool) {
	s := &pairSearch{y: y, t: t, mirrored: negated(t), w: w}
	s.up, s.down = orderBy(t), orderBy(s.mirrored)
	if len(s.up.knots) < 5 {
		return pairOptimum{}, false
	}
	p := project(y, w)
	s.best = pairOptimum{sse: math.Inf(1)}
	cool := sweep(s.up, p)
	heat := sweep(s.down, p)
	s.coarse(cool, heat, p.sse, thin(len(s.up.knots), grid))
	if math.IsInf(s.best.sse, 1) {
		return pairOptimum{}, false
	}
	s.alternate()
	if exact && len(w) == 0 {
		if s.cells(cool, heat, p.sse) {
			s.alternate()
		}
	}
	return s.best, true
}

// thin picks at most limit of n indices, evenly, with both ends.
func thin(n, limit int) []int {
	if n <= limit {
		limit = n
	}
	out := make([]int, 0, limit)
	for i := range limit {
		k := i * (n - 1) / max(limit-1, 1)
		if len(out) == 0 || k > out[len(out)-1] {
			out = append(out, k)
		}
	}
	return out
}

// coarse tries all pairs of the chosen knots.
func (s *pairSearch) coarse(cool, heat []hingeSums, sse float64, chosen []int) {
	k := len(s.up.knots)
	for x, j := range chosen {
		h := &heat[k-1-j] // the mirrored order runs the other way
		if h.rows < minSegment {
			continue
		}
		floor := 1e-11 * (h.a + float64(h.rows))
		for _, i := range chosen[x:] {
			c := &cool[i]
			if c.rows < minSegment {
				break
			}
			var cross float64
			for q := range h.hq {
				cross -= h.hq[q] * c.hq[q]
			}
			det := h.a*c.a - cross*cross
			if h.a <= floor || det <= 1e-11*h.a*c.a {
				continue
			}
			gain := (h.alpha*h.alpha*c.a - 2*h.alpha*c.alpha*cross + c.alpha*c.alpha*h.a) / det
			if sse-gain < s.best.sse {
				s.best = pairOptimum{s.up.knots[j], s.up.knots[i], sse - gain}
			}
		}
	}
}

// alternate holds one change point and finds the best other one exactly, until
// the sum of squares stops falling.
func (s *pairSearch) alternate() {
	for range 60 {
		before := s.best.sse
		p := project(s.y, append(s.w[:len(s.w):len(s.w)], hingeColumn(s.t, s.best.low, true)))
		if h, _, ok := searchHinge(s.up, p, s.best.low); ok && p.sse-h.gain < s.best.sse {
			s.best.high, s.best.sse = h.at, p.sse-h.gain
		}
		p = project(s.y, append(s.w[:len(s.w):len(s.w)], hingeColumn(s.t, s.best.high, false)))
		if h, _, ok := searchHinge(s.down, p, -s.best.high); ok && p.sse-h.gain < s.best.sse {
			s.best.low, s.best.sse = -h.at, p.sse-h.gain
		}
		if !(s.best.sse < before*(1-1e-13)) {
			return
		}
	}
}

// segment holds running sums of the rows up to a knot.
type segment struct{ n, st, sy, stt, sty, syy float64 }

func (a segment) minus(b segment) segment {
	return segment{a.n - b.n, a.st - b.st, a.sy - b.sy, a.stt - b.stt, a.sty - b.sty, a.syy - b.syy}
}

// line is the least-squares line of a segment: value at 0, slope and sum of
// squares.
func (a segment) line() (v, slope, sse float64) {
	m, ty := a.stt-a.st*a.st/a.n, a.sty-a.st*a.sy/a.n
	yy := a.syy - a.sy*a.sy/a.n
	if m <= 1e-12*a.stt || m <= 0 {
		return a.sy / a.n, 0, yy
	}
	slope = ty / m
	return (a.sy - slope*a.st) / a.n, slope, max(yy-slope*ty, 0)
}

// cells looks at every pair of gaps. It tells whether it found a better pair.
func (s *pairSearch) cells(cool, heat []hingeSums, total float64) bool {
	k := len(s.up.knots)
	prefix := s.prefix()
	type fitted struct{ v, b, sse float64 }
	left, right := make([]fitted, k), make([]fitted, k)
	for j := range k {
		v, b, e := prefix[j].line()
		left[j] = fitted{v, b, e}
		if j+1 < k {
			v, b, e = prefix[k-1].minus(prefix[j]).line()
			right[j] = fitted{v, b, e}
		}
	}
	// The lower bound of a pair of gaps is the sum of the squares about the left
	// line, the mean of the middle and the right line. It is compared without a
	// division, on flat arrays, since there are millions of pairs.
	n, sy, head, tail := make([]float64, k), make([]float64, k), make([]float64, k), make([]float64, k)
	for j := range k {
		n[j], sy[j] = prefix[j].n, prefix[j].sy
		head[j], tail[j] = left[j].sse-prefix[j].syy, right[j].sse+prefix[j].syy
	}
	last := k - 1
	for last > 0 && cool[last-1].rows < minSegment {
		last--
	}
	start, tm := s.best.sse, meanOf(s.t)
	for j := 0; j+2 < k; j++ {
		if int(n[j]) < minSegment {
			continue
		}
		limit := head[j] - s.best.sse*(1-1e-12)
		for i := j + 1; i < last; i++ {
			d := sy[i] - sy[j]
			if (limit+tail[i])*(n[i]-n[j]) >= d*d {
				continue
			}
			base := d / (n[i] - n[j])
			c1, c2 := tm+(base-left[j].v)/left[j].b, tm+(base-right[i].v)/right[i].b
			if in(c1, s.up.knots[j], s.up.knots[j+1]) && in(c2, s.up.knots[i], s.up.knots[i+1]) {
				s.best = pairOptimum{c1, c2, head[j] + tail[i] - d*base}
			} else {
				s.edges(cool, heat, total, j, i)
			}
			limit = head[j] - s.best.sse*(1-1e-12)
		}
	}
	return s.best.sse < start
}

func in(x, low, high float64) bool { return x >= low && x <= high }

// prefix sums the rows up to each knot, on centered values.
func (s *pairSearch) prefix() []segment {
	tm, ym := meanOf(s.t), meanOf(s.y)
	out := make([]segment, len(s.up.knots))
	var run segment
	next := 0
	for j := range s.up.knots {
		for ; next < s.up.upper[j]; next++ {
			t, y := s.t[s.up.order[next]]-tm, s.y[s.up.order[next]]-ym
			run.n++
			run.st += t
			run.sy += y
			run.stt += t * t
			run.sty += t * y
			run.syy += y * y
		}
		out[j] = run
	}
	return out
}

// edges solves the four edges of a pair of gaps: one change point on a knot,
// the other in its gap.
func (s *pairSearch) edges(cool, heat []hingeSums, total float64, j, i int) {
	k := len(s.up.knots)
	for _, a := range []int{j, j + 1} {
		h := &heat[k-1-a]
		if d, gain := edge(h, &cool[i], s.up.knots[i+1]-s.up.knots[i]); total-gain < s.best.sse {
			if c2 := s.up.knots[i] + d; c2 >= s.up.knots[a] {
				s.best = pairOptimum{s.up.knots[a], c2, total - gain}
			}
		}
	}
	for _, b := range []int{i, i + 1} {
		// The gap [knot j, knot j+1] begins, mirrored, at knot j+1.
		if d, gain := edge(&cool[b], &heat[k-2-j], s.up.knots[j+1]-s.up.knots[j]); total-gain < s.best.sse {
			if c1 := s.up.knots[j+1] - d; c1 <= s.up.knots[b] {
				s.best = pairOptimum{c1, s.up.knots[b], total - gain}
			}
		}
	}
}

// edge holds the hinge of one side at its knot and finds the best change point
// of the other side in its gap. Hinges of the two sides do not overlap, so their
// only product is the one through the columns that were projected out.
func edge(held, free *hingeSums, width float64) (d, gain float64) {
	if held.rows < minSegment || free.rows < minSegment || held.a <= 0 {
		return 0, -1
	}
	var xu, xv float64
	for q := range held.hq {
		xu -= held.hq[q] * free.hq[q]
		xv -= held.hq[q] * free.gq[q]
	}
	r := held.alpha / held.a
	d, gain = bestInGap(free.alpha-r*xu, free.beta-r*xv, free.a-xu*xu/held.a, free.b-xu*xv/held.a, free.c-xv*xv/held.a,
		width, 1e-11*(free.a+free.c))
	if gain < 0 {
		return 0, -1
	}
	return d, gain + r*held.alpha
}
