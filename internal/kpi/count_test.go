package kpi_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/kpi"
)

var midnight = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// minuteOf is a number of minutes after midnight.
func minuteOf(minutes int) time.Time { return midnight.Add(time.Duration(minutes) * time.Minute) }

func span(from, to int) kpi.Range { return kpi.Range{From: minuteOf(from), To: minuteOf(to)} }

// reading makes a reading of a cluster, or of the site when cluster is "". Its
// number is the order in which the readings were accepted.
func reading(number int, cluster string, from, to int) kpi.Reading {
	return kpi.Reading{
		RequestID: int64(number), Asset: kpi.Asset{Site: "s", Cluster: cluster}, From: minuteOf(from), To: minuteOf(to),
		Accepted: midnight.AddDate(0, 0, number), Values: kpi.Values{ITLoadKW: float64(number), FacilityKW: 2 * float64(number)},
	}
}

func TestWhatCounts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		readings []kpi.Reading
		asset    [][]kpi.Range
		site     [][]kpi.Range
		states   []kpi.State // for the site
	}{
		{
			name:     "a correction replaces the reading of the same window",
			readings: []kpi.Reading{reading(1, "", 0, 60), reading(2, "", 0, 60)},
			asset:    [][]kpi.Range{nil, {span(0, 60)}},
			states:   []kpi.State{kpi.Replaced, kpi.Counts},
		},
		{
			name:     "finer readings count where they lie, also when they were accepted earlier",
			readings: []kpi.Reading{reading(1, "", 15, 30), reading(2, "", 0, 60)},
			asset:    [][]kpi.Range{{span(15, 30)}, {span(0, 15), span(30, 60)}},
			states:   []kpi.State{kpi.Counts, kpi.InPart},
		},
		{
			name:     "finer readings that fill a window leave nothing of it",
			readings: []kpi.Reading{reading(3, "", 0, 60), reading(1, "", 0, 30), reading(2, "", 30, 60)},
			asset:    [][]kpi.Range{nil, {span(0, 30)}, {span(30, 60)}},
			states:   []kpi.State{kpi.Superseded, kpi.Counts, kpi.Counts},
		},
		{
			name:     "of windows that overlap in part the later one counts",
			readings: []kpi.Reading{reading(2, "", 0, 60), reading(1, "", 30, 90)},
			asset:    [][]kpi.Range{{span(0, 60)}, {span(60, 90)}},
			states:   []kpi.State{kpi.Counts, kpi.InPart},
		},
		{
			name:     "clusters count for a site where it has nothing of its own",
			readings: []kpi.Reading{reading(1, "", 0, 60), reading(2, "a", 0, 60), reading(3, "a", 60, 120), reading(4, "b", 30, 90)},
			asset:    [][]kpi.Range{{span(0, 60)}, {span(0, 60)}, {span(60, 120)}, {span(30, 90)}},
			site:     [][]kpi.Range{{span(0, 60)}, nil, {span(60, 120)}, {span(60, 90)}},
			states:   []kpi.State{kpi.Counts, kpi.BesideSite, kpi.Counts, kpi.InPart},
		},
		{
			name:     "three windows of which each gives way to another one",
			readings: []kpi.Reading{reading(1, "", 20, 40), reading(3, "", 0, 100), reading(2, "", 30, 120)},
			asset:    [][]kpi.Range{{span(20, 30)}, {span(0, 20), span(40, 100)}, {span(30, 40), span(100, 120)}},
			states:   []kpi.State{kpi.InPart, kpi.InPart, kpi.InPart},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if test.site == nil {
				test.site = test.asset
			}
			for i, c := range kpi.Count(test.readings) {
				assert.Equal(t, test.asset[i], c.Asset, "reading %d for its asset", i)
				assert.Equal(t, test.site[i], c.Site, "reading %d for the site", i)
				assert.Equal(t, test.states[i], c.Seen, "reading %d", i)
			}
		})
	}
}

// randomReadings makes readings of a site and two clusters, many of which
// overlap.
func randomReadings(rng *rand.Rand) []kpi.Reading {
	list := make([]kpi.Reading, 1+rng.IntN(25))
	for i := range list {
		from := rng.IntN(20) * 15
		list[i] = reading(i, []string{"", "a", "b"}[rng.IntN(3)], from, from+15*(1+rng.IntN(8)))
	}
	return list
}

