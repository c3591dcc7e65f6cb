package api_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
	"github.com/leomutto/pilot-in-a-box/store"
)

// measured is one reading of these tests.
type measured struct {
	site, cluster string
	from, to      time.Time
	it, facility  float64
	more          string // further members of signals, with a comma before
}

// measure stores readings: requests that end done, and then the projection.
func (e *system) measure(list ...measured) { e.measureAnd(store.RecommendPolicy{}, list...) }

// measureAnd does what measure does, and makes the recommendations that a policy
// asks for.
func (e *system) measureAnd(policy store.RecommendPolicy, list ...measured) {
	e.t.Helper()
	ctx := e.t.Context()
	items := make([]store.NewRequest, len(list))
	for i, m := range list {
		assets := map[string]string{"site_id": m.site}
		if m.cluster != "" {
			assets["cluster_id"] = m.cluster
		}
		raw, err := json.Marshal(assets)
		require.NoError(e.t, err)
		items[i] = store.NewRequest{SchemaVersion: signals.Version, Priority: jobs.Default, Payload: fmt.Appendf(nil,
			`{"schema_version":"1.1","request":{"time_window":{"start_utc":%q,"end_utc":%q},"assets":%s,"signals":{"energy":{"it_load_kw":%v,"facility_power_kw":%v}%s},"constraints":{"hard":{"no_control_actions":true}}}}`,
			m.from.UTC().Format(time.RFC3339), m.to.UTC().Format(time.RFC3339), raw, m.it, m.facility, m.more)}
	}
	in, err := e.store.InsertRequests(ctx, items)
	require.NoError(e.t, err)
	worker, err := e.store.RegisterWorker(ctx, "host", 1, "test")
	require.NoError(e.t, err)
	claimed, _, err := e.store.ClaimBatches(ctx, worker, []int64{in[0].BatchID}, 64<<20)
	require.NoError(e.t, err)
	require.Len(e.t, claimed, len(list))
	outcomes := make([]jobs.Outcome, len(claimed))
	for i, c := range claimed {
		outcomes[i] = jobs.Outcome{Lease: c.Lease, Action: jobs.Finish, Result: jobs.Result{JSON: json.RawMessage(`{}`)}}
	}
	_, err = e.store.WriteOutcomes(ctx, worker, outcomes)
	require.NoError(e.t, err)
	mark, err := e.store.MarkTrail(ctx)
	require.NoError(e.t, err)
	position, err := e.store.ReadingsPosition(ctx)
	require.NoError(e.t, err)
	_, err = e.store.FollowTrail(ctx, position, mark.UpTo, 100_000, policy)
	require.NoError(e.t, err)
}

// ask returns an answer about figures.
func (e *system) ask(path string, query url.Values) map[string]any {
	e.t.Helper()
	a := e.call(http.MethodGet, path+"?"+query.Encode(), "")
	require.Equal(e.t, http.StatusOK, a.StatusCode, a.text)
	return a.json
}

// figure returns a key figure by its name: its value, nil for null, and its quality.
func (e *system) figure(query url.Values, name string) (value *float64, quality string) {
	e.t.Helper()
	for _, item := range e.ask("/kpis", query)["figures"].([]any) {
		f := item.(map[string]any)
		if f["name"] == name {
			return number(e.t, f["value"]), f["quality"].(string)
		}
	}
	e.t.Fatalf("there is no figure %s", name)
	return nil, ""
}

func number(t *testing.T, value any) *float64 {
	t.Helper()
	if value == nil {
		return nil
	}
	x, err := value.(json.Number).Float64()
	require.NoError(t, err)
	return &x
}

func values(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v
}

