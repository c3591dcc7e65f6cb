package mv

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// dailyLayout reads csvOf.
func dailyLayout() Layout {
	return Layout{Time: "time", Load: "load", LoadUnit: "kWh", Temperature: "temp", TempUnit: "C", Location: time.UTC}
}

// codesOfFile reads a file and returns the codes of its findings.
func codesOfFile(text string, layout Layout) []string {
	_, findings, err := ReadCSV([]byte(text), layout)
	var refused *Refused
	if errors.As(err, &refused) && len(refused.Findings) == 0 {
		return []string{"a refusal without a finding"}
	}
	var out []string
	for _, f := range findings {
		out = append(out, f.Code)
	}
	return out
}

// hours is n hours of a file from a local time, with a stamp of the layout.
func hours(from time.Time, n int, layout string) string {
	text := "time,load,temp\n"
	for i := range n {
		text += fmt.Sprintf("%s,%d,%d\n", from.Add(time.Duration(i)*time.Hour).Format(layout), 100+i%24, 10+i%7)
	}
	return text
}

func TestFilesAreRefusedOrNoted(t *testing.T) {
	chicago, err := time.LoadLocation("America/Chicago")
	require.NoError(t, err)
	hourly := dailyLayout()
	hourly.Stamp, hourly.Location = "start", chicago
	with := func(change func(*Layout)) Layout { l := hourly; change(&l); return l }
	local := "2006-01-02T15:04"
	start := time.Date(2024, 3, 9, 0, 0, 0, 0, time.UTC)
	good := hours(start, 20, local)
	days := "time,load,temp\n2024-01-01,1,2\n2024-01-02,2,3\n2024-01-03,3,4\n"
	for _, c := range []struct {
		code, text string
		layout     Layout
	}{
		{"MV101", good + "NA,5,6\n", hourly},
		{"MV102", good + "yesterday,5,6\n", hourly},
		{"MV103", good, with(func(l *Layout) { l.Location = nil })},
		{"MV103", hours(start, 5, time.RFC3339), with(func(l *Layout) { l.Location = nil })},
		{"MV104", good, with(func(l *Layout) { l.Stamp = "" })},
		{"MV104", good, with(func(l *Layout) { l.Stamp = "middle" })},
		{"MV105", good, with(func(l *Layout) { l.LoadUnit = "" })},
		{"MV105", good, with(func(l *Layout) { l.TempUnit = "K" })},
		{"MV106", good, with(func(l *Layout) { l.Load = "power" })},
		{"MV107", good + "2024-03-09T20:00,many,6\n", hourly},
		{"MV107", good + "2024-03-09T20:00,+Inf,6\n", hourly},
		{"MV108", good + "2024-03-09T19:00,119,15\n", hourly},
		{"MV109", good + "2024-03-09T19:00,999,15\n", hourly},
		{"MV110", days + "2023-12-31,1,2\n", dailyLayout()},
		{"MV111", good + "2024-03-10T02:00,5,6\n", hourly},
		{"MV112", good + "2024-03-09T20:07,5,6\n", hourly},
		{"MV113", "time,load,temp\n2024-03-09T20:07,5,6\n", hourly},
		{"MV114", "time,load,temp\n", hourly},
		{"MV115", good + "2024-03-09T20:00,5\n", hourly},
		{"MV116", "", hourly},
		{"MV117", "time,load,temp\n2024-11-03T00:00,1,1\n2024-11-03T01:00,1,1\n2024-11-03T01:00,2,2\n2024-11-03T02:00,3,3\n", hourly},
		{"MV228", "time,load,temp,IT\n", func() Layout { l := dailyLayout(); l.Drivers = []string{"IT"}; return l }()},
		{"MV228", "time,load,temp,a+b\n", func() Layout { l := dailyLayout(); l.Drivers = []string{"a+b"}; return l }()},
		{"MV209", days, func() Layout { l := dailyLayout(); l.ZeroMissing = true; return l }()},
	} {
		text := c.text
		if c.code == "MV209" {
			text += "2024-01-04,0,4\n"
		}
		require.Contains(t, codesOfFile(text, c.layout), c.code, "%s", text[max(0, len(text)-80):])
	}
	require.Empty(t, codesOfFile(good, hourly))
	require.Empty(t, codesOfFile(days, dailyLayout()), "dates need no stamp convention")
}