// Whatever the readings, each instant of an asset that a reading covers counts
// exactly once, and the order of arrival of the rows changes nothing.
func TestEachInstantCountsOnce(t *testing.T) {
	t.Parallel()
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 1))
		list := randomReadings(rng)
		counted := kpi.Count(list)
		for minute := 5; minute < 450; minute += 15 {
			covered, counts := map[string]int{}, map[string]int{}
			var own, site int
			clusters := map[string]bool{}
			for i, r := range list {
				inside := func(p kpi.Range) bool { return !minuteOf(minute).Before(p.From) && minuteOf(minute).Before(p.To) }
				if inside(r.Window()) {
					covered[r.Cluster]++
				}
				if slices.ContainsFunc(counted[i].Asset, inside) {
					counts[r.Cluster]++
				}
				if slices.ContainsFunc(counted[i].Site, inside) {
					site++
					if r.Cluster == "" {
						own++
					} else {
						clusters[r.Cluster] = true
					}
				}
			}
			for cluster, n := range covered {
				require.Equal(t, 1, counts[cluster], "seed %d, minute %d, cluster %q is covered %d times", seed, minute, cluster, n)
			}
			want := min(covered["a"], 1) + min(covered["b"], 1)
			if covered[""] > 0 {
				want = 1
				require.Equal(t, 1, own, "seed %d, minute %d", seed, minute)
			} else {
				require.Len(t, clusters, want, "seed %d, minute %d", seed, minute)
			}
			require.Equal(t, want, site, "seed %d, minute %d", seed, minute)
		}

		order := rng.Perm(len(list))
		shuffled := make([]kpi.Reading, len(list))
		for i, k := range order {
			shuffled[i] = list[k]
		}
		again := kpi.Count(shuffled)
		for i, k := range order {
			require.Equal(t, counted[k], again[i], "seed %d, reading %d", seed, k)
		}
	}
}

// At each instant, the reading that counts for an asset is the one that the rules
// name, as they are written.
func TestTheReadingThatTheRulesNameCounts(t *testing.T) {
	t.Parallel()
	inside := func(a, b *kpi.Reading) bool { // a lies inside b
		return !a.From.Before(b.From) && !a.To.After(b.To) && !a.Window().Equal(b.Window())
	}
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 3))
		list := randomReadings(rng)
		counted := kpi.Count(list)
		for minute := 5; minute < 450; minute += 15 {
			for _, cluster := range []string{"", "a", "b"} {
				var there []int
				for i := range list {
					if list[i].Cluster == cluster && !minuteOf(minute).Before(list[i].From) && minuteOf(minute).Before(list[i].To) {
						there = append(there, i)
					}
				}
				want := -1
				for _, i := range there {
					coarse := slices.ContainsFunc(there, func(k int) bool { return inside(&list[k], &list[i]) })
					if !coarse && (want < 0 || list[i].RequestID > list[want].RequestID) {
						want = i
					}
				}
				for _, i := range there {
					counts := slices.ContainsFunc(counted[i].Asset, func(p kpi.Range) bool {
						return !minuteOf(minute).Before(p.From) && minuteOf(minute).Before(p.To)
					})
					require.Equal(t, i == want, counts, "seed %d, minute %d, reading %d", seed, minute, i)
				}
			}
		}
	}
}

// Very many readings of one window, and very many different ones that overlap,
// are decided in a time that a duty has.
func BenchmarkCount(b *testing.B) {
	same, nested := make([]kpi.Reading, 20_000), make([]kpi.Reading, 5_000)
	for i := range same {
		same[i] = reading(i, "", 0, 60)
	}
	for i := range nested {
		nested[i] = reading(i, "", i, 20_000-i)
	}
	for name, list := range map[string][]kpi.Reading{"same": same, "nested": nested} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				kpi.Count(list)
			}
		})
	}
}

// The sums over the parts of a time are the sums over the whole.
func TestSumsOfPartsAreTheWhole(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 2))
		list := randomReadings(rng)
		counted := kpi.Count(list)
		sum := func(r kpi.Range) (s kpi.Sums) {
			for i := range list {
				for _, piece := range counted[i].Site {
					s.AddReading(&list[i].Values, piece.Within(r))
				}
			}
			return s
		}
		whole := sum(span(0, 600))
		var parts kpi.Sums
		cuts := []int{0, 600}
		for range rng.IntN(9) {
			cuts = append(cuts, rng.IntN(600))
		}
		slices.Sort(cuts)
		for i := range cuts[1:] {
			part := sum(span(cuts[i], cuts[i+1]))
			parts.FacilityKWh += part.FacilityKWh
			parts.ITKWh += part.ITKWh
			parts.Seconds += part.Seconds
		}
		for name, pair := range map[string][2]float64{
			"facility": {whole.FacilityKWh, parts.FacilityKWh}, "IT": {whole.ITKWh, parts.ITKWh}, "time": {whole.Seconds, parts.Seconds},
		} {
			require.LessOrEqual(t, math.Abs(pair[0]-pair[1]), 1e-9*math.Max(1, math.Abs(pair[0])), "seed %d: %s", seed, name)
		}
	}
}

func ExampleCount() {
	for _, c := range kpi.Count([]kpi.Reading{reading(1, "", 0, 60), reading(2, "", 0, 15)}) {
		for _, r := range c.Site {
			fmt.Println(c.Seen, r.From.Format("15:04"), r.To.Format("15:04"))
		}
	}
	// Output:
	// counts in part 00:15 01:00
	// counts 00:00 00:15
}