func TestKeyFiguresOfASite(t *testing.T) {
	t.Parallel()
	e := setup(t)
	day := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	var list []measured
	for hour := range 24 {
		more := ""
		if hour < 18 {
			more = fmt.Sprintf(`,"cooling":{"chiller_kw":20,"fan_power_kw":5},"thermal":{"p95_rack_inlet_c":%d}`, 17+hour%12)
		}
		from := day.Add(time.Duration(hour) * time.Hour)
		list = append(list, measured{site: "oslo", from: from, to: from.Add(time.Hour), it: 100 + float64(hour), facility: 150, more: more})
	}
	e.measure(list...)
	q := values("site", "oslo", "from", "2026-03-01", "to", "2026-03-02")

	pue, quality := e.figure(q, "pue")
	require.NotNil(t, pue)
	it := 24*100.0 + 23*24/2
	assert.InDelta(t, 24*150/it, *pue, 1e-12, "weighted with energy")
	assert.Equal(t, "complete", quality)
	cooling, quality := e.figure(q, "cooling_share_pct")
	require.NotNil(t, cooling)
	assert.InDelta(t, 100*25.0/150, *cooling, 1e-12, "of the readings that have it")
	assert.Equal(t, "partial", quality, "18 of 24 hours")
	compliance, _ := e.figure(q, "inlet_compliance_pct")
	require.NotNil(t, compliance)
	assert.InDelta(t, 100*15.0/18, *compliance, 1e-9) // 17 and 28 °C are outside: hours 0, 11 and 12
	price, quality := e.figure(q, "cost_usd")
	assert.Nil(t, price)
	assert.Equal(t, "not enough", quality)

	// Less than half of the time has no figure, and nothing is scaled up.
	energy, quality := e.figure(values("site", "oslo", "from", "2026-02-27", "to", "2026-03-02"), "facility_energy_kwh")
	assert.Nil(t, energy)
	assert.Equal(t, "not enough", quality)
	energy, quality = e.figure(values("site", "oslo", "from", "2026-02-28T12:00", "to", "2026-03-02"), "facility_energy_kwh")
	require.NotNil(t, energy)
	assert.InDelta(t, 24*150, *energy, 1e-9)
	assert.Equal(t, "partial", quality)

	// Ends inside of windows.
	energy, _ = e.figure(values("site", "oslo", "from", "2026-03-01T10:20", "to", "2026-03-01T16:50"), "facility_energy_kwh")
	require.NotNil(t, energy)
	assert.InDelta(t, 6.5*150, *energy, 1e-9)
}

// Days of a clock change have 23 and 25 hours, intervals add up to the range, and
// a gap is null.
func TestTrendsFollowTheClockOfTheZone(t *testing.T) {
	t.Parallel()
	e := setup(t)
	madrid, err := time.LoadLocation("Europe/Madrid")
	require.NoError(t, err)
	var list []measured
	begin, end := time.Date(2026, 3, 28, 0, 0, 0, 0, madrid), time.Date(2026, 3, 31, 0, 0, 0, 0, madrid)
	for at := begin; at.Before(end); at = at.Add(time.Hour) {
		if at.Day() != 30 || at.Hour() >= 20 {
			list = append(list, measured{site: "madrid", from: at, to: at.Add(time.Hour), it: 10, facility: 12})
		}
	}
	e.measure(list...)
	require.NoError(t, e.store.SetSiteZone(t.Context(), "madrid", "Europe/Madrid", store.Origin{Actor: "test"}))

	q := values("site", "madrid", "from", "2026-03-28", "to", "2026-03-31", "metric", "facility_energy_kwh")
	q.Set("bucket", "day")
	answer := e.ask("/trends", q)
	require.Equal(t, "Europe/Madrid", answer["zone"])
	days := answer["items"].([]any)
	require.Len(t, days, 3)
	for i, want := range []*float64{new(24 * 12.0), new(23 * 12.0), nil} {
		item := days[i].(map[string]any)
		got := number(t, item["values"].(map[string]any)["facility_energy_kwh"])
		require.Equal(t, want == nil, got == nil, "day %d", i)
		if want != nil {
			assert.InDelta(t, *want, *got, 1e-9, "day %d", i)
		}
	}
	assert.Equal(t, "2026-03-29T00:00:00+01:00", days[1].(map[string]any)["from"])
	assert.Equal(t, "2026-03-30T00:00:00+02:00", days[1].(map[string]any)["to"])

	q.Set("bucket", "hour")
	hours := e.ask("/trends", q)["items"].([]any)
	require.Len(t, hours, 24+23+24)
	sum, gaps := 0.0, 0
	for _, item := range hours {
		if x := number(t, item.(map[string]any)["values"].(map[string]any)["facility_energy_kwh"]); x != nil {
			sum += *x
		} else {
			gaps++
		}
	}
	assert.InDelta(t, float64(len(list))*12, sum, 1e-9)
	assert.Equal(t, 20, gaps)
}

