package kpi

import (
	"sort"
	"time"
)

// Series adds up pieces of readings by buckets.
type Series struct {
	buckets []Range
	sums    []Sums
	covered []float64   // seconds of each bucket that at least one piece covers
	until   []time.Time // up to where covered has counted
}

// NewSeries makes a Series of buckets in the order of time, which do not overlap.
func NewSeries(buckets []Range) *Series {
	n := len(buckets)
	return &Series{buckets: buckets, sums: make([]Sums, n), covered: make([]float64, n), until: make([]time.Time, n)}
}

// Add adds a piece of a reading. A piece that crosses the edge of a bucket is
// split there, and counted as a reading where it begins. Pieces must come in the
// order in which they begin.
func (s *Series) Add(v *Values, piece Range) { s.AddWithin(v, piece, piece) }

// AddWithin adds the part of a piece that lies in a time, as Add does.
func (s *Series) AddWithin(v *Values, piece, within Range) {
	cut := piece.Within(within)
	first := sort.Search(len(s.buckets), func(i int) bool { return s.buckets[i].To.After(cut.From) })
	for i := first; i < len(s.buckets) && s.buckets[i].From.Before(cut.To); i++ {
		part := cut.Within(s.buckets[i])
		s.sums[i].addPart(v, part)
		if part.From.Equal(piece.From) {
			s.sums[i].Readings++
		}
		if part.From.Before(s.until[i]) {
			part.From = s.until[i]
		}
		if !part.Empty() {
			s.covered[i] += part.Seconds()
			s.until[i] = part.To
		}
	}
}

// AddSums adds to a bucket what readings add up to over a part of it, of which at
// least one reading covers covered seconds. No piece that Add gets may lie in
// the same part.
func (s *Series) AddSums(i int, sums *Sums, covered float64) {
	s.sums[i].Merge(sums)
	s.covered[i] += covered
}

// At returns a bucket, what its readings add up to, and for how many seconds at
// least one reading covers it.
func (s *Series) At(i int) (bucket Range, sums *Sums, covered float64) {
	return s.buckets[i], &s.sums[i], s.covered[i]
}

// Len is the number of buckets.
func (s *Series) Len() int { return len(s.buckets) }

// Wanted is the time in seconds that readings should cover: the part of a range
// that is not in the future.
func Wanted(r Range, now time.Time) float64 {
	if r.To.After(now) {
		r.To = now
	}
	return r.Seconds()
}
