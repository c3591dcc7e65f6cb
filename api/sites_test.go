package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
)

func (e *system) site(id string) {
	e.t.Helper()
	_, err := e.db.ExecContext(e.t.Context(), `INSERT INTO sites (site_id) VALUES ($1)`, id)
	require.NoError(e.t, err)
}

// said returns what the trail says about an action.
func (e *system) said(action string) (details []string) {
	e.t.Helper()
	require.NoError(e.t, e.db.SelectContext(e.t.Context(), &details, `SELECT detail FROM audit_events WHERE action = $1 ORDER BY id`, action))
	return details
}

func TestSettingsOfASite(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.site("oslo 1")
	const path = "/sites/oslo%201"

	a := e.call(http.MethodGet, path, "")
	require.Equal(t, http.StatusOK, a.StatusCode, a.text)
	assert.Equal(t, true, a.json["zone_assumed"])
	assert.Nil(t, a.json["max_pue"])

	a = e.call(http.MethodPatch, path, `{"zone":"Europe/Oslo","country":"NO","currency":"EUR","pue_category":2,"max_pue":1.5,"max_p95_rack_inlet_c":27,"min_completeness_pct":95,"stale_after_seconds":900}`)
	require.Equal(t, http.StatusOK, a.StatusCode, a.text)
	assert.Equal(t, a.json, e.call(http.MethodGet, path, "").json)
	assert.Equal(t, "Europe/Oslo", a.json["zone"])
	assert.Equal(t, false, a.json["zone_assumed"])
	assert.Equal(t, json.Number("1.5"), a.json["max_pue"])

	a = e.call(http.MethodPatch, path, `{"max_pue":null,"country":"SE"}`)
	require.Equal(t, http.StatusOK, a.StatusCode, a.text)
	assert.Nil(t, a.json["max_pue"], "null clears a setting")
	assert.Equal(t, "SE", a.json["country"])
	assert.Equal(t, "Europe/Oslo", a.json["zone"], "an absent member changes nothing")

	require.Equal(t, http.StatusOK, e.call(http.MethodPatch, path, `{"country":"SE"}`).StatusCode)
	assert.Equal(t, []string{
		"oslo 1: zone from UTC to Europe/Oslo, zone_assumed from true to false, country from not set to NO, currency from not set to EUR, pue_category from not set to 2, " +
			"max_pue from not set to 1.5, max_p95_inlet_c from not set to 27, min_completeness_pct from not set to 95, stale_after_seconds from not set to 900",
		"oslo 1: country from NO to SE, max_pue from 1.5 to not set",
	}, e.said("site_change"), "a change that changes nothing is no event")

	a = e.call(http.MethodPatch, path, `{"zone":null}`)
	require.Equal(t, http.StatusOK, a.StatusCode, a.text)
	assert.Equal(t, "UTC", a.json["zone"])
	assert.Equal(t, true, a.json["zone_assumed"])
}

func TestSettingsOfASiteThatAreRefused(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.site("s")
	for body, want := range map[string]string{
		`{}`:                              "must have at least one setting",
		`{"zone":"Mars/Olympus"}`:         "must be an IANA time zone",
		`{"zone":"Local"}`:                "must be an IANA time zone",
		`{"zone":7}`:                      "must be an IANA time zone",
		`{"country":"no"}`:                "must be 2 capital letters, such as NO",
		`{"country":"ÄÖ"}`:                "must be 2 capital letters",
		`{"currency":"EURO"}`:             "must be 3 capital letters, such as EUR",
		`{"pue_category":4}`:              "must be a whole number from 1 to 3",
		`{"pue_category":1.5}`:            "must be a whole number from 1 to 3",
		`{"max_pue":0.5}`:                 "must be a number from 1 to 100",
		`{"max_pue":"1.5"}`:               "must be a number from 1 to 100",
		`{"min_completeness_pct":101}`:    "must be a number from 0 to 100",
		`{"stale_after_seconds":0}`:       "must be a whole number from 1 to 31536000",
		`{"site_id":"t"}`:                 "is not a field of this object",
		`{"country":"NO","country":"SE"}`: "given twice",
	} {
		a := e.call(http.MethodPatch, "/sites/s", body)
		assert.Equal(t, http.StatusUnprocessableEntity, a.StatusCode, body)
		assert.Contains(t, a.text, want, body)
	}
	e.call(http.MethodPatch, "/sites/nowhere", `{"country":"NO"}`).problem(t, http.StatusNotFound, "not_found")
	e.call(http.MethodGet, "/sites/nowhere", "").problem(t, http.StatusNotFound, "not_found")
	e.as(auth.Operator).call(http.MethodPatch, "/sites/s", `{"country":"NO"}`).problem(t, http.StatusForbidden, "forbidden")
	assert.Empty(t, e.said("site_change"))
}