func TestQuestionsThatAreRefused(t *testing.T) {
	t.Parallel()
	e := setup(t)
	from := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	e.measure(measured{site: "s", from: from, to: from.Add(time.Hour), it: 1, facility: 2})
	for _, test := range []struct{ path, query, parameter string }{
		{"/kpis", "from=2026-03-02&to=2026-03-01", "from"},
		{"/kpis", "from=2026-03-01&to=2026-03-01", "from"},
		{"/kpis", "from=yesterday", "from"},
		{"/kpis", "from=2010-01-01&to=2026-01-01", "to"},
		{"/kpis", "from=2026-02-30", "from"},
		{"/kpis", "tz=Mars/Olympus", "tz"},
		{"/kpis", "tz=Local", "tz"},
		{"/kpis", "tz=../../etc/passwd", "tz"},
		{"/kpis", "tz=Europe/Madrid&from=2026-03-29T02:30&to=2026-03-30", "from"},
		{"/kpis", "from=2026-03-01&from=2026-03-02", "from"},
		{"/kpis", "bucket=day", "bucket"},
		{"/trends", "bucket=fortnight", "bucket"},
		{"/trends", "bucket=raw&from=2016-01-01&to=2026-01-01", "to"},
		{"/trends", "bucket=second", "bucket"},
		{"/trends", "bucket=15m&from=2022-01-01&to=2026-01-01", "bucket"},
		{"/trends", "metric=pue,wisdom", "metric"},
		{"/compare", "site=other", "site"},
	} {
		a := e.call(http.MethodGet, test.path+"?site=s&"+test.query, "")
		a.problem(t, http.StatusUnprocessableEntity, "validation_failed")
		assert.Contains(t, a.text, fmt.Sprintf(`"parameter":%q`, test.parameter), "%s?%s", test.path, test.query)
	}
	e.call(http.MethodGet, "/compare", "").problem(t, http.StatusUnprocessableEntity, "validation_failed")
	e.call(http.MethodGet, "/kpis?site=nowhere", "").problem(t, http.StatusNotFound, "not_found")
}

