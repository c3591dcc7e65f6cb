package main

import (
	"math/bits"
	"slices"
	"time"
)

// subBuckets is how finely a histogram divides each power of two: to about 1.6 %.
const (
	subBits    = 6
	subBuckets = 1 << subBits
)

// histogram counts durations in buckets that grow with the value, in the way of HdrHistogram: recording is a few
// instructions, and a quantile is right to 1/64 of its value. The zero value is empty. Not safe for concurrent use.
type histogram struct {
	counts [(64 - subBits + 1) * subBuckets]uint64
	n      uint64
	max    time.Duration
}

// record adds a duration; a negative one counts as zero.
func (h *histogram) record(d time.Duration) {
	d = max(d, 0)
	h.counts[bucketOf(uint64(d))]++
	h.n++
	h.max = max(h.max, d)
}

// merge adds what another histogram counted.
func (h *histogram) merge(o *histogram) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
	h.max = max(h.max, o.max)
}

// quantile returns the value below which the share q of all recorded values lies; 0 when there are none.
func (h *histogram) quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := max(1, uint64(q*float64(h.n)+0.999999)) // of the value that is looked for, from 1
	for i, c := range h.counts {
		if c >= rank {
			return min(h.max, time.Duration(upperEdge(i))) //nolint:gosec // durations are below 2^63
		}
		rank -= c
	}
	return h.max
}

// bucketOf maps values below subBuckets to themselves, and each further power of two to subBuckets buckets.
func bucketOf(v uint64) int {
	shift := max(0, bits.Len64(v)-subBits-1)
	return shift<<subBits + int(v>>shift) //nolint:gosec // below 2·subBuckets after the shift
}

// upperEdge is the largest value of a bucket.
func upperEdge(i int) uint64 {
	shift := max(0, i>>subBits-1)
	return (uint64(i-shift<<subBits)+1)<<shift - 1 //nolint:gosec // an index is not negative
}

// spread is what several rounds found for one figure.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// spreadOf returns the median and the bounds of values, of which there must be one at least.
func spreadOf(values []float64) spread {
	v := slices.Sorted(slices.Values(values))
	mid := len(v) / 2
	median := v[mid]
	if len(v)%2 == 0 {
		median = (v[mid-1] + v[mid]) / 2
	}
	return spread{Median: median, Min: v[0], Max: v[len(v)-1]}
}
