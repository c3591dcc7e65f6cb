package mv

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// twoYears is a table of two years of days with a saving of 8 % in the second,
// and the plan for it.
func twoYears(seed uint64) (*Table, Plan) {
	t := syntheticYear(2*8760, time.Hour, seed).Daily()
	for i := 365; i < t.Len(); i++ {
		t.Load.Values[i] *= 0.92
	}
	return t, Plan{Baseline: Period{t.Start[0], t.Start[365]}, Reporting: Period{t.Start[365], t.Start[729].AddDate(0, 0, 1)}}
}

func analyze(t testing.TB, table *Table, plan Plan) *Result {
	t.Helper()
	r, err := Analyze(table, nil, plan, "test")
	require.NoError(t, err)
	requireFinite(t, r)
	return r
}

// requireFinite encodes the result, which fails for NaN and infinity, and wants
// every code to be known.
func requireFinite(t testing.TB, r *Result) {
	t.Helper()
	_, err := json.Marshal(r)
	require.NoError(t, err)
	for _, f := range r.Findings {
		require.True(t, slices.ContainsFunc(Codes(), func(c Code) bool { return c.Code == f.Code }), f.Code)
	}
}

func clone(t *Table) *Table {
	out := *t
	out.Start, out.Hours, out.Drivers = slices.Clone(t.Start), slices.Clone(t.Hours), slices.Clone(t.Drivers)
	out.Load.Values = slices.Clone(t.Load.Values)
	for i := range out.Drivers {
		out.Drivers[i].Values = slices.Clone(t.Drivers[i].Values)
	}
	return &out
}

var allModels = []string{"mean", "T", "3PC", "3PH", "4P", "5P", "TOWT"}

// TestUnitsDoNotMatter measures the same building in MWh and Fahrenheit.
func TestUnitsDoNotMatter(t *testing.T) {
	a, plan := twoYears(3)
	b := clone(a)
	b.Load.Unit, b.Drivers[0].Unit = "MWh", "F"
	for i := range b.Load.Values {
		b.Load.Values[i] /= 1000
		b.Drivers[0].Values[i] = b.Drivers[0].Values[i]*1.8 + 32
	}
	for _, m := range allModels {
		t.Run(m, func(t *testing.T) {
			plan.Model = m
			x, y := analyze(t, a, plan), analyze(t, b, plan)
			if x.Savings == nil {
				require.Nil(t, y.Savings)
				return
			}
			require.InEpsilon(t, x.Savings.Avoided, 1000*y.Savings.Avoided, 1e-8)
			require.InEpsilon(t, *x.Model.CVRMSE, *y.Model.CVRMSE, 1e-8)
			require.InEpsilon(t, x.Savings.Headline().Levels[2].HalfWidth, 1000*y.Savings.Headline().Levels[2].HalfWidth, 1e-7)
			require.Equal(t, x.Model.Occupied, y.Model.Occupied)
			for i, cp := range x.Model.ChangePoints {
				require.InDelta(t, cp.Value*1.8+32, y.Model.ChangePoints[i].Value, 1e-6)
			}
		})
	}
}

// TestTheOrderOfRowsDoesNotMatter shuffles a file.
func TestTheOrderOfRowsDoesNotMatter(t *testing.T) {
	table, plan := twoYears(4)
	lines := csvOf(table)
	layout := Layout{Time: "time", Load: "load", LoadUnit: "kWh", Temperature: "temp", TempUnit: "C", Location: time.UTC}
	a, _, err := ReadCSV([]byte(strings.Join(lines, "\n")), layout)
	require.NoError(t, err)
	rest := lines[1:]
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
	b, findings, err := ReadCSV([]byte(strings.Join(lines, "\n")), layout)
	require.NoError(t, err)
	require.Equal(t, "MV110", findings[0].Code)
	require.Equal(t, a.SHA256(plan.Baseline), b.SHA256(plan.Baseline))
	x, y := analyze(t, a, plan), analyze(t, b, plan)
	d, err := Compare(x, y)
	require.NoError(t, err)
	require.Empty(t, d)
}