// The PUE and the energies of a real data center, month by month, equal those
// computed here from the same file. Its readings cover a part of each month.
func TestKeyFiguresOfARealDataCenter(t *testing.T) {
	t.Parallel()
	folder := os.Getenv("MASS_SHARED_DATA")
	if folder == "" {
		folder = filepath.Join("..", "..", "shared", "data")
	}
	file, err := os.Open(filepath.Join(folder, "esif-pue-monthly", "esif_monthly.csv"))
	if err != nil {
		t.Skip("The published data set esif-pue-monthly is not on this machine; set MASS_SHARED_DATA to its folder.")
	}
	defer file.Close()
	rows, err := csv.NewReader(file).ReadAll()
	require.NoError(t, err)
	rows = rows[1:] // month, IT MWh, facility MWh, hours with data, hours of the month
	require.Greater(t, len(rows), 100)

	e := setup(t)
	denver, err := time.LoadLocation("America/Denver")
	require.NoError(t, err)
	cell := func(row []string, i int) float64 {
		x, err := strconv.ParseFloat(row[i], 64)
		require.NoError(t, err)
		return x
	}
	var list []measured
	for _, row := range rows {
		month, err := time.ParseInLocation("2006-01", row[0], denver)
		require.NoError(t, err)
		if hours := cell(row, 3); hours > 0 {
			list = append(list, measured{
				site: "esif", from: month, to: month.Add(time.Duration(hours * float64(time.Hour))),
				it: cell(row, 1) * 1000 / hours, facility: cell(row, 2) * 1000 / hours,
			})
		}
	}
	e.measure(list...)
	withheld, items := 0, []any{}
	for _, years := range [][2]string{{"2016-06-01", "2021-01-01"}, {"2021-01-01", "2025-09-01"}} {
		answer := e.ask("/trends", values("site", "esif", "tz", "America/Denver", "bucket", "month", "from", years[0], "to", years[1],
			"metric", "pue,it_energy_kwh,facility_energy_kwh"))
		items = append(items, answer["items"].([]any)...)
	}
	require.GreaterOrEqual(t, len(items), len(rows))
	for i, row := range rows {
		item := items[i].(map[string]any)
		require.True(t, strings.HasPrefix(item["from"].(string), row[0]), "%s, %s", item["from"], row[0])
		completeness := number(t, item["completeness_pct"])
		require.NotNil(t, completeness)
		assert.InDelta(t, 100*cell(row, 3)/cell(row, 4), *completeness, 1e-9, row[0])
		want := map[string]float64{"pue": cell(row, 2) / cell(row, 1), "it_energy_kwh": 1000 * cell(row, 1), "facility_energy_kwh": 1000 * cell(row, 2)}
		for name, expected := range want {
			got := number(t, item["values"].(map[string]any)[name])
			if cell(row, 3)/cell(row, 4) < 0.5 {
				assert.Nil(t, got, "%s of %s", name, row[0])
				withheld++
				continue
			}
			if assert.NotNil(t, got, "%s of %s", name, row[0]) {
				assert.InEpsilon(t, expected, *got, 1e-9, "%s of %s", name, row[0])
			}
		}
	}
	assert.Positive(t, withheld)
}

