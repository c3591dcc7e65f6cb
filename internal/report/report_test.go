package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/go-pdf/fpdf"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/mv"
)

// building simulates a facility whose load follows temperature and, where it has
// IT, the IT load. factor is applied to the second half.
type building struct {
	interval mv.Interval
	rows     int
	it       bool
	factor   float64
}

func (b building) at(i int) time.Time {
	switch b.interval {
	case mv.Month:
		return time.Date(2022, time.Month(1+i), 1, 0, 0, 0, 0, time.UTC)
	case mv.Day:
		return time.Date(2022, 1, 1+i, 0, 0, 0, 0, time.UTC)
	}
	return time.Date(2022, 1, 1, i, 0, 0, 0, time.UTC)
}

// result analyzes the building; change may alter the plan.
func (b building) result(t testing.TB, change func(*mv.Plan)) *mv.Result {
	t.Helper()
	random := rand.New(rand.NewPCG(7, 7))
	table := &mv.Table{Interval: b.interval, Load: mv.Column{Name: "meter", Unit: "kWh"}, Drivers: []mv.Column{{Name: "outdoor", Role: mv.Temperature, Unit: "C"}}}
	if b.it {
		table.Drivers = append(table.Drivers, mv.Column{Name: "racks", Role: mv.IT, Unit: "kWh"})
	}
	for i := range b.rows {
		at := b.at(i)
		hours := 24.0
		switch b.interval {
		case mv.Month:
			hours = at.AddDate(0, 1, 0).Sub(at).Hours()
		case mv.Hour:
			hours = 1
		}
		temp := 12 - 11*math.Cos(2*math.Pi*float64(at.YearDay())/365) + 2*random.NormFloat64()
		it := (80 + 5*random.NormFloat64()) * hours
		load := (40 + 2*max(temp-14, 0) + random.NormFloat64()) * hours
		if i >= b.rows/2 {
			load *= b.factor
		}
		table.Start, table.Hours = append(table.Start, at), append(table.Hours, hours)
		table.Drivers[0].Values = append(table.Drivers[0].Values, temp)
		if b.it {
			load += it
			table.Drivers[1].Values = append(table.Drivers[1].Values, it)
		}
		table.Load.Values = append(table.Load.Values, load)
	}
	plan := mv.Plan{
		Title: "Pilot of a hall", Measure: "warmer supply air", Baseline: mv.Period{From: b.at(0), To: b.at(b.rows / 2)},
		Reporting: mv.Period{From: b.at(b.rows / 2), To: b.at(b.rows)}, Layout: mv.Layout{Time: "start", Load: "meter", LoadUnit: "kWh"},
	}
	if change != nil {
		change(&plan)
	}
	r, err := mv.Analyze(table, nil, plan, "mass test")
	require.NoError(t, err)
	return r
}

var (
	resultsOnce sync.Once
	resultsMade map[string]*mv.Result
)

// results are the kinds of results that a report must be able to show. They are
// made once and must not be changed.
func results(t testing.TB) map[string]*mv.Result {
	t.Helper()
	resultsOnce.Do(func() { resultsMade = makeResults(t) })
	return resultsMade
}

