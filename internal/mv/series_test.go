package mv

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// analyzedDays is a result over two years of days: 3PH, 10 % saved.
func analyzedDays(t *testing.T) *Result {
	t.Helper()
	table := &Table{Interval: Day, Load: Column{Name: "load", Unit: "kWh"}, Drivers: []Column{{Name: "temp", Role: Temperature, Unit: "C"}}}
	for i := range 731 {
		temp := 12 - 11*math.Cos(2*math.Pi*float64(i)/365) + 3*math.Sin(float64(i)*1.7)
		load := 2000 + 60*max(14-temp, 0) + 40*math.Sin(float64(i)*2.3)
		if i >= 365 {
			load *= 0.9
		}
		table.Start = append(table.Start, time.Date(2023, 1, 1+i, 0, 0, 0, 0, time.UTC))
		table.Load.Values, table.Drivers[0].Values = append(table.Load.Values, load), append(table.Drivers[0].Values, temp)
		table.Hours = append(table.Hours, 24)
	}
	day := func(year int) time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }
	r, err := Analyze(table, nil, Plan{Model: "3PH", Baseline: Period{day(2023), day(2024)}, Reporting: Period{day(2024), day(2025)}}, "test")
	require.NoError(t, err)
	require.NotNil(t, r.Savings)
	return r
}

func TestThePartsOfASavingAgreeWithTheWhole(t *testing.T) {
	t.Parallel()
	s := analyzedDays(t).Savings
	require.Len(t, s.Cumulative, cumulativeParts)
	last := s.Cumulative[len(s.Cumulative)-1]
	level, _ := s.Headline().At(0.90)
	require.InEpsilon(t, s.Avoided, last.Avoided, 1e-12)
	require.InEpsilon(t, level.HalfWidth, last.HalfWidth, 1e-12)
	require.Equal(t, time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC), last.Until)
	sum, squares := 0.0, 0.0
	for _, m := range s.ByMonth {
		sum += m.Avoided
		squares += m.HalfWidth * m.HalfWidth
		require.Positive(t, m.HalfWidth)
		require.Less(t, m.HalfWidth, level.HalfWidth)
	}
	require.InEpsilon(t, s.Avoided, sum, 1e-9)
	require.Greater(t, level.HalfWidth*level.HalfWidth, squares, "months share the error of the baseline, so their variances do not simply add")
}

func TestTheHashOfAResultSurvivesItsFile(t *testing.T) {
	t.Parallel()
	r := analyzedDays(t)
	b, err := json.MarshalIndent(r, "", "  ")
	require.NoError(t, err)
	var again Result
	require.NoError(t, json.Unmarshal(b, &again))
	require.Equal(t, r.SHA256(), again.SHA256())
	again.Savings.RowsUsed++
	require.NotEqual(t, r.SHA256(), again.SHA256())
	require.Empty(t, again.DriverCurves(100), "rows are not in the file")
	require.Empty(t, again.Averaged(100))
}

func TestAveragedKeepsSumsAndPeriods(t *testing.T) {
	t.Parallel()
	r := analyzedDays(t)
	require.Equal(t, r.Rows(), r.Averaged(1000), "short series stay as they are")
	few := r.Averaged(73)
	counts := map[string]int{}
	for _, row := range few {
		counts[row.Period]++
	}
	require.Equal(t, map[string]int{"baseline": 53, "reporting": 53}, counts, "runs are whole weeks")
	var want, got float64
	for i, row := range r.Rows()[:364] {
		want += row.Load
		if i%7 == 0 {
			got += 7 * few[i/7].Load
		}
	}
	require.InEpsilon(t, want, got, 1e-12)
}

func TestTheCurveAlongADriverIsTheModel(t *testing.T) {
	t.Parallel()
	r := analyzedDays(t)
	curves := r.DriverCurves(1000)
	require.Len(t, curves, 1)
	c := curves[0]
	require.Equal(t, "T", c.Driver)
	require.Equal(t, "C", c.Unit)
	require.Len(t, c.Points, 365)
	intercept, slope, cp := r.Model.Coefficients[0].Value, r.Model.Coefficients[1].Value, r.Model.ChangePoints[0].Value
	for _, p := range c.Line {
		require.InDelta(t, intercept+slope*max(cp-p[0], 0), p[1], 1e-8)
	}
	for i, row := range r.Rows()[:365] {
		require.InDelta(t, row.Load, c.Points[i].Load, 1e-12)
		require.InDelta(t, row.Load-row.Predicted, c.Points[i].Residual, 1e-9)
	}
}

func TestTheStrideKeepsHoursAndWeekdays(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 365, 8760, 35040} {
		step := stride(n, 1500)
		require.LessOrEqual(t, n/step, 1500)
		for _, cycle := range []int{24, 96, 7, 168} {
			seen := map[int]bool{}
			for i := 0; i < n; i += step {
				seen[i%cycle] = true
			}
			if n > cycle*step {
				require.Len(t, seen, cycle, "n %d, step %d", n, step)
			}
		}
	}
}