// Twice the same weeks, with a constant overhead and more IT load after: the
// answer has the difference, says that the load explains it, and speaks of no
// saving.
func TestComparison(t *testing.T) {
	t.Parallel()
	e := setup(t)
	start := time.Date(2026, 2, 2, 0, 0, 0, 0, time.UTC)
	var list []measured
	for i := range 28 * 8 { // of 3 hours
		from := start.Add(time.Duration(3*i) * time.Hour)
		it, outdoor := 100+float64(i%8), 6
		if i >= 14*8 {
			it, outdoor = 1.1*it, 9
		}
		list = append(list, measured{site: "s", from: from, to: from.Add(3 * time.Hour), it: it, facility: it + 40,
			more: fmt.Sprintf(`,"cooling":{"cooling_setpoint_c":22},"weather":{"outdoor_dry_bulb_c":%d},"water":{"water_l":12}`, outdoor)})
	}
	e.measure(list...)
	q := values("site", "s", "from", "2026-02-16", "to", "2026-03-02")
	answer := e.ask("/compare", q)
	assert.Equal(t, "2026-02-02T00:00:00Z", answer["before"].(map[string]any)["from"], "as long, and directly before")
	assert.Equal(t, json.Number("168"), answer["matched_cells"])
	assert.Equal(t, true, answer["it_load_changed"])
	assert.Equal(t, "the mean outdoor temperature was 6.0 °C before and 9.0 °C after (+3.0 K): the weather may explain a part of every difference", answer["weather"])
	assert.InDelta(t, 9, *number(t, answer["after"].(map[string]any)["outdoor_dry_bulb_c"]), 1e-9)
	kpis := e.ask("/kpis", values("site", "s", "from", "2026-02-02", "to", "2026-03-02"))["figures"]
	water := 0
	for _, item := range kpis.([]any) {
		if f := item.(map[string]any); f["name"] == "water_l" {
			assert.InEpsilon(t, 28*8*12.0, *number(t, f["value"]), 1e-9)
			water++
		}
	}
	assert.Equal(t, 1, water)
	assert.NotEmpty(t, answer["figures"])
	for _, item := range answer["figures"].([]any) {
		f := item.(map[string]any)
		if f["name"] == "it_energy_kwh" {
			before := 14 * 3 * (8*100 + 28.0)
			assert.InEpsilon(t, before, *number(t, f["before"]), 1e-9)
			assert.InEpsilon(t, 0.1*before, *number(t, f["difference"]), 1e-9)
		}
	}
	trap := answer["pue_trap"].(map[string]any)
	assert.InDelta(t, 40, *number(t, trap["alpha_kw"]), 1e-6)
	assert.InDelta(t, 0, *number(t, trap["change_by_the_rest"]), 1e-9)
	figuresOnly, err := json.Marshal(answer["figures"])
	require.NoError(t, err)
	assert.NotContains(t, string(figuresOnly), "saving")

	q.Set("from", "2026-02-20")
	answer = e.ask("/compare", q)
	assert.Empty(t, answer["figures"])
	assert.NotEmpty(t, answer["refusals"])

	for query, parameter := range map[string]string{
		"from=2026-02-16&to=2026-03-02&cfrom=2026-02-02":                "cto",
		"from=2026-02-16&to=2026-03-02&cto=2026-02-02":                  "cfrom",
		"from=2026-02-16&to=2026-03-02&cfrom=2026-02-10&cto=2026-02-20": "cfrom",
		"from=2026-02-16&to=2026-03-02&cfrom=2026-02-10&cto=2026-02-01": "cfrom",
		"from=2026-02-16&to=2026-03-02&cfrom=2026-02-10&cto=x":          "cto",
		"from=2024-01-01&to=2026-03-02":                                 "from",
		"from=2026-02-16&to=2026-03-02&cfrom=2022-02-10&cto=2024-02-01": "cfrom",
		"from=2026-02-16&to=2026-03-02&method=naive":                    "method",
		"from=2026-02-16&to=2026-03-02&metric=pue":                      "metric",
		"from=now-99999y/d": "from",
	} {
		a := e.call(http.MethodGet, "/compare?site=s&"+query, "")
		a.problem(t, http.StatusUnprocessableEntity, "validation_failed")
		assert.Contains(t, a.text, fmt.Sprintf(`"parameter":%q`, parameter), query)
	}
	e.call(http.MethodGet, "/compare?site=nowhere", "").problem(t, http.StatusNotFound, "not_found")
}

