package mv

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// syntheticYear makes rows of a building with occupied hours, a heating and a
// cooling load, and temperatures with two decimals, so that thousands of them
// are distinct.
func syntheticYear(rows int, step time.Duration, seed uint64) *Table {
	random := rand.New(rand.NewPCG(seed, 7))
	t := &Table{Interval: Hour, Load: Column{Name: "load", Unit: "kWh"}, Drivers: []Column{{Name: "temp", Role: Temperature, Unit: "C"}}}
	if step == 15*time.Minute {
		t.Interval = QuarterHour
	}
	start, e := time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC), 0.0
	for i := range rows {
		at := start.Add(time.Duration(i) * step)
		days := at.Sub(start).Hours() / 24
		temp := 12 - 11*math.Cos(2*math.Pi*days/365) - 4*math.Cos(2*math.Pi*days) + 3*random.NormFloat64()
		temp = math.Round(temp*100) / 100
		e = 0.6*e + 4*random.NormFloat64()
		load := 80 + 1.5*max(10-temp, 0) + 2.5*max(temp-18, 0) + e
		if h := at.Hour(); h >= 8 && h < 18 && at.Weekday() != time.Sunday && at.Weekday() != time.Saturday {
			load += 40
		}
		t.Start, t.Hours = append(t.Start, at), append(t.Hours, step.Hours())
		t.Load.Values = append(t.Load.Values, load)
		t.Drivers[0].Values = append(t.Drivers[0].Values, temp)
	}
	return t
}

// BenchmarkFourModels fits TOWT, 3PC, 4P and 5P with exact change points. The
// goals are 150 ms for a year of hours and 1 s for a year of quarter hours.
func BenchmarkFourModels(b *testing.B) {
	for _, c := range []struct {
		name string
		rows int
		step time.Duration
	}{{"hours", 8760, time.Hour}, {"quarters", 35040, 15 * time.Minute}} {
		t := syntheticYear(c.rows, c.step, 1)
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				for _, m := range []string{"TOWT", "3PC", "4P", "5P"} {
					_, err := Fit(t, m, Facility)
					require.NoError(b, err)
				}
			}
		})
		for _, m := range []string{"TOWT", "3PC", "4P", "5P"} {
			b.Run(c.name+"/"+m, func(b *testing.B) {
				for b.Loop() {
					_, err := Fit(t, m, Facility)
					require.NoError(b, err)
				}
			})
		}
	}
}

// BenchmarkIllinois is the same on the published data with 3,484 distinct
// temperatures, on which the peers were measured.
func BenchmarkIllinois(b *testing.B) {
	d := illinois(b, false)
	base := d.table.within(d.baseline)
	for b.Loop() {
		for _, m := range []string{"TOWT", "3PC", "4P", "5P"} {
			_, err := Fit(base, m, Facility)
			require.NoError(b, err)
		}
	}
}

// BenchmarkAuto is everything of auto: seven candidates with twelve blocks each,
// tests, bootstrap and events, on two years of hours. The goal is 2 s.
func BenchmarkAuto(b *testing.B) {
	t := syntheticYear(2*8760, time.Hour, 2)
	plan := Plan{Baseline: Period{t.Start[0], t.Start[8760]}, Reporting: Period{t.Start[8760], t.Start[2*8760-1].Add(time.Hour)}}
	for b.Loop() {
		_, err := Analyze(t, nil, plan, "bench")
		require.NoError(b, err)
	}
}