func makeResults(t testing.TB) map[string]*mv.Result {
	t.Helper()
	days := building{interval: mv.Day, rows: 730, factor: 0.85}
	_, findings, err := mv.ReadCSV([]byte("time,load\n2024-01-01,1\n"), mv.Layout{Time: "time", Load: "load"})
	var refused *mv.Refused
	require.True(t, errors.As(err, &refused))
	exactlyZero := days.result(t, nil)
	s := exactlyZero.Savings
	s.Metered, s.Avoided, s.Fraction = s.Predicted, 0, nil
	for i := range s.Uncertainty {
		for k := range s.Uncertainty[i].Levels {
			l := &s.Uncertainty[i].Levels[k]
			l.Low, l.High, l.ZeroInside, l.FSU = -l.HalfWidth, l.HalfWidth, true, nil
		}
	}
	return map[string]*mv.Result{
		"saved":      days.result(t, nil),
		"zero":       building{interval: mv.Day, rows: 730, factor: 1}.result(t, nil),
		"exact zero": exactlyZero,
		"negative":   building{interval: mv.Day, rows: 730, factor: 1.2}.result(t, nil),
		"months":     building{interval: mv.Month, rows: 24, it: true, factor: 0.9}.result(t, nil),
		"hours":      building{interval: mv.Hour, rows: 24 * 60, it: true, factor: 0.9}.result(t, nil),
		"fit only":   days.result(t, func(p *mv.Plan) { p.Reporting = mv.Period{} }),
		"overlap":    days.result(t, func(p *mv.Plan) { p.Reporting.From = p.Baseline.From }),
		"unreadable": mv.RefuseInput(findings, mv.Plan{}, "mass test"),
		"frozen for other data": days.result(t, func(p *mv.Plan) {
			p.BaselineSHA256 = strings.Repeat("0", 64)
			p.ExpectedFraction = new(float64)
			*p.ExpectedFraction = 0.1
		}),
		"long names": days.result(t, func(p *mv.Plan) {
			p.Title = strings.Repeat("Überlänge ", 60)
			p.Measure = strings.Repeat("x", 700) + " \U0001F600\x01\t\n" + "zweite Zeile"
			p.Boundary = strings.Repeat("M", 300)
			p.Layout.Load = strings.Repeat("column_", 40)
		}),
	}
}

// everyWay calls f for all results, in English on A4 and in Spanish on letter.
func everyWay(t *testing.T, f func(t *testing.T, r *mv.Result, o Options)) {
	for name, r := range results(t) {
		for i, language := range Languages() {
			t.Run(name+"/"+language, func(t *testing.T) { f(t, r, Options{Language: language, Paper: Papers()[i], uncompressed: true}) })
		}
	}
}

// shown is one text of a page, as it stands in the stream of an uncompressed
// document.
type shown struct {
	page int
	x, y float64 // points from the lower left corner
	size float64
	text string
}

var (
	fontOperator = regexp.MustCompile(`/F[0-9a-f]+ ([0-9.]+) Tf`)
	textOperator = regexp.MustCompile(`(?s)BT ([0-9.-]+) ([0-9.-]+) Td \(((?:[^\\()]|\\.)*)\) ?Tj ET`)
)

// texts reads the texts of a document without the library that wrote it.
func texts(t *testing.T, pdf []byte) []shown {
	t.Helper()
	var out []shown
	page, rest := 0, pdf
	for {
		_, after, ok := bytes.Cut(rest, []byte("stream\n"))
		if !ok {
			return out
		}
		stream, tail, ok := bytes.Cut(after, []byte("\nendstream"))
		require.True(t, ok)
		rest = tail
		if !bytes.Contains(stream, []byte(" Tf")) {
			continue
		}
		page++
		size := 0.0
		for len(stream) > 0 {
			font, text := fontOperator.FindSubmatchIndex(stream), textOperator.FindSubmatchIndex(stream)
			if font == nil && text == nil {
				break
			}
			if text == nil || font != nil && font[0] < text[0] {
				size = number(t, stream[font[2]:font[3]])
				stream = stream[font[1]:]
				continue
			}
			out = append(out, shown{page, number(t, stream[text[2]:text[3]]), number(t, stream[text[4]:text[5]]), size, decoded(stream[text[6]:text[7]])})
			stream = stream[text[1]:]
		}
	}
}

func number(t *testing.T, b []byte) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(string(b), 64)
	require.NoError(t, err)
	return v
}

// decoded is the text of an escaped string of UTF-16.
func decoded(b []byte) string {
	var plain []byte
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+1 < len(b) {
			i++
			if b[i] == 'r' {
				plain = append(plain, '\r')
				continue
			}
		}
		plain = append(plain, b[i])
	}
	var units []uint16
	for i := 0; i+1 < len(plain); i += 2 {
		units = append(units, uint16(plain[i])<<8|uint16(plain[i+1]))
	}
	return string(utf16.Decode(units))
}