func TestNotesAreNeverOverwritten(t *testing.T) {
	t.Parallel()
	e := setup(t).as(auth.Operator)
	e.site("oslo-1")
	require.Equal(t, http.StatusOK, e.as(auth.Admin).call(http.MethodPatch, "/sites/oslo-1", `{"zone":"Europe/Oslo"}`).StatusCode)

	a := e.call(http.MethodPost, "/sites/oslo-1/notes", `{"kind":"measure","from":"2026-03-01","text":" Supply air raised to 24 °C "}`)
	require.Equal(t, http.StatusCreated, a.StatusCode, a.text)
	path := a.Header.Get("Location")
	require.True(t, strings.HasPrefix(path, "/sites/oslo-1/notes/"), path)
	assert.Equal(t, "2026-03-01T00:00:00+01:00", a.json["from"], "a date is one of the site")
	assert.Equal(t, "Supply air raised to 24 °C", a.json["text"])
	assert.Nil(t, a.json["to"])

	a = e.call(http.MethodPatch, path, `{"version":1,"to":"2026-04-01","text":"Supply air raised to 25 °C"}`)
	require.Equal(t, http.StatusOK, a.StatusCode, a.text)
	assert.Equal(t, json.Number("2"), a.json["version"])
	assert.Equal(t, "2026-04-01T00:00:00+02:00", a.json["to"])
	assert.Equal(t, "measure", a.json["kind"])
	e.call(http.MethodPatch, path, `{"version":1,"text":"too late"}`).problem(t, http.StatusConflict, "conflict")

	list := func(query string) []any {
		return e.call(http.MethodGet, "/sites/oslo-1/notes?"+query, "").json["items"].([]any)
	}
	require.Len(t, list("from=2026-01-01&to=2026-12-31"), 1, "the latest version alone")
	assert.Equal(t, json.Number("2"), list("from=2026-01-01&to=2026-12-31")[0].(map[string]any)["version"])
	assert.Empty(t, list("from=2026-04-01&to=2026-12-31"), "the note ends where the range begins")
	assert.Empty(t, list("from=2026-01-01&to=2026-12-31&kind=remark"))

	a = e.call(http.MethodPatch, path, `{"version":2,"to":null,"withdrawn":true}`)
	require.Equal(t, http.StatusOK, a.StatusCode, a.text)
	assert.Nil(t, a.json["to"], "null makes it last")
	assert.Empty(t, list("from=2026-01-01&to=2026-12-31"), "a note that was withdrawn is not listed")
	e.call(http.MethodPatch, path, `{"version":3,"text":"again"}`).problem(t, http.StatusConflict, "conflict")

	versions := e.call(http.MethodGet, path, "").json["items"].([]any)
	require.Len(t, versions, 3)
	assert.Equal(t, "Supply air raised to 24 °C", versions[0].(map[string]any)["text"], "what was corrected stays")
	assert.Equal(t, true, versions[2].(map[string]any)["withdrawn"])
	assert.Len(t, e.said("note_add"), 1)
	assert.Len(t, e.said("note_change"), 2)
}