// TestClockChanges reads a file across both changes of the clock: no hour is
// lost and none is doubled.
func TestClockChanges(t *testing.T) {
	chicago, err := time.LoadLocation("America/Chicago")
	require.NoError(t, err)
	layout := dailyLayout()
	layout.Location = chicago
	for _, stamp := range []string{"start", "end"} {
		layout.Stamp = stamp
		text := "time,load,temp\n"
		from := time.Date(2024, 1, 1, 0, 0, 0, 0, chicago)
		for i := range 366 * 24 {
			at := from.Add(time.Duration(i) * time.Hour)
			if stamp == "end" {
				at = at.Add(time.Hour)
			}
			text += fmt.Sprintf("%s,%d,5\n", at.In(chicago).Format("2006-01-02T15:04"), 1+at.In(chicago).Hour())
		}
		table, findings, err := ReadCSV([]byte(text), layout)
		require.NoError(t, err)
		require.Equal(t, 366*24, table.Len())
		require.Equal(t, from, table.Start[0])
		require.Equal(t, []string{"MV117"}, codesOf(&Result{Findings: findings}))
		daily := table.Daily()
		require.Equal(t, 366, daily.Len())
		require.InDelta(t, 23, daily.Hours[69], 0, "10 March 2024 has 23 hours")
		require.InDelta(t, 25, daily.Hours[307], 0, "3 November 2024 has 25 hours")
	}
}

// TestZonesOffByHalfAnHour reads hours of a site in India.
func TestZonesOffByHalfAnHour(t *testing.T) {
	layout := dailyLayout()
	layout.Stamp, layout.Location = "start", zone(t, "Asia/Kolkata")
	table, findings, err := ReadCSV([]byte(hours(time.Date(2024, 3, 9, 0, 0, 0, 0, time.UTC), 48, "2006-01-02 15:04")), layout)
	require.NoError(t, err)
	require.Empty(t, findings)
	require.Equal(t, 48, table.Len())
	require.Equal(t, 0, table.Start[24].Hour())
	for i := 1; i < 48; i++ {
		require.Equal(t, 1, Hour.position(table.Start[i])-Hour.position(table.Start[i-1]))
	}
}

// TestDataIsWarnedAbout breaks a good table in one way at a time.
func TestDataIsWarnedAbout(t *testing.T) {
	for _, c := range []struct {
		code   string
		damage func(t *Table, p *Plan)
	}{
		{"MV201", func(_ *Table, p *Plan) { p.Baseline.From = p.Baseline.From.AddDate(0, 6, 0) }},
		{"MV202", func(t *Table, _ *Plan) { nan(t.Load.Values[50:100]) }},
		{"MV203", func(t *Table, _ *Plan) { nan(t.Load.Values[50:60]) }},
		{"MV204", func(t *Table, _ *Plan) { nan(t.Load.Values[50:60]) }},
		{"MV206", func(_ *Table, p *Plan) { p.Reporting.From = p.Baseline.To.AddDate(0, 0, -9) }},
		{"MV207", func(t *Table, _ *Plan) { t.Load.Values[9] = -4 }},
		{"MV208", func(t *Table, _ *Plan) { t.Load.Values[9] *= 30 }},
		{"MV210", func(t *Table, _ *Plan) { copy(t.Load.Values[20:30], slices.Repeat([]float64{2500}, 10)) }},
		{"MV211", func(t *Table, _ *Plan) {
			for i := range 150 {
				t.Load.Values[i] *= 1000
			}
		}},
		{"MV212", func(t *Table, _ *Plan) {
			for i := 1; i < t.Len(); i++ {
				t.Load.Values[i] += t.Load.Values[i-1]
			}
		}},
		{"MV226", func(t *Table, _ *Plan) {
			for i := 1; i < t.Len(); i++ {
				t.Load.Values[i] = math.Mod(t.Load.Values[i]+t.Load.Values[i-1], 500_000)
			}
		}},
		{"MV213", func(t *Table, _ *Plan) { addColumn(t, IT, 1.1) }},
		{"MV215", func(t *Table, _ *Plan) { nan(t.Drivers[0].Values[5:8]) }},
		{"MV217", func(t *Table, _ *Plan) {
			for i := 400; i < 500; i++ {
				t.Drivers[0].Values[i] += 45
			}
		}},
		{"MV218", func(t *Table, _ *Plan) { addColumn(t, Other, 0) }},
		{"MV219", func(t *Table, _ *Plan) { t.Drivers[0].Values[30] = 300 }},
		{"MV220", func(_ *Table, p *Plan) { p.Reporting.To = p.Reporting.From.AddDate(0, 3, 0) }},
		{"MV221", func(_ *Table, p *Plan) { p.Baseline.To = p.Baseline.From.AddDate(0, 0, 2) }},
		{"MV222", func(t *Table, _ *Plan) { addColumn(t, Other, 0) }},
		{"MV224", func(t *Table, _ *Plan) {
			for i := range t.Load.Values {
				t.Load.Values[i] -= 2500
			}
		}},
		{"MV225", func(t *Table, _ *Plan) { nan(t.Load.Values[:365]) }},
		{"MV227", func(_ *Table, p *Plan) { p.Model, p.Baseline.To = "T", p.Baseline.From.AddDate(0, 0, 6) }},
		{"MV301", func(t *Table, p *Plan) {
			p.Model = "3PC"
			for i, v := range t.Drivers[0].Values {
				t.Load.Values[i] = 5000 - 50*max(v-5, 0)
			}
		}},
		{"MV302", func(t *Table, p *Plan) {
			for i := range t.Load.Values {
				t.Load.Values[i] = 5000 + 500*math.Sin(float64(i)/9)
			}
			p.Model, p.Baseline.To = "TOWT", p.Baseline.From.AddDate(0, 6, 0)
		}},
		{"MV309", func(t *Table, p *Plan) {
			for i := range t.Load.Values {
				t.Load.Values[i] = 1000 + 100*float64(i%2)
			}
			p.Model = "mean"
		}},
		{"MV310", func(t *Table, _ *Plan) {
			for i := range t.Load.Values {
				t.Load.Values[i] = 1000 + 3*t.Drivers[0].Values[i] + 3*math.Sin(float64(i*i))
				if i >= 365 {
					t.Drivers[0].Values[i] += 60
				}
			}
		}},
		{"MV315", func(t *Table, _ *Plan) {
			for i := 365; i < t.Len(); i++ {
				t.Load.Values[i] = t.Load.Values[i] / 0.92 * 0.999
			}
		}},
		{"MV316", func(_ *Table, p *Plan) { p.BaselineSHA256 = "0123456789abcdef" }},
	} {
		t.Run(c.code, func(t *testing.T) {
			table, plan := twoYears(20)
			c.damage(table, &plan)
			r := analyze(t, table, plan)
			require.Contains(t, codesOf(r), c.code)
			for _, f := range r.Findings {
				if f.Severity != Note {
					require.NotEqual(t, VerdictFine, r.Verdict)
				}
			}
		})
	}
}