// joined is the text of the document with single spaces.
func joined(all []shown) string {
	var b strings.Builder
	for _, s := range all {
		b.WriteString(s.text + " ")
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func TestTheSameResultGivesTheSameBytes(t *testing.T) {
	t.Parallel()
	everyWay(t, func(t *testing.T, r *mv.Result, o Options) {
		o.uncompressed = false
		first, err := PDF(r, o)
		require.NoError(t, err)
		second, err := PDF(r, o)
		require.NoError(t, err)
		require.True(t, bytes.Equal(first, second))
		require.Less(t, len(first), 1_000_000)
	})
}

func TestTheTextHoldsWhatAnAuditorLooksFor(t *testing.T) {
	t.Parallel()
	broken := regexp.MustCompile(`NaN|[+-]?Inf\b|%!|<nil>|\b(?:section|stat|plan|energy|claim|hash|tests|placebo|outlook|limits|glossary|recompute)\.[a-z0-9_]+`)
	everyWay(t, func(t *testing.T, r *mv.Result, o Options) {
		pdf, err := PDF(r, o)
		require.NoError(t, err)
		all := texts(t, pdf)
		text := joined(all)
		require.Empty(t, broken.FindAllString(text, -1))
		for _, f := range r.Findings {
			require.Contains(t, text, f.Code)
		}
		w, err := loadWords(o.Language)
		require.NoError(t, err)
		for _, f := range r.Findings {
			require.Contains(t, strings.ReplaceAll(text, "\u00a0", " "), strings.ReplaceAll(w.meaning(f), "\u00a0", " "))
		}
		require.Contains(t, text, r.PlanSHA256)
		require.Contains(t, text, r.SHA256())
		require.Contains(t, text, w.say("shadow"))
		pages := all[len(all)-1].page
		for n := range pages {
			require.Contains(t, text, w.say("page", n+1, pages))
		}
		if r.Savings != nil {
			for _, u := range r.Savings.Uncertainty {
				require.Contains(t, text, u.Formula)
			}
			for _, c := range r.Candidates {
				require.Contains(t, text, c.Model)
			}
			for _, m := range r.Savings.ByMonth {
				require.Contains(t, text, m.Month)
			}
		}
	})
}

func TestTheFirstPageTellsTheClaim(t *testing.T) {
	t.Parallel()
	first := func(r *mv.Result) string {
		pdf, err := PDF(r, Options{uncompressed: true})
		require.NoError(t, err)
		var page []shown
		for _, s := range texts(t, pdf) {
			if s.page == 1 {
				page = append(page, s)
			}
		}
		return strings.ReplaceAll(joined(page), "\u00a0", " ")
	}
	all := results(t)
	require.Contains(t, first(all["saved"]), "The facility saved ")
	require.Contains(t, first(all["zero"]), "and zero lies inside the interval.")
	require.Contains(t, first(all["exact zero"]), "The data do not show a saving.")
	require.Contains(t, first(all["negative"]), "The facility used more than the adjusted baseline")
	require.Contains(t, first(all["fit only"]), "there is no reporting period yet")
	require.Contains(t, first(all["overlap"]), "MV206: The reporting period overlaps the baseline.")
	require.Contains(t, first(all["unreadable"]), "MV105: A unit was not declared")
	require.Contains(t, first(all["frozen for other data"]), "MV316")
	require.NotContains(t, first(all["overlap"]), "The facility saved")
}

// TestNothingLeavesThePage measures every text with the narrower of both fonts.
func TestNothingLeavesThePage(t *testing.T) {
	t.Parallel()
	ruler := fpdf.New("P", "pt", "A4", "")
	font, err := fontFiles.ReadFile("fonts/DejaVuSansCondensed.ttf")
	require.NoError(t, err)
	ruler.AddUTF8FontFromBytes(family, "", font)
	everyWay(t, func(t *testing.T, r *mv.Result, o Options) {
		pdf, err := PDF(r, o)
		require.NoError(t, err)
		width, height := 595.28, 841.89
		if o.Paper == "letter" {
			width, height = 612, 792
		}
		const millimeter = 72 / 25.4
		for _, s := range texts(t, pdf) {
			ruler.SetFont(family, "", s.size)
			require.GreaterOrEqual(t, s.x, (margin-0.1)*millimeter, s.text)
			require.LessOrEqual(t, s.x+ruler.GetStringWidth(s.text), width-(margin-4)*millimeter, s.text)
			require.GreaterOrEqual(t, s.y, 12*millimeter, s.text)
			require.LessOrEqual(t, s.y, height-margin*millimeter, s.text)
		}
	})
}

func TestALongTableRepeatsItsHeader(t *testing.T) {
	t.Parallel()
	r := building{interval: mv.Day, rows: 730, factor: 0.85}.result(t, nil)
	for i := range 200 {
		r.Findings = append(r.Findings, mv.Finding{Code: "MV107", Severity: mv.Warning, Meaning: "A value is not a number and counts as missing.", Detail: fmt.Sprintf("Row %d.", i)})
	}
	pdf, err := PDF(r, Options{uncompressed: true})
	require.NoError(t, err)
	pages, headers := map[int]bool{}, map[int]bool{}
	for _, s := range texts(t, pdf) {
		switch s.text {
		case "MV107":
			pages[s.page] = true
		case "Severity":
			headers[s.page] = true
		}
	}
	require.Greater(t, len(pages), 2)
	for page := range pages {
		require.True(t, headers[page], "page %d shows findings without a header", page)
	}
}

func TestBookmarksNameEverySection(t *testing.T) {
	t.Parallel()
	for _, r := range results(t) {
		pdf, err := PDF(r, Options{uncompressed: true})
		require.NoError(t, err)
		var found []string
		for _, m := range regexp.MustCompile(`(?s)<</Title \(((?:[^\\()]|\\.)*)\)\n/Parent`).FindAllSubmatch(pdf, -1) {
			found = append(found, strings.TrimPrefix(decoded(m[1]), "\ufeff"))
		}
		w, err := loadWords("en")
		require.NoError(t, err)
		at := -1
		for _, key := range []string{
			"section.plan", "section.boundary", "section.periods", "section.quality", "section.model", "section.candidates", "section.energy", "section.uncertainty",
			"section.placebo", "section.adjustments", "section.pue", "section.outlook", "section.money", "section.limits", "section.appendix",
		} {
			next := -1
			for i, title := range found {
				if title == w.say(key) {
					next = i
				}
			}
			require.Greater(t, next, at, "%s in %q", key, found)
			at = next
		}
	}
}

func TestPlotsAreWellFormed(t *testing.T) {
	t.Parallel()
	everyWay(t, func(t *testing.T, r *mv.Result, o Options) {
		pictures, err := Plots(r, o)
		require.NoError(t, err)
		names := map[string]bool{}
		for _, p := range pictures {
			require.False(t, names[p.Name], p.Name)
			names[p.Name] = true
			require.NotContains(t, string(p.SVG), "NaN")
			require.NotContains(t, string(p.SVG), "Inf")
			d := xml.NewDecoder(bytes.NewReader(p.SVG))
			for {
				_, err := d.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				require.NoError(t, err, p.Name)
			}
		}
		if r.Savings != nil && r.Verdict != mv.VerdictRefused {
			require.True(t, names["cumulative.svg"] && names["load.svg"] && names["residuals.svg"], "%v", names)
		}
	})
}

func TestAResultWithoutRowsSaysSo(t *testing.T) {
	t.Parallel()
	r := building{interval: mv.Day, rows: 730, factor: 0.85}.result(t, nil)
	r.Model = &mv.Fitted{Model: r.Model.Model, N: r.Model.N}
	pdf, err := PDF(r, Options{uncompressed: true})
	require.NoError(t, err)
	require.Contains(t, joined(texts(t, pdf)), "does not hold rows")
}

func TestWhatIsNotKnownIsRefused(t *testing.T) {
	t.Parallel()
	r := building{interval: mv.Day, rows: 730, factor: 0.85}.result(t, nil)
	_, err := PDF(r, Options{Language: "de"})
	require.ErrorContains(t, err, `no report in the language "de"; use one of en, es`)
	_, err = PDF(r, Options{Paper: "A5"})
	require.ErrorContains(t, err, `no paper "A5"; use A4 or letter`)
	_, err = PDF(&mv.Result{Schema: "mass.mv.result/9"}, Options{})
	require.ErrorContains(t, err, mv.ResultSchema)
	_, err = Plots(nil, Options{})
	require.Error(t, err)
}

func TestTheLanguagesHaveTheSameKeys(t *testing.T) {
	t.Parallel()
	verbs := regexp.MustCompile(`%[%a-z]`)
	en, err := loadWords("en")
	require.NoError(t, err)
	es, err := loadWords("es")
	require.NoError(t, err)
	for key, text := range en.texts {
		require.Contains(t, es.texts, key)
		if strings.Contains(text, "%s") || strings.Contains(text, "%d") {
			require.Equal(t, verbs.FindAllString(text, -1), verbs.FindAllString(es.texts[key], -1), key)
		}
	}
	require.Len(t, es.texts, len(en.texts))
	require.Len(t, es.codes, len(mv.Codes()))
	for _, c := range mv.Codes() {
		require.NotEmpty(t, es.codes[c.Code], c.Code)
	}
}

// TestTheSourceNamesOnlyKnownKeys: a key without a text would be printed as it
// is.
func TestTheSourceNamesOnlyKnownKeys(t *testing.T) {
	t.Parallel()
	w, err := loadWords("en")
	require.NoError(t, err)
	files, err := os.ReadDir(".")
	require.NoError(t, err)
	keys := regexp.MustCompile(`(?:say\(|either\([^"\n]*?)"([a-z0-9_.]+)"(?:, "([a-z0-9_.]+)"\))?`)
	checked := 0
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".go") || strings.HasSuffix(file.Name(), "_test.go") {
			continue
		}
		source, err := os.ReadFile(file.Name())
		require.NoError(t, err)
		for _, m := range keys.FindAllStringSubmatch(string(source), -1) {
			for _, key := range m[1:] {
				if key != "" && !strings.HasSuffix(key, ".") {
					require.Contains(t, w.texts, key, file.Name())
					checked++
				}
			}
		}
	}
	require.Greater(t, checked, 150)
}