func TestNotesComeInPages(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.site("s/1 ?") // only / cannot stand in a path
	e.site("s")
	for _, day := range []string{"03", "01", "02", "01"} {
		require.Equal(t, http.StatusCreated, e.call(http.MethodPost, "/sites/s/notes", `{"kind":"remark","from":"2026-03-`+day+`","text":"`+day+`"}`).StatusCode)
	}
	var days []string
	for next := "/sites/s/notes?from=2026-01-01&to=2026-12-31&limit=1&kind=remark"; next != ""; {
		a := e.call(http.MethodGet, next, "")
		require.Equal(t, http.StatusOK, a.StatusCode, a.text)
		for _, item := range a.json["items"].([]any) {
			days = append(days, item.(map[string]any)["text"].(string))
		}
		next, _ = a.json["next"].(string)
	}
	assert.Equal(t, []string{"01", "01", "02", "03"}, days)
}

func TestNotesThatAreRefused(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.site("s")
	for body, want := range map[string]string{
		`{}`: "is required",
		`{"kind":"joke","from":"2026-03-01","text":"x"}`:                       "must be one of measure, maintenance",
		`{"kind":"remark","from":"now-1d","text":"x"}`:                         "must be a date such as",
		`{"kind":"remark","from":"yesterday","text":"x"}`:                      "must be a date such as",
		`{"kind":"remark","from":"2026-03-02","to":"2026-03-01","text":"x"}`:   "must be after from",
		`{"kind":"remark","from":"2026-03-02","to":"2026-03-02","text":"x"}`:   "must be after from",
		`{"kind":"remark","from":"2026-03-02","to":5,"text":"x"}`:              "must be a date such as",
		`{"kind":"remark","from":"2026-03-01","text":" "}`:                     "must be a text of 1 to 4000 characters",
		`{"kind":"remark","from":"2026-03-01","text":"a\u0000"}`:               "must be a text of 1 to 4000 characters",
		`{"kind":"remark","from":"2026-03-01","text":"x","author":"somebody"}`: "is not a field of this object",
	} {
		a := e.call(http.MethodPost, "/sites/s/notes", body)
		assert.Equal(t, http.StatusUnprocessableEntity, a.StatusCode, body)
		assert.Contains(t, a.text, want, body)
	}
	e.call(http.MethodPost, "/sites/nowhere/notes", `{"kind":"remark","from":"2026-03-01","text":"x"}`).problem(t, http.StatusNotFound, "not_found")
	e.as(auth.Viewer).call(http.MethodPost, "/sites/s/notes", `{}`).problem(t, http.StatusForbidden, "forbidden")
	assert.Equal(t, 0, e.rows("site_notes"))

	a := e.call(http.MethodPost, "/sites/s/notes", `{"kind":"remark","from":"2026-03-01","to":"2026-03-05","text":"x"}`)
	require.Equal(t, http.StatusCreated, a.StatusCode)
	path := a.Header.Get("Location")
	for body, want := range map[string]string{
		`{"text":"y"}`:                      "is required",
		`{"version":1}`:                     "must change something",
		`{"version":0,"text":"y"}`:          "must be a whole number from 1",
		`{"version":1,"from":"2026-03-05"}`: "must be after from",
	} {
		a := e.call(http.MethodPatch, path, body)
		assert.Equal(t, http.StatusUnprocessableEntity, a.StatusCode, a.text)
		assert.Contains(t, a.text, want, body)
	}
	e.call(http.MethodPatch, "/sites/s/notes/999", `{"version":1,"text":"y"}`).problem(t, http.StatusNotFound, "not_found")
	e.site("t")
	e.call(http.MethodPatch, strings.Replace(path, "/s/", "/t/", 1), `{"version":1,"text":"y"}`).problem(t, http.StatusNotFound, "not_found")
	assert.Equal(t, 1, e.rows("site_notes"), "a correction that is refused leaves nothing")
}