// Every reading is listed once, page by page, with what it counts for and why.
func TestReadingsAreListed(t *testing.T) {
	t.Parallel()
	e := setup(t)
	at := func(minutes int) time.Time {
		return time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(minutes) * time.Minute)
	}
	e.measure(
		measured{site: "s", from: at(0), to: at(60), it: 10, facility: 15},
		measured{site: "s", from: at(0), to: at(60), it: 11, facility: 16, more: `,"weather":{"outdoor_dry_bulb_c":-3.5}`},
		measured{site: "s", from: at(15), to: at(30), it: 12, facility: 17, more: `,"water":{"water_l":3}`},
		measured{site: "s", cluster: "a", from: at(0), to: at(30), it: 5, facility: 6},
		measured{site: "s", from: at(120), to: at(180), it: 13, facility: 18},
		measured{site: "other", from: at(0), to: at(60), it: 1, facility: 2},
	)
	list := func(pairs ...string) (found []map[string]any) {
		q := values(append([]string{"site", "s", "from", "2026-03-01", "to", "2026-03-02"}, pairs...)...)
		for path := "/readings?" + q.Encode(); path != ""; {
			a := e.call(http.MethodGet, path, "")
			require.Equal(t, http.StatusOK, a.StatusCode, a.text)
			for _, item := range a.json["items"].([]any) {
				found = append(found, item.(map[string]any))
			}
			path, _ = a.json["next"].(string)
		}
		return found
	}
	all := list()
	require.Len(t, all, 5)
	assert.Equal(t, all, list("limit", "1"), "the same, one on a page")
	assert.Equal(t, all, list("limit", "2"))

	states := map[string][2]string{} // by the IT load
	for _, item := range all {
		load := item["values"].(map[string]any)["it_load_kw"].(json.Number).String()
		states[load] = [2]string{item["state"].(string), item["state_for_site"].(string)}
	}
	assert.Equal(t, map[string][2]string{
		"10": {"replaced", "replaced"}, "11": {"counts in part", "counts in part"}, "12": {"counts", "counts"}, "5": {"counts", "beside its site"}, "13": {"counts", "counts"},
	}, states)

	cluster := list("cluster", "a")
	require.Len(t, cluster, 1)
	assert.Equal(t, "for its asset it counts for all of its window; for its site it does not count, because the site has readings of its own", cluster[0]["why"])
	assert.Equal(t, "a", cluster[0]["cluster_id"])
	replaced := list("state", "replaced", "limit", "1")
	require.Len(t, replaced, 1)
	assert.Equal(t, "does not count, because a later reading has the same window", replaced[0]["why"])
	assert.Len(t, list("state", "beside its site"), 1)
	assert.Len(t, list("from", "2026-03-01T02:00", "tz", "UTC"), 1, "windows that end where the range begins are not in it")

	local := list("tz", "Asia/Kolkata", "from", "2026-03-01T05:40", "to", "2026-03-01T05:50")
	require.Len(t, local, 4, "windows that overlap the range")
	assert.Equal(t, "2026-03-01T05:30:00+05:30", local[0]["start"])
	for _, item := range all {
		v := item["values"].(map[string]any)
		switch v["it_load_kw"].(json.Number) {
		case "11":
			assert.Equal(t, json.Number("-3.5"), v["outdoor_dry_bulb_c"])
		case "12":
			assert.Equal(t, json.Number("12"), v["water_l_per_hour"])
		default:
			assert.Len(t, v, 2, "only what the payload gives")
		}
	}

	for query, name := range map[string]string{
		"after=x": "after", "after=1-": "after", "after=-1-2": "after", "after=01-2": "after", "after=1-2-3": "after", "after=99999999999999999999-1": "after",
		"state=best": "state", "limit=0": "limit", "limit=501": "limit", "tz=Mars": "tz", "from=2026-03-02": "from", "bucket=day": "bucket",
	} {
		a := e.call(http.MethodGet, "/readings?site=s&to=2026-03-02&"+query, "")
		a.problem(t, http.StatusUnprocessableEntity, "validation_failed")
		assert.Contains(t, a.text, `"parameter":"`+name+`"`, query)
	}
	e.call(http.MethodGet, "/readings?site=nowhere", "").problem(t, http.StatusNotFound, "not_found")
}

