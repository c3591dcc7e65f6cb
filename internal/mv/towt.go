package mv

import (
	"slices"
)

// The model of time of week and temperature, as published by Mathieu et al.
// (2011) and as LBNL's and nmecr's programs define it.
const (
	towtSegments  = 6    // temperature segments with equal numbers of rows
	towtBin       = 20   // rows that must lie beyond the outermost knots
	towtThreshold = 0.65 // share of underpredicted rows above which an interval counts as occupied
)

// towtHinges are the temperatures of the regression that tells occupied from
// unoccupied intervals: 50 and 65 degrees Fahrenheit, whatever the unit.
func towtHinges(fahrenheit bool) (low, high float64) {
	if fahrenheit {
		return 50, 65
	}
	return 10, (65.0 - 32) / 1.8
}

// week finds the groups, the knots and the occupied intervals of the baseline.
func (f *Fitted) week() {
	s := f.base
	f.slots = map[int]int{}
	seen := slices.Clone(s.slot)
	slices.Sort(seen)
	for _, slot := range slices.Compact(seen) {
		f.slots[slot] = len(f.slots)
	}
	f.Knots = temperatureKnots(s.t)
	f.occupied = occupiedSlots(s)
	for slot := range f.slots {
		if f.occupied[slot] {
			f.Occupied = append(f.Occupied, slot)
		}
	}
	slices.Sort(f.Occupied)
	f.regimes = 2
	if len(f.Occupied) == 0 || len(f.Occupied) == len(f.slots) {
		f.regimes = 1
	}
}

// temperatureKnots divides the rows into segments with equal numbers of rows,
// and drops outer knots beyond which too few rows lie. One knot always stays.
func temperatureKnots(t []float64) []float64 {
	sorted := slices.Clone(t)
	slices.Sort(sorted)
	var knots []float64
	for k := 1; k <= towtSegments; k++ {
		i := int(float64(len(sorted)*k)/towtSegments+0.001) - 1
		knots = append(knots, sorted[max(i, 0)])
	}
	above := func(x float64) int {
		i, _ := slices.BinarySearchFunc(sorted, x, func(v, x float64) int {
			if v <= x {
				return -1
			}
			return 1
		})
		return len(sorted) - i
	}
	below := func(x float64) int { i, _ := slices.BinarySearch(sorted, x); return i }
	for len(knots) > 1 && above(knots[len(knots)-1]) < towtBin {
		knots = knots[:len(knots)-1]
	}
	for len(knots) > 1 && below(knots[0]) < towtBin {
		knots = knots[1:]
	}
	return slices.Compact(knots)
}

// occupiedSlots tells the intervals of the week in which a regression on
// temperature alone underpredicts the load in most weeks.
func occupiedSlots(s *sample) map[int]bool {
	low, high := towtHinges(s.fahrenheit)
	cold, hot := make([]float64, len(s.t)), make([]float64, len(s.t))
	for i, t := range s.t {
		cold[i], hot[i] = min(t-low, 0), max(t-high, 0)
	}
	lin, err := leastSquares(s.y, [][]float64{cold, hot}, make([]int, len(s.y)), 1)
	if err != nil {
		return nil
	}
	under, total := map[int]int{}, map[int]int{}
	for i, slot := range s.slot {
		total[slot]++
		if lin.resid[i] > 0 {
			under[slot]++
		}
	}
	occupied := map[int]bool{}
	for slot, n := range total {
		occupied[slot] = float64(under[slot]) > towtThreshold*float64(n)
	}
	return occupied
}

// weekColumns is the temperature columns of both regimes, or of the only one.
func (f *Fitted) weekColumns(s *sample) [][]float64 {
	k := len(f.Knots) + 1
	cols := make([][]float64, f.regimes*k)
	for c := range cols {
		cols[c] = make([]float64, len(s.y))
	}
	for i, t := range s.t {
		first := 0
		if f.regimes == 2 && !f.occupied[s.slot[i]] {
			first = k
		}
		cols[first][i] = min(t, f.Knots[0])
		for j, knot := range f.Knots {
			width := t - knot
			if j+1 < len(f.Knots) {
				width = min(width, f.Knots[j+1]-knot)
			}
			cols[first+j+1][i] = max(width, 0)
		}
	}
	return cols
}
