package kpi_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/kpi"
)

// table is the table of the figures in docs/readings.md.
func table() string {
	var b strings.Builder
	b.WriteString("| figure | unit | computed as | needs | better | standard |\n|---|---|---|---|---|---|\n")
	dash := func(text string) string {
		if text == "" {
			return "–"
		}
		return text
	}
	for _, k := range kpi.Definitions() {
		needs := dash(k.Needs)
		if k.Needs != "" {
			needs = "`" + strings.ReplaceAll(k.Needs, " and ", "`, `") + "`"
		}
		b.WriteString("| `" + k.Name + "` | " + dash(k.Unit) + " | " + k.Formula + " | " + needs + " | " + string(k.Better) + " | " + dash(k.Standard) + " |\n")
	}
	return b.String()
}

func TestTheDocumentedFiguresAreTrue(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "readings.md"))
	require.NoError(t, err)
	assert.Contains(t, string(raw), table(), "docs/readings.md is out of date; the table is:\n%s", table())
}

func TestEveryFigureHasItsDefinition(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, k := range kpi.Definitions() {
		assert.False(t, seen[k.Name], "%s is there twice", k.Name)
		seen[k.Name] = true
		assert.NotEmpty(t, k.Title, k.Name)
		assert.NotEmpty(t, k.Formula, k.Name)
		assert.NotEmpty(t, k.Better, k.Name)
		named, ok := kpi.Named(k.Name)
		assert.True(t, ok)
		assert.Equal(t, k.Title, named.Title)
		// Without any reading there is no figure.
		assert.Equal(t, kpi.Figure{Quality: kpi.NotEnough}, k.Compute(&kpi.Sums{}, 0, 3600), k.Name)
	}
	_, ok := kpi.Named("wisdom")
	assert.False(t, ok)
}

// At the edges of 90 and 50 percent.
func TestFiguresAreWithheldWhenTooLittleIsCovered(t *testing.T) {
	t.Parallel()
	pue, _ := kpi.Named("pue")
	for _, test := range []struct {
		minutes int
		quality kpi.Quality
		value   bool
	}{{100, kpi.Complete, true}, {90, kpi.Complete, true}, {89, kpi.Partial, true}, {50, kpi.Partial, true}, {49, kpi.NotEnough, false}} {
		series := kpi.NewSeries([]kpi.Range{span(0, 100)})
		series.Add(&kpi.Values{ITLoadKW: 100, FacilityKW: 150}, span(0, test.minutes))
		times, sums, covered := series.At(0)
		f := pue.Compute(sums, covered, kpi.Wanted(times, times.To))
		assert.Equal(t, test.quality, f.Quality, "%d %%", test.minutes)
		assert.Equal(t, test.value, f.Value != nil, "%d %%", test.minutes)
		assert.InDelta(t, test.minutes, f.CompletenessPct, 1e-9)
	}
}

// What has not happened yet is not missing, and clusters at the same time do not
// make a time more complete.
func TestCompletenessOfASeries(t *testing.T) {
	t.Parallel()
	series := kpi.NewSeries([]kpi.Range{span(0, 60), span(60, 120)})
	v := kpi.Values{ITLoadKW: 1, FacilityKW: 2}
	series.Add(&v, span(0, 30))
	series.Add(&v, span(0, 45))
	series.Add(&v, span(30, 90))
	_, sums, covered := series.At(0)
	assert.Equal(t, 3600.0, covered)
	assert.Equal(t, 3, sums.Readings)
	assert.InDelta(t, 2*(30+45+30)/60.0, sums.FacilityKWh, 1e-12)
	times, sums, covered := series.At(1)
	assert.Equal(t, 1800.0, covered)
	assert.Zero(t, sums.Readings, "a piece is counted where it begins")
	assert.Equal(t, 1800.0, kpi.Wanted(times, times.From.Add(30*time.Minute)))
	assert.Zero(t, kpi.Wanted(times, times.From))
}