func TestNumbersFollowTheLanguage(t *testing.T) {
	t.Parallel()
	en, err := loadWords("en")
	require.NoError(t, err)
	es, err := loadWords("es")
	require.NoError(t, err)
	for _, c := range []struct {
		v      float64
		digits int
		en, es string
	}{
		{1234567.8, 3, "1,234,568", "1\u00a0234\u00a0568"},
		{-0.012345, 3, "\u22120.0123", "\u22120,0123"},
		{0, 4, "0", "0"},
		{999.96, 4, "1,000.0", "1\u00a0000,0"},
		{1e-12, 3, "1.00e-12", "1,00e-12"},
		{math.NaN(), 3, "not defined", "no definido"},
		{math.Inf(1), 3, "not defined", "no definido"},
	} {
		require.Equal(t, c.en, en.number(c.v, c.digits))
		require.Equal(t, c.es, es.number(c.v, c.digits))
	}
	require.Equal(t, "0.00", en.fixed(-0.0001, 2), "no negative zero")
	require.Equal(t, []string{"9,887.7", "10,058.3", "\u22125.0"}, en.column(6, []float64{9887.68, 10058.31, -5}))
}

func BenchmarkPDF(b *testing.B) {
	r := building{interval: mv.Hour, rows: 2 * 8760, it: true, factor: 0.9}.result(b, nil)
	b.ResetTimer()
	for range b.N {
		if _, err := PDF(r, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
