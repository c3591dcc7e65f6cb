package api_test

import (
	"encoding/csv"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
)

// table returns an export as rows by the names of their columns.
func (e *system) table(path string) []map[string]string {
	e.t.Helper()
	a := e.call(http.MethodGet, path, "")
	require.Equal(e.t, http.StatusOK, a.StatusCode, a.text)
	require.Equal(e.t, "text/csv; charset=utf-8; header=present", a.Header.Get("Content-Type"))
	rows, err := csv.NewReader(strings.NewReader(a.text)).ReadAll()
	require.NoError(e.t, err)
	var list []map[string]string
	for _, row := range rows[1:] {
		named := map[string]string{}
		for i, name := range rows[0] {
			named[name] = row[i]
		}
		list = append(list, named)
	}
	return list
}

// twoDays stores 48 readings of an hour each from 1 March 2026 on, without the
// one of hour 30, and another one for hour 3.
func (e *system) twoDays(site string) (from time.Time) {
	e.t.Helper()
	from = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	var list []measured
	for hour := range 48 {
		if hour == 30 {
			continue
		}
		at := from.Add(time.Duration(hour) * time.Hour)
		list = append(list, measured{site: site, from: at, to: at.Add(time.Hour), it: 100 + float64(hour)/7, facility: 130})
	}
	e.measure(list...)
	at := from.Add(3 * time.Hour)
	e.measure(measured{site: site, from: at, to: at.Add(time.Hour), it: 90, facility: 120})
	return from
}

func TestTablesHaveTheFiguresOfTheAnswers(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.twoDays("oslo-1")
	const question = "site=oslo-1&from=2026-03-01&to=2026-03-03"

	var energy float64
	for _, row := range e.table("/kpis?format=csv&" + question) {
		if row["figure"] == "it_energy_kwh" {
			var err error
			energy, err = strconv.ParseFloat(row["value"], 64)
			require.NoError(t, err)
			assert.Equal(t, "kWh", row["unit"])
		}
	}
	value, _ := e.figure(values("site", "oslo-1", "from", "2026-03-01", "to", "2026-03-03"), "it_energy_kwh")
	assert.Equal(t, *value, energy, "all digits")

	var sum float64
	rows := e.table("/trends?format=csv&bucket=hour&metric=it_energy_kwh,pue&" + question)
	require.Len(t, rows, 48)
	for i, row := range rows {
		if i == 30 {
			assert.Empty(t, row["it_energy_kwh"], "no value is an empty cell")
			continue
		}
		x, err := strconv.ParseFloat(row["it_energy_kwh"], 64)
		require.NoError(t, err)
		sum += x
	}
	assert.InEpsilon(t, energy, sum, 1e-12, "the column adds up to the figure")
	assert.Equal(t, "2026-03-01T03:00:00Z", rows[3]["start_utc"])
	assert.Equal(t, "2026-03-01T04:00:00", rows[3]["end_local"])

	readings := e.table("/readings?format=csv&" + question)
	require.Len(t, readings, 48, "47 readings and the corrected one, on one page")
	states := map[string]int{}
	for _, row := range readings {
		states[row["state"]]++
	}
	assert.Equal(t, map[string]int{"counts": 47, "replaced": 1}, states)

	compared := e.table("/compare?format=csv&method=plain&" + question + "&cfrom=2026-02-27&cto=2026-03-01")
	assert.Empty(t, compared, "there are no figures of two days")
}

func TestTablesOfManyReadings(t *testing.T) {
	t.Parallel()
	e := setup(t)
	from := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	const count = 4500 // more than two steps of reading
	for done := 0; done < count; done += 500 {
		var list []measured
		for i := range 500 {
			at := from.Add(time.Duration((done+i)/3) * time.Minute) // three clusters begin at the same instant
			list = append(list, measured{site: "s", cluster: string(rune('a' + (done+i)%3)), from: at, to: at.Add(time.Minute), it: 1, facility: 2})
		}
		e.measure(list...)
	}
	seen := map[string]bool{}
	for _, row := range e.table("/readings?format=csv&site=s&from=2026-03-01&to=2026-03-05") {
		assert.False(t, seen[row["request_id"]], row["request_id"])
		seen[row["request_id"]] = true
	}
	assert.Len(t, seen, count)
	assert.Len(t, e.table("/readings?format=csv&site=s&cluster=b&from=2026-03-01&to=2026-03-05"), count/3)
}