func csvOf(t *Table) []string {
	lines := []string{"time,load,temp"}
	for i, at := range t.Start {
		lines = append(lines, fmt.Sprintf("%s,%v,%v", at.Format("2006-01-02"), t.Load.Values[i], t.Drivers[0].Values[i]))
	}
	return lines
}

// TestHalvesAddUp splits the reporting period: the savings of the halves are
// the saving of the whole.
func TestHalvesAddUp(t *testing.T) {
	table, plan := twoYears(5)
	for _, m := range allModels {
		f, err := Fit(table.within(plan.Baseline), m, Facility)
		require.NoError(t, err)
		if f.Refusal() != "" {
			continue
		}
		whole, err := f.Avoided(table.within(plan.Reporting), 1)
		require.NoError(t, err)
		var sum float64
		middle := plan.Reporting.From.AddDate(0, 5, 3)
		for _, p := range []Period{{plan.Reporting.From, middle}, {middle, plan.Reporting.To}} {
			half, err := f.Avoided(table.within(p), 1)
			require.NoError(t, err)
			sum += half.Avoided
		}
		require.InEpsilon(t, whole.Avoided, sum, 1e-9, m)
		var months float64
		for _, month := range whole.ByMonth {
			months += month.Avoided
		}
		require.InEpsilon(t, whole.Avoided, months, 1e-9, m)
	}
}

// TestACopyOfTheBaselineSavesNothing reports the baseline's own rows a year
// later, for models without an hour of the week.
func TestACopyOfTheBaselineSavesNothing(t *testing.T) {
	table, plan := twoYears(6)
	copied := clone(table)
	for i := range 365 {
		copied.Load.Values[365+i], copied.Drivers[0].Values[365+i] = copied.Load.Values[i], copied.Drivers[0].Values[i]
	}
	for _, m := range []string{"mean", "T", "3PC", "4P", "5P"} {
		plan.Model = m
		r := analyze(t, copied, plan)
		if r.Savings == nil {
			continue
		}
		require.InDelta(t, 0, r.Savings.Avoided, 1e-8*r.Savings.Predicted, m)
		level := r.Savings.Headline().Levels[2]
		require.True(t, level.ZeroInside, m)
		require.Nil(t, level.FSU, "the FSU of no saving is not defined")
		require.Contains(t, codesOf(r), "MV308")
		require.Contains(t, r.Claim, "no saving has been shown")
	}
}

func codesOf(r *Result) []string {
	var out []string
	for _, f := range r.Findings {
		out = append(out, f.Code)
	}
	return out
}

// TestMoreConfidenceIsWider and a negative saving has a positive FSU.
func TestMoreConfidenceIsWider(t *testing.T) {
	table, plan := twoYears(7)
	for i := 365; i < table.Len(); i++ {
		table.Load.Values[i] *= 1.2
	}
	r := analyze(t, table, plan)
	require.Negative(t, r.Savings.Avoided)
	for _, u := range r.Savings.Uncertainty {
		for i, l := range u.Levels {
			require.NotNil(t, l.FSU)
			require.Positive(t, *l.FSU)
			require.Equal(t, l.Low <= 0 && l.High >= 0, l.ZeroInside)
			if i > 0 {
				require.Greater(t, l.HalfWidth, u.Levels[i-1].HalfWidth, u.Formula)
			}
		}
	}
}

// TestTheOutlookIsMonotone: a larger saving never takes longer to show.
func TestTheOutlookIsMonotone(t *testing.T) {
	table, plan := twoYears(8)
	f, err := Fit(table.within(plan.Baseline), "TOWT", Facility)
	require.NoError(t, err)
	last, lastG14 := math.MaxInt, math.MaxInt
	for _, fraction := range []float64{0.005, 0.01, 0.02, 0.05, 0.1, 0.3} {
		o, ok := f.Outlook(&fraction)
		require.True(t, ok)
		days, g14 := math.MaxInt, math.MaxInt
		if o.DaysZeroExcluded != nil {
			days = *o.DaysZeroExcluded
		}
		if o.DaysGuideline14 != nil {
			g14 = *o.DaysGuideline14
		}
		require.LessOrEqual(t, days, last)
		require.LessOrEqual(t, g14, lastG14)
		last, lastG14 = days, g14
		for i := 1; i < len(o.MinimumDetectable); i++ {
			require.Less(t, o.MinimumDetectable[i].Fraction, o.MinimumDetectable[i-1].Fraction)
		}
	}
	require.Less(t, last, math.MaxInt)
}