func TestSeveralSitesAddUp(t *testing.T) {
	t.Parallel()
	e := setup(t)
	from := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	var list []measured
	for hour := range 24 {
		at := from.Add(time.Duration(hour) * time.Hour)
		list = append(list, measured{site: "a", from: at, to: at.Add(time.Hour), it: 100, facility: 150})
		if hour < 12 {
			list = append(list, measured{site: "b,c", from: at, to: at.Add(time.Hour), it: 300, facility: 330})
		}
	}
	e.measure(list...)
	day := values("from", "2026-03-01", "to", "2026-03-02")
	both := url.Values{"site": {"a", "b,c", "a"}, "from": day["from"], "to": day["to"]}
	for _, query := range []url.Values{day, both} {
		answer := e.ask("/kpis", query)
		assert.Equal(t, []any{"a", "b,c"}, answer["sites"])
		assert.InDelta(t, 75, *number(t, answer["completeness_pct"]), 1e-9, "36 of the 48 hours of two sites")
		pue, quality := e.figure(query, "pue")
		assert.InEpsilon(t, (24*150+12*330)/(24*100+12*300.), *pue, 1e-12, "a ratio of sums")
		assert.Equal(t, "partial", quality)
		energy, _ := e.figure(query, "it_energy_kwh")
		assert.InEpsilon(t, 24*100+12*300, *energy, 1e-12)
	}
	both.Set("bucket", "hour")
	both.Set("metric", "it_energy_kwh")
	items := e.ask("/trends", both)["items"].([]any)
	require.Len(t, items, 24)
	assert.InDelta(t, 400, *number(t, items[3].(map[string]any)["values"].(map[string]any)["it_energy_kwh"]), 1e-9)
	assert.InDelta(t, 50, *number(t, items[20].(map[string]any)["completeness_pct"]), 1e-9)

	require.NoError(t, e.store.SetSiteZone(t.Context(), "a", "Europe/Oslo", store.Origin{Actor: "test"}))
	assert.Equal(t, "UTC", e.ask("/kpis", url.Values{"site": {"a", "b,c"}})["zone"], "sites of several zones are asked about in UTC")
	assert.Equal(t, "Europe/Oslo", e.ask("/kpis", url.Values{"site": {"a"}})["zone"])

	for query, detail := range map[string]string{
		"site=a&site=nowhere":                    "There is no such site",
		"site=a&site=b,c&cluster=x":              "needs exactly one site",
		"site=a&site=":                           "must not be empty",
		"site=a&from=now-1d&from=now":            "must be given once",
		"site=" + strings.Repeat("x", 201):       "must have 1 to 200 characters",
		"site=a" + strings.Repeat("&site=a", 50): "site",
	} {
		a := e.call(http.MethodGet, "/kpis?"+query, "")
		assert.Contains(t, []int{http.StatusUnprocessableEntity, http.StatusNotFound}, a.StatusCode, query)
		assert.Contains(t, a.text, detail, query)
	}
	a := e.call(http.MethodGet, "/trends?site=a&site=b,c&bucket=raw", "")
	assert.Equal(t, http.StatusUnprocessableEntity, a.StatusCode)
	assert.Contains(t, a.text, "raw is for one site")
}

func TestRawIntervalsBeginWhereReadingsDo(t *testing.T) {
	t.Parallel()
	e := setup(t)
	from := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	at := func(minutes int) time.Time { return from.Add(time.Duration(minutes) * time.Minute) }
	e.measure( // of the clusters of a site
		measured{site: "s", cluster: "x", from: at(0), to: at(60), it: 100, facility: 120},
		measured{site: "s", cluster: "y", from: at(30), to: at(90), it: 50, facility: 70},
		measured{site: "s", cluster: "x", from: at(120), to: at(150), it: 80, facility: 100},
	)
	items := e.ask("/trends", values("site", "s", "bucket", "raw", "metric", "it_energy_kwh", "from", "2026-03-01T00:00", "to", "2026-03-01T03:00"))["items"].([]any)
	var got []string
	for _, item := range items {
		m := item.(map[string]any)
		energy := "none"
		if x := number(t, m["values"].(map[string]any)["it_energy_kwh"]); x != nil {
			energy = strconv.FormatFloat(*x, 'f', -1, 64)
		}
		got = append(got, m["from"].(string)[11:16]+" "+m["to"].(string)[11:16]+" "+energy)
	}
	assert.Equal(t, []string{
		"00:00 00:30 50", "00:30 01:00 75", "01:00 01:30 25", "01:30 02:00 none", "02:00 02:30 40", "02:30 03:00 none",
	}, got)
	answer := e.ask("/trends", values("site", "s", "from", "2026-03-01", "to", "2026-03-02"))
	assert.Equal(t, "raw", answer["bucket"], "auto, of a day")
}