// TestHoursAreWarnedAbout covers what needs rows shorter than a day.
func TestHoursAreWarnedAbout(t *testing.T) {
	table := syntheticYear(2*8760, time.Hour, 21)
	plan := Plan{Baseline: Period{table.Start[0], table.Start[8760]}, Reporting: Period{table.Start[8760], table.Start[17519].Add(time.Hour)}, Model: "TOWT"}
	nan(table.Load.Values[24*100 : 24*100+20])
	nan(table.Drivers[0].Values[500:504])
	for i, at := range table.Start { // the clock of the temperature skipped an hour
		if at.Month() == time.March && at.Weekday() == time.Sunday && at.Hour() == 2 && at.Day() > 7 && at.Day() < 15 {
			table.Drivers[0].Values[i] = math.NaN()
		}
		if i < 8760 && at.Weekday() == time.Tuesday && at.Hour() == 7 {
			table.Load.Values[i] = math.NaN() // this hour of the week is never seen
		}
	}
	r, err := Analyze(table, nil, plan, "test")
	require.NoError(t, err)
	requireFinite(t, r)
	require.Subset(t, codesOf(r), []string{"MV205", "MV216", "MV223"})
	require.Positive(t, r.Savings.RowsUnknownSlot)
	c := &checker{}
	c.clock(table.within(plan.Baseline), table.Drivers[0], "baseline")
	require.Equal(t, "MV214", c.findings[0].Code)
	require.Contains(t, c.findings[0].Detail, "temp")
}

func nan(values []float64) {
	for i := range values {
		values[i] = math.NaN()
	}
}

// addColumn adds a driver that is a multiple of the load.
func addColumn(t *Table, role Role, factor float64) {
	c := Column{Name: "extra", Role: role, Unit: t.Load.Unit}
	for _, v := range t.Load.Values {
		c.Values = append(c.Values, factor*v)
	}
	t.Drivers = append(t.Drivers, c)
}

func TestEveryCodeIsListedOnceAndInOrder(t *testing.T) {
	codes := Codes()
	require.Greater(t, len(codes), 45)
	for i, c := range codes {
		require.NotEmpty(t, c.Meaning)
		require.True(t, strings.HasSuffix(c.Meaning, "."))
		if i > 0 {
			require.Less(t, codes[i-1].Code, c.Code)
		}
	}
	require.Panics(t, func() { found("MV999", 1, "") })
}

// TestTheDocumentListsEveryCode keeps docs/mv.md and the table together.
func TestTheDocumentListsEveryCode(t *testing.T) {
	b, err := os.ReadFile("../../docs/mv.md")
	require.NoError(t, err)
	for _, c := range Codes() {
		require.Contains(t, string(b), fmt.Sprintf("| `%s` | %s | %s |", c.Code, c.Severity, c.Meaning))
	}
}