func TestTableFormats(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.twoDays("oslo-1")
	const question = "/trends?site=oslo-1&from=2026-03-01&to=2026-03-03&bucket=day&tz=Europe/Oslo"

	a := e.call(http.MethodGet, question+"&dialect=excel", "")
	require.Equal(t, http.StatusOK, a.StatusCode, a.text)
	assert.Equal(t, `attachment; filename="mass_trends_oslo-1_20260301-20260303_day_Europe-Oslo.csv"`, a.Header.Get("Content-Disposition"))
	assert.True(t, strings.HasPrefix(a.text, "\ufeffStart (UTC);Start (local);"), a.text)
	assert.Contains(t, a.text, "2026-02-28 23:00:00;2026-03-01 00:00:00;60;")
	assert.NotContains(t, a.text, "sep=")

	a = e.call(http.MethodGet, question+"&dialect=excel-tab", "")
	require.Equal(t, http.StatusOK, a.StatusCode)
	assert.Equal(t, "\xff\xfeS\x00t\x00", a.text[:6])

	a = e.call(http.MethodGet, question, "", "Accept", "application/x-ndjson")
	require.Equal(t, http.StatusOK, a.StatusCode, a.text)
	lines := strings.Split(strings.TrimSpace(a.text), "\n")
	require.Len(t, lines, 2)
	var row struct {
		PUE   float64 `json:"pue"`
		Local string  `json:"start_local"`
	}
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &row))
	assert.Equal(t, "2026-03-02T00:00:00", row.Local)
	assert.False(t, math.IsNaN(row.PUE) || row.PUE < 1)

	for query, detail := range map[string]string{
		"&format=ndjson&dialect=excel": "is for CSV, and the format is ndjson",
		"&format=json&dialect=excel":   "is for CSV, and the format is json",
		"&format=xml":                  "format",
		"&dialect=open":                "dialect",
	} {
		a := e.call(http.MethodGet, question+query, "")
		assert.Equal(t, http.StatusUnprocessableEntity, a.StatusCode, query)
		assert.Contains(t, a.text, detail)
	}
	a = e.call(http.MethodGet, question, "", "Accept", "image/png")
	assert.Equal(t, http.StatusNotAcceptable, a.StatusCode)
	a = e.call(http.MethodGet, strings.Replace(question, "oslo-1", "nowhere", 1)+"&format=csv", "")
	assert.Equal(t, http.StatusNotFound, a.StatusCode, "a problem, and no empty file")
	assert.Empty(t, a.Header.Get("Content-Disposition"))
	assert.Equal(t, http.StatusOK, e.call(http.MethodHead, question+"&format=csv", "").StatusCode)
}

func TestTablesAreExportsInTheTrail(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.twoDays("oslo-1")
	viewer := e.as(auth.Viewer)
	a := viewer.call(http.MethodGet, "/readings?site=oslo-1&from=2026-03-01&to=2026-03-03&format=csv", "")
	require.Equal(t, http.StatusOK, a.StatusCode, a.text)
	require.Equal(t, http.StatusOK, viewer.call(http.MethodGet, "/readings?site=oslo-1&from=2026-03-01&to=2026-03-03", "").StatusCode)

	var details []string
	require.NoError(t, e.db.SelectContext(t.Context(), &details,
		`SELECT action || ' ' || detail FROM audit_events WHERE action IN ('export', 'export_end') ORDER BY id`))
	assert.Equal(t, []string{
		"export csv /readings?from=2026-03-01&site=oslo-1&to=2026-03-03",
		"export_end 48 rows, complete: csv /readings?from=2026-03-01&site=oslo-1&to=2026-03-03",
	}, details, "a page of JSON is no export")
}
