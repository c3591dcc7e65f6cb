package main

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestHistogramIsRightToAPartIn64(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	var h histogram
	var all []time.Duration
	for range 10_000 {
		d := time.Duration(rng.ExpFloat64() * float64(5*time.Millisecond))
		h.record(d)
		all = append(all, d)
	}
	slices.Sort(all)
	for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 0.999} {
		exact := all[max(0, int(q*float64(len(all)))-1)]
		assert.InEpsilon(t, float64(exact), float64(h.quantile(q)), 1.0/64+0.001, "quantile %v", q)
	}
	assert.Equal(t, all[len(all)-1], h.quantile(1))
}

func TestHistogramAtItsEdges(t *testing.T) {
	t.Parallel()
	var h histogram
	assert.Zero(t, h.quantile(0.5), "nothing recorded")
	h.record(-time.Second)
	assert.Zero(t, h.quantile(1), "a negative time is none")
	h.record(1 << 62)
	assert.Equal(t, time.Duration(1<<62), h.quantile(1))

	var small histogram
	for d := range time.Duration(100) {
		small.record(d)
	}
	assert.Equal(t, time.Duration(49), small.quantile(0.5), "small values are exact")
}

func TestEveryValueIsInItsBucket(t *testing.T) {
	t.Parallel()
	for shift := range 62 {
		for _, v := range []uint64{1 << shift, 1<<shift + 1, 1<<(shift+1) - 1} {
			i := bucketOf(v)
			assert.LessOrEqual(t, v, upperEdge(i))
			if i > 0 {
				assert.Greater(t, v, upperEdge(i-1))
			}
		}
	}
}

func TestMergedHistograms(t *testing.T) {
	t.Parallel()
	var a, b histogram
	a.record(time.Millisecond)
	b.record(time.Second)
	a.merge(&b)
	assert.EqualValues(t, 2, a.n)
	assert.Equal(t, time.Second, a.quantile(1))
}

func TestSpread(t *testing.T) {
	t.Parallel()
	assert.Equal(t, spread{2, 1, 9}, spreadOf([]float64{9, 1, 2}))
	assert.Equal(t, spread{2.5, 1, 4}, spreadOf([]float64{4, 3, 2, 1}))
	assert.Equal(t, spread{7, 7, 7}, spreadOf([]float64{7}))
}
