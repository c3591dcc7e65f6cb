package main

import (
	"net/http"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
)

// Readings appear by themselves, and the command line looks after them.
func TestReadingsOfTheCommandLine(t *testing.T) {
	t.Parallel()
	env := with(map[string]string{"DATABASE_URL": devtest.Database(t), "REDIS_URL": devtest.Redis(t), "USER": "root"})
	mass := func(args ...string) string {
		t.Helper()
		out, err := massWith(t, env, "", args...)
		require.NoError(t, err)
		return out
	}
	refused := func(want string, args ...string) {
		t.Helper()
		_, err := massWith(t, env, "", args...)
		require.ErrorContains(t, err, want)
	}
	apiOut, _ := background(t, env, "api")
	_, stopWorker := background(t, env, "worker")
	url := listening(t, apiOut)
	const right = "all 2 readings are right\nall rollups, of 2 hours and 1 days, are right\n"
	for _, hour := range []string{"10", "11"} {
		var r massRequest
		do(t, http.MethodPost, url+"/mass-requests/", `{"payload":{"schema_version":"1.1","request":{
            "time_window":{"start_utc":"2026-03-01T`+hour+`:00:00Z","end_utc":"2026-03-01T`+hour+`:30:00Z"},"assets":{"site_id":"oslo"},
            "signals":{"energy":{"it_load_kw":100,"facility_power_kw":130}},"constraints":{"hard":{"no_control_actions":true}}}}}`, http.StatusCreated, &r)
		require.Equal(t, "done", untilFinal(t, url, r.ID).Status)
	}
	require.Eventually(t, func() bool {
		out, err := massWith(t, env, "", "readings", "verify")
		return err == nil && out == right
	}, patience, 10*time.Millisecond)
	require.NoError(t, stopWorker())
	assert.Contains(t, mass("readings", "status"), "2 readings of 1 sites; they follow the trail up to event ")

	db := sqlx.MustConnect("postgres", env["DATABASE_URL"])
	defer db.Close()
	_, err := db.ExecContext(t.Context(), `DELETE FROM readings WHERE request_id = 1; UPDATE readings SET site_state = 'replaced'`)
	require.NoError(t, err)
	out, err := massWith(t, env, "", "readings", "verify")
	require.ErrorContains(t, err, "run mass readings rebuild")
	assert.Contains(t, out, "have no reading, of which up to 100 are listed: [1]")
	assert.Contains(t, out, "count otherwise than a new decision says, of which up to 100 are listed: [2]")
	assert.Contains(t, mass("readings", "rebuild"), "1 readings removed, 2 made, in ")
	assert.Equal(t, right, mass("readings", "verify"))

	_, err = db.ExecContext(t.Context(), `UPDATE rollup_hour SET it_kwh = it_kwh + 1; DELETE FROM readings WHERE request_id = 2`)
	require.NoError(t, err)
	assert.Contains(t, mass("readings", "rebuild", "--from", "2026-03-01T11:00", "--to", "2026-03-01T12:00"), "0 readings removed, 1 made, in ")
	out, err = massWith(t, env, "", "readings", "verify")
	require.ErrorContains(t, err, "rollups differ")
	assert.Contains(t, out, "at 2026-03-01T10:00:00Z differs", "what is outside of the time was left alone")
	assert.NotContains(t, out, "at 2026-03-01T11:00:00Z differs")
	mass("readings", "rebuild", "--from", "2026-03-01", "--to", "2026-03-02")
	assert.Equal(t, right, mass("readings", "verify"))
	refused("--to needs --from", "readings", "rebuild", "--to", "now")
	refused("--from must be before to", "readings", "rebuild", "--from", "now", "--to", "now-1d")
	refused("are for rebuild", "readings", "verify", "--from", "now-1d")

	_, err = db.ExecContext(t.Context(), `UPDATE rollup_hour SET it_kwh = it_kwh + 1 WHERE extract(hour FROM start_at) = 10`)
	require.NoError(t, err)
	out, err = massWith(t, env, "", "readings", "verify")
	require.ErrorContains(t, err, "rollups differ from the readings")
	assert.Contains(t, out, `rollup_hour of site "oslo", cluster "" at 2026-03-01T10:00:00Z differs from the readings`)
	mass("readings", "rebuild")
	assert.Equal(t, right, mass("readings", "verify"))

	assert.Equal(t, "the site oslo is in Europe/Oslo\n", mass("readings", "zone", "oslo", "Europe/Oslo"))
	assert.Contains(t, mass("readings", "status"), "the rollups of 1 times must be computed again")
	refused("not an IANA time zone", "readings", "zone", "oslo", "Mars")
	refused(`no reading of a site "bergen"`, "readings", "zone", "bergen", "Europe/Oslo")
	refused("want status, verify, rebuild", "readings")
	refused("want status, verify, rebuild", "readings", "zone", "oslo")
	var detail string
	require.NoError(t, db.GetContext(t.Context(), &detail, `SELECT detail FROM audit_events WHERE action = 'site_change'`))
	assert.Equal(t, "oslo: zone from UTC to Europe/Oslo, zone_assumed from true to false", detail)
}
