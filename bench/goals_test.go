package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// posted is a run of which each round found these rates.
func posted(mass, pgbench []float64) *results {
	r := &results{}
	for name, rates := range map[string][]float64{"mass": mass, "pgbench": pgbench} {
		for round, rate := range rates {
			r.Samples = append(r.Samples, sample{"post", name, "conns=64", round, map[string]float64{"rate": rate, "redis_bytes": 30}})
		}
	}
	return r
}

func goalOf(t *testing.T, key string) goal {
	t.Helper()
	for _, g := range goals() {
		if g.key == key {
			return g
		}
	}
	t.Fatalf("no goal %s", key)
	return goal{}
}

func TestRatiosAreThoseOfEachRound(t *testing.T) {
	t.Parallel()
	// The machine was half as fast in the second round: the ratio is the same, that of the medians is not.
	got, ok := goalOf(t, "post_vs_pgbench").reached(posted([]float64{200, 100, 300}, []float64{100, 50, 100}))
	require.True(t, ok)
	assert.Equal(t, spread{2, 2, 3}, got)
}

func TestRoundsThatLackAFigureDoNotCount(t *testing.T) {
	t.Parallel()
	got, ok := goalOf(t, "post_vs_pgbench").reached(posted([]float64{200, 100}, []float64{100}))
	require.True(t, ok)
	assert.Equal(t, spread{2, 2, 2}, got)
	_, ok = goalOf(t, "post_vs_pgbench").reached(posted([]float64{200}, nil))
	assert.False(t, ok)
}

func TestFloors(t *testing.T) {
	t.Parallel()
	r := posted([]float64{150}, []float64{100})
	assert.NoError(t, checkFloors(r, map[string]float64{"post_vs_pgbench": 1.5, "redis_bytes": 30}))
	assert.ErrorContains(t, checkFloors(r, map[string]float64{"post_vs_pgbench": 1.6}), "post_vs_pgbench: 1.50, but the floor is 1.6")
	assert.ErrorContains(t, checkFloors(r, map[string]float64{"redis_bytes": 29}), "redis_bytes: 30.0, but the floor is 29", "less is better here")
	assert.ErrorContains(t, checkFloors(r, map[string]float64{"idle_cpu": 1}), "not measured")
	assert.ErrorContains(t, checkFloors(r, map[string]float64{"speed": 1}), "no such goal")
}

func TestTheFloorsThatAreKeptAreOfGoals(t *testing.T) {
	t.Parallel()
	floors, err := readFloors("floors.json")
	require.NoError(t, err)
	for key := range floors {
		goalOf(t, key)
	}
}

func TestTheDocumentKeepsWhatPeopleWrote(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "benchmarks.md")
	require.NoError(t, os.WriteFile(path, []byte("before\n"+goalsBeginMark+"\nold\n"+goalsEndMark+"\nbetween\n"+beginMark+"\nold\n"+endMark+"\nafter\n"), 0o600))
	r := posted([]float64{150}, []float64{100})
	for range 2 {
		require.NoError(t, r.writeDocument(path))
	}
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	text := string(content)
	assert.Regexp(t, "^before\n"+goalsBeginMark, text)
	assert.Regexp(t, goalsEndMark+"\nbetween\n"+beginMark, text)
	assert.Regexp(t, endMark+"\nafter\n$", text)
	assert.NotContains(t, text, "\nold\n")
	assert.Contains(t, text, "| POST/s at 64 connections ÷ pgbench single-row INSERT/s, 64 clients | ≥ 1.5 | 1.50 | met |")
	require.NoError(t, posted([]float64{100}, []float64{100}).writeDocument(path))
	content, err = os.ReadFile(path)
	require.NoError(t, err)
	assert.Contains(t, string(content), "| ≥ 1.5 | 1.00 | **missed**: a POST also pays for ")

	require.NoError(t, os.WriteFile(path, []byte("no marks"), 0o600))
	assert.ErrorContains(t, r.writeDocument(path), "lacks the marks")
}