// TestChangePointsAreNeverWorseThanAGrid tries 4,001 points for one change
// point, and all pairs of 161 for two.
func TestChangePointsAreNeverWorseThanAGrid(t *testing.T) {
	for seed := uint64(1); seed <= 4; seed++ {
		random := rand.New(rand.NewPCG(seed, 9))
		var y, temps []float64
		for range 120 {
			x := math.Round(10*(30*random.Float64()-5)) / 10
			temps = append(temps, x)
			y = append(y, 20+2*max(8-x, 0)+1.2*max(x-15, 0)+4*random.NormFloat64())
		}
		low, high := slices.Min(temps), slices.Max(temps)
		sse := func(cols ...[]float64) float64 {
			f, err := leastSquares(y, cols, make([]int, len(y)), 1)
			require.NoError(t, err)
			return f.sse
		}
		best3, best4 := math.Inf(1), math.Inf(1)
		for i := 1; i < 1000; i++ {
			c := low + (high-low)*float64(i)/1000
			above, below := 0, 0
			for _, x := range temps {
				if x > c {
					above++
				} else {
					below++
				}
			}
			if above < minSegment || below < minSegment {
				continue
			}
			best3 = min(best3, sse(hingeColumn(temps, c, false)))
			best4 = min(best4, sse(temps, hingeColumn(temps, c, false)))
		}
		o := orderBy(temps)
		for grid, w := range map[float64][][]float64{best3: nil, best4: {temps}} {
			p := project(y, w)
			h, _, ok := searchHinge(o, p, math.Inf(-1))
			require.True(t, ok)
			require.LessOrEqual(t, p.sse-h.gain, grid*(1+1e-10))
		}
		best5 := math.Inf(1)
		for i := 1; i < 64; i++ {
			for j := i; j < 64; j++ {
				c1, c2 := low+(high-low)*float64(i)/64, low+(high-low)*float64(j)/64
				best5 = min(best5, sse(hingeColumn(temps, c1, true), hingeColumn(temps, c2, false)))
			}
		}
		pair, ok := searchPair(y, temps, nil, fullEffort.grid, true)
		require.True(t, ok)
		require.LessOrEqual(t, pair.sse, best5*(1+1e-10))
		require.InEpsilon(t, sse(hingeColumn(temps, pair.low, true), hingeColumn(temps, pair.high, false)), pair.sse, 1e-8)
	}
}

// TestAnITMeterForbidsModelsWithoutIT unless the plan gives a reason.
func TestAnITMeterForbidsModelsWithoutIT(t *testing.T) {
	table, plan := twoYears(9)
	it := Column{Name: "it", Role: IT, Unit: "kWh"}
	for i, v := range table.Load.Values {
		it.Values = append(it.Values, 0.6*v+50*math.Sin(float64(i)))
	}
	table.Drivers = append(table.Drivers, it)
	plan.Model = "4P"
	r := analyze(t, table, plan)
	require.Equal(t, VerdictRefused, r.Verdict)
	require.Contains(t, codesOf(r), "MV306")
	require.Nil(t, r.Savings)
	plan.WithoutITReason = "The IT load has been constant for years."
	require.NotNil(t, analyze(t, table, plan).Savings)
	plan.Model, plan.WithoutITReason = Auto, ""
	r = analyze(t, table, plan)
	require.Equal(t, Overhead, r.Plan.Target)
	for _, c := range r.Candidates {
		if m, _ := parseModel(c.Model); m.withoutIT() {
			require.Contains(t, c.Reason, "MV306")
			require.Nil(t, c.Avoided)
		}
	}
}