func TestPlansThatContradictThemselves(t *testing.T) {
	table, good := twoYears(22)
	for name, change := range map[string]func(*Plan){
		"schema":     func(p *Plan) { p.Schema = "mass.mv.plan/9" },
		"target":     func(p *Plan) { p.Target = "moon" },
		"confidence": func(p *Plan) { p.Confidence = 0.5 },
		"model":      func(p *Plan) { p.Model = "TOWT++" },
		"baseline":   func(p *Plan) { p.Baseline.To = p.Baseline.From },
		"reporting":  func(p *Plan) { p.Reporting.To = p.Reporting.From },
	} {
		plan := good
		change(&plan)
		_, err := Analyze(table, nil, plan, "test")
		require.Error(t, err, name)
	}
	_, err := Analyze(&Table{}, nil, good, "test")
	require.Error(t, err)
	for _, m := range []string{"", "+IT", "mean+T"} {
		_, err := parseModel(m)
		require.Error(t, err, m)
	}
	_, err = Fit(table, "IT", Facility)
	require.Error(t, err)
	_, err = Fit(table, "mean", Overhead)
	require.Error(t, err)
}

// FuzzReadCSV feeds arbitrary files: the reader answers with a table whose rows
// ascend, or with a finding that says why not.
func FuzzReadCSV(f *testing.F) {
	f.Add([]byte(hours(time.Date(2024, 3, 9, 0, 0, 0, 0, time.UTC), 30, "2006-01-02T15:04")), uint8(0))
	f.Add([]byte("time,load,temp\n2024-01-01,1,2\n2024-01-02,,NA\n2024-01-03,1e300,4\n"), uint8(1))
	f.Add([]byte("time,load,temp\n2024-01,1,2\n2024-02,2,2\n2024-03,-1,2\n"), uint8(2))
	f.Fuzz(func(t *testing.T, data []byte, convention uint8) {
		layout := dailyLayout()
		layout.Stamp = []string{"start", "end", ""}[convention%3]
		table, findings, err := ReadCSV(data, layout)
		if err != nil {
			var refused *Refused
			require.ErrorAs(t, err, &refused)
			require.NotEmpty(t, findings)
			return
		}
		require.Positive(t, table.Len())
		for i := 1; i < table.Len(); i++ {
			require.True(t, table.Start[i].After(table.Start[i-1]))
		}
		table.Daily()
	})
}

// FuzzAnalyze feeds arbitrary loads and temperatures: no figure of a result is
// NaN or infinite, and nothing panics.
func FuzzAnalyze(f *testing.F) {
	f.Add([]byte("a year of arbitrary readings, of which some are the same"), uint8(7), false)
	f.Add([]byte{0, 0, 0, 255, 255, 1, 2, 3, 9, 200}, uint8(1), true)
	f.Fuzz(func(t *testing.T, data []byte, scale uint8, monthly bool) {
		if len(data) < 4 || len(data) > 400 {
			return
		}
		table := &Table{Interval: Day, Load: Column{Name: "load", Unit: "kWh"}, Drivers: []Column{{Name: "temp", Role: Temperature, Unit: "C"}}}
		if monthly {
			table.Interval = Month
		}
		for i, b := range data {
			at := time.Date(2024, 1, 1+i, 0, 0, 0, 0, time.UTC)
			if monthly {
				at = time.Date(2000, time.Month(1+i), 1, 0, 0, 0, 0, time.UTC)
			}
			load := (float64(b) - 20) * math.Pow(10, float64(scale%13)-6)
			if b == 255 {
				load = math.NaN()
			}
			table.Start, table.Hours = append(table.Start, at), append(table.Hours, table.Interval.end(at).Sub(at).Hours())
			table.Load.Values = append(table.Load.Values, load)
			table.Drivers[0].Values = append(table.Drivers[0].Values, float64(data[(i*7+3)%len(data)]%64))
		}
		n := len(table.Start)
		plan := Plan{Baseline: Period{table.Start[0], table.Start[n/2]}, Reporting: Period{table.Start[n/2], table.Interval.end(table.Start[n-1])}}
		r, err := Analyze(table, nil, plan, "fuzz")
		require.NoError(t, err)
		requireFinite(t, r)
		if r.Verdict != VerdictRefused && r.Savings != nil {
			for _, u := range r.Savings.Uncertainty {
				for _, l := range u.Levels {
					require.GreaterOrEqual(t, l.HalfWidth, 0.0)
					require.True(t, l.FSU == nil || *l.FSU >= 0)
				}
			}
		}
	})
}