// TestPUEIsNoSaving raises the IT load of a facility whose overhead has a fixed
// part. Nothing was saved, but PUE falls.
func TestPUEIsNoSaving(t *testing.T) {
	table, plan := twoYears(10)
	it := Column{Name: "it", Role: IT, Unit: "kWh"}
	random := rand.New(rand.NewPCG(1, 3))
	for i := range table.Load.Values {
		load := 1000 + 30*random.NormFloat64()
		if i >= 365 {
			load *= 1.5
		}
		it.Values = append(it.Values, load)
		table.Load.Values[i] = load*1.1 + 300 + 5*random.NormFloat64()
	}
	table.Drivers = append(table.Drivers, it)
	plan.Model = "IT"
	r := analyze(t, table, plan)
	require.True(t, r.Savings.Headline().Levels[2].ZeroInside)
	require.Less(t, r.PUE.Reporting, r.PUE.Baseline-0.05)
	require.Greater(t, r.PUE.NaiveSaving, 3e4)
	require.InDelta(t, r.PUE.Reporting-r.PUE.Baseline, r.PUE.ByLoad+r.PUE.ByFacility, 1e-12)
	require.Greater(t, math.Abs(r.PUE.ByLoad), 3*math.Abs(r.PUE.ByFacility))
	require.Contains(t, codesOf(r), "MV311")
	require.True(t, r.Boundaries.SameResiduals)
	require.Greater(t, *r.Boundaries.CVRMSEOverhead, 2**r.Boundaries.CVRMSEFacility)
}

// TestAStepIsProposedAsAnEvent adds a lasting load in the middle of the
// reporting period.
func TestAStepIsProposedAsAnEvent(t *testing.T) {
	table, plan := twoYears(11)
	at := 365 + 200
	for i := at; i < table.Len(); i++ {
		table.Load.Values[i] += 400
	}
	r := analyze(t, table, plan)
	require.Contains(t, codesOf(r), "MV312")
	found := false
	for _, e := range r.Events {
		if math.Abs(e.At.Sub(table.Start[at]).Hours()) <= 3*24 {
			found = true
			require.InEpsilon(t, 400, e.Shift, 0.25)
			require.Equal(t, "reporting", e.Period)
		}
	}
	require.True(t, found, "%v", r.Events)
}

// TestSamePlanSameBytes runs an analysis twice.
func TestSamePlanSameBytes(t *testing.T) {
	table, plan := twoYears(12)
	a, err := json.Marshal(analyze(t, table, plan))
	require.NoError(t, err)
	b, err := json.Marshal(analyze(t, table, plan))
	require.NoError(t, err)
	require.Equal(t, string(a), string(b))
	var again Result
	require.NoError(t, json.Unmarshal(a, &again))
	r, err := Analyze(table, nil, again.Plan, "test")
	require.NoError(t, err)
	d, err := Compare(&again, r)
	require.NoError(t, err)
	require.Empty(t, d, "a result that went through JSON is recomputed from its own plan")
	table.Load.Values[400]++
	r, err = Analyze(table, nil, again.Plan, "test")
	require.NoError(t, err)
	d, err = Compare(&again, r)
	require.NoError(t, err)
	require.NotEmpty(t, d)
}

// TestMissingReadingsAreNotZero removes a tenth of the reporting rows: their
// energy is neither predicted nor metered.
func TestMissingReadingsAreNotZero(t *testing.T) {
	table, plan := twoYears(13)
	full := analyze(t, table, plan)
	holes := clone(table)
	for i := 365; i < holes.Len(); i += 10 {
		holes.Load.Values[i] = math.NaN()
	}
	r := analyze(t, holes, plan)
	require.Equal(t, 365-37, r.Savings.RowsUsed)
	require.Less(t, r.Savings.Metered, 0.93*full.Savings.Metered)
	require.InDelta(t, *full.Savings.Fraction, *r.Savings.Fraction, 0.01)
	require.Contains(t, codesOf(r), "MV202", "the finding counts for the reporting period too")
}

// TestKnownTruths: the truth is inside the interval of the chosen model, and
// the detector of wrong models fires on a straight line for Illinois.
func TestKnownTruths(t *testing.T) {
	for _, c := range []struct {
		name  string
		set   func(testing.TB) dataset
		truth float64
	}{
		{"rmv2 measure", func(t testing.TB) dataset { return rmv2(t, "load_measure") }, 969514.8},
		{"rmv2 no measure", func(t testing.TB) dataset { return rmv2(t, "load_no_measure") }, 0},
		{"il daily", func(t testing.TB) dataset { return illinois(t, true) }, 1009.2},
		{"il hourly", func(t testing.TB) dataset { return illinois(t, false) }, 1009.2},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := c.set(t)
			r, err := Analyze(d.table, d.findings, Plan{Baseline: d.baseline, Reporting: d.reporting}, "test")
			require.NoError(t, err)
			requireFinite(t, r)
			level, _ := r.Savings.Headline().At(0.90)
			require.LessOrEqual(t, level.Low, c.truth)
			require.GreaterOrEqual(t, level.High, c.truth)
			require.True(t, r.Placebo.Passed)
			for _, test := range r.ResidualTests {
				require.True(t, test.Passed, test.By)
			}
		})
	}
	t.Run("wrong model", func(t *testing.T) {
		for _, daily := range []bool{true, false} {
			d := illinois(t, daily)
			r, err := Analyze(d.table, d.findings, Plan{Baseline: d.baseline, Reporting: d.reporting, Model: "T"}, "test")
			require.NoError(t, err)
			require.Subset(t, codesOf(r), []string{"MV303", "MV304", "MV305"})
			require.Equal(t, VerdictWarned, r.Verdict)
			require.Contains(t, r.Claim, "the interval is not to be trusted")
		}
	})
}

func TestDataCenterMonths(t *testing.T) {
	table, findings, err := ReadCSV(shared(t, "esif-pue-monthly/esif_monthly.csv"), Layout{
		Time: "month", Load: "facility_mwh", LoadUnit: "MWh", IT: "it_mwh", Hours: "valid_hours", Location: time.UTC,
	})
	require.NoError(t, err)
	auto := Plan{Baseline: Period{day(time.UTC, 2019, 1, 1), day(time.UTC, 2020, 1, 1)}, Reporting: Period{day(time.UTC, 2020, 1, 1), day(time.UTC, 2021, 1, 1)}}
	r, err := Analyze(table, findings, auto, "test")
	require.NoError(t, err)
	require.Equal(t, "IT", r.Model.Model, "a constant overhead would claim 49 MWh, since the IT load fell")
	require.True(t, r.Savings.Headline().Levels[2].ZeroInside)
	for name, plan := range map[string]Plan{
		"E1": {Baseline: Period{day(time.UTC, 2019, 1, 1), day(time.UTC, 2020, 1, 1)}, Reporting: Period{day(time.UTC, 2020, 1, 1), day(time.UTC, 2021, 1, 1)}},
		"E3": {Baseline: Period{day(time.UTC, 2023, 4, 1), day(time.UTC, 2024, 4, 1)}, Reporting: Period{day(time.UTC, 2024, 4, 1), day(time.UTC, 2025, 4, 1)}},
	} {
		var sums [2]float64
		for i, target := range []Target{Facility, Overhead} {
			plan.Target, plan.Model = target, "IT"
			r, err := Analyze(table, findings, plan, "test")
			require.NoError(t, err)
			requireFinite(t, r)
			sums[i] = r.Savings.Avoided
			require.True(t, r.Boundaries.SameResiduals)
			level, _ := r.Savings.Headline().At(0.90)
			if name == "E1" {
				require.InEpsilon(t, 9.43626326135, r.Savings.Avoided, 1e-6)
				require.True(t, level.ZeroInside)
				require.Equal(t, 7, r.Savings.RowsOutside)
				require.Contains(t, codesOf(r), "MV217")
				require.InEpsilon(t, 1.03189721047, r.PUE.Baseline, 1e-9)
				require.InEpsilon(t, 6.68286989447, r.PUE.NaiveSaving, 1e-6)
				continue
			}
			require.InEpsilon(t, -1195.32709472, r.Savings.Avoided, 1e-6)
			require.False(t, level.ZeroInside)
			require.InEpsilon(t, 1.08457684793, r.PUE.Reporting, 1e-9)
			require.Contains(t, codesOf(r), "MV203", "October 2023 and April 2024 have less than 90 %")
			require.Contains(t, codesOf(r), "MV312", "the overhead falls again in January 2025")
		}
		require.InEpsilon(t, sums[0], sums[1], 1e-9, "facility and overhead have the same saving")
	}
}

// TestDriversBesideTemperature recovers the coefficients of a cooled data center
// from change-point models with IT as a linear driver.
func TestDriversBesideTemperature(t *testing.T) {
	table, plan := twoYears(14)
	random := rand.New(rand.NewPCG(5, 5))
	it := Column{Name: "it", Role: IT, Unit: "kWh"}
	for i, temp := range table.Drivers[0].Values {
		load := 2000 + 100*random.NormFloat64()
		it.Values = append(it.Values, load)
		table.Load.Values[i] = load*1.08 + 40 + 6*max(temp-16, 0) + 3*max(4-temp, 0) + 2*random.NormFloat64()
	}
	table.Drivers = append(table.Drivers, it)
	want := map[string]float64{"it": 0.08, "cooling_slope": 6, "heating_slope": 3, "base": 40, "right_slope": 6}
	for model, points := range map[string][]float64{"5P+IT": {4, 16}, "3PC+IT": {16}} {
		f, err := Fit(table.within(plan.Baseline), model, Overhead)
		require.NoError(t, err)
		require.Empty(t, f.Refusal())
		for i, cp := range f.ChangePoints {
			require.InDelta(t, points[i], cp.Value, 1.5, model)
		}
		for _, c := range f.Coefficients {
			if v, ok := want[c.Name]; ok && model == "5P+IT" {
				require.InDelta(t, v, c.Value, 4*c.StdError+0.05*v, c.Name)
			}
		}
	}
	r := analyze(t, table, plan)
	require.Equal(t, "5P+IT", r.Model.Model)
	require.True(t, r.Savings.Headline().Levels[2].ZeroInside, "nothing was saved")
}

// TestRowsAddUp: the rows of a result sum to its figures.
func TestRowsAddUp(t *testing.T) {
	table, plan := twoYears(15)
	r := analyze(t, table, plan)
	var avoided, residual float64
	for _, row := range r.Rows() {
		if row.Period == "reporting" {
			avoided += (row.Predicted - row.Load) * row.Hours
		} else {
			residual += row.Load - row.Predicted
		}
	}
	require.InEpsilon(t, r.Savings.Avoided, avoided, 1e-9)
	require.InDelta(t, 0, residual, 1e-6)
	require.Empty(t, (&Result{}).Rows())
}

// TestWetBulb compares with the example of Stull (2011) and with saturation.
func TestWetBulb(t *testing.T) {
	require.InDelta(t, 13.7, wetBulb(20, 50), 0.05)
	require.InDelta(t, 30, wetBulb(30, 99), 0.5)
	require.True(t, math.IsNaN(wetBulb(20, 140)))
	require.True(t, math.IsNaN(wetBulb(math.NaN(), 50)))
	layout := dailyLayout()
	layout.Humidity = "rh"
	table, _, err := ReadCSV([]byte("time,load,temp,rh\n2024-01-01,1,20,50\n2024-01-02,1,20,NA\n"), layout)
	require.NoError(t, err)
	require.Equal(t, WetBulb, table.Drivers[1].Role)
	require.InDelta(t, 13.7, table.Drivers[1].Values[0], 0.05)
	require.True(t, math.IsNaN(table.Drivers[1].Values[1]))
	layout.TempUnit = "F"
	table, _, err = ReadCSV([]byte("time,load,temp,rh\n2024-01-01,1,68,50\n2024-01-02,1,68,50\n"), layout)
	require.NoError(t, err)
	require.InDelta(t, 13.7*1.8+32, table.Drivers[1].Values[0], 0.1)
	layout.Temperature = ""
	require.Contains(t, codesOfFile("time,load,temp,rh\n", layout), "MV105")
}
