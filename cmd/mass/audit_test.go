package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/internal/doctor"
)

// deployment is a database with the roles of deploy/sql/grants.sql.
type deployment struct {
	t        *testing.T
	db       *sqlx.DB // connects as the superuser
	database string
}

func deploy(t *testing.T) *deployment {
	t.Helper()
	d := &deployment{t: t, database: devtest.EmptyDatabase(t)}
	var err error
	d.db, err = sqlx.Open("postgres", d.database)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.db.Close()) })
	d.grant()
	for login, role := range map[string]string{
		"test_migrate": "mass_owner", "test_app": "mass_app", "test_worker": "mass_app, mass_sealer", "test_audit": "mass_audit",
	} {
		_, err := d.db.ExecContext(t.Context(), fmt.Sprintf(`CREATE ROLE %s LOGIN PASSWORD 'secret' IN ROLE %s`, login, role))
		require.NoError(t, err)
	}
	_, err = d.db.ExecContext(t.Context(), `ALTER ROLE test_migrate SET role = 'mass_owner'`)
	require.NoError(t, err)
	var out output
	require.NoError(t, run(t.Context(), []string{"migrate", "up"}, getenv(map[string]string{"DATABASE_URL": d.url("test_migrate")}), &out, &out))
	d.grant()
	t.Cleanup(func() { // roles belong to the cluster, not to the database
		for _, statement := range []string{
			`DROP OWNED BY mass_owner, mass_app, mass_sealer, mass_audit CASCADE`,
			`DROP ROLE test_migrate, test_app, test_worker, test_audit, mass_owner, mass_app, mass_sealer, mass_audit`,
		} {
			_, err := d.db.ExecContext(context.WithoutCancel(t.Context()), statement)
			assert.NoError(t, err, statement)
		}
	})
	return d
}

// grant runs grants.sql, which may be run any number of times.
func (d *deployment) grant() {
	d.t.Helper()
	script, err := os.ReadFile("../../deploy/sql/grants.sql")
	require.NoError(d.t, err)
	_, err = d.db.ExecContext(d.t.Context(), string(script))
	require.NoError(d.t, err)
}

// url returns the URL of the database for a login.
func (d *deployment) url(login string) string {
	d.t.Helper()
	u, err := url.Parse(d.database)
	require.NoError(d.t, err)
	u.User = url.UserPassword(login, "secret")
	return u.String()
}

// The whole system runs as mass_app: everything works, and the trail cannot be
// changed.
func TestTheRolesOfADeployment(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	env := map[string]string{
		"DATABASE_URL": d.url("test_app"), "REDIS_URL": devtest.Redis(t), "MASS_ADDR": "127.0.0.1:0", "MASS_RECONCILE_INTERVAL": "50ms",
		"MASS_AUTH_SECRET": "a-secret-for-tests-which-nobody-has-to-keep", "USER": "ann", "MASS_RETENTION": "1m",
	}
	var key, out output
	require.NoError(t, run(t.Context(), []string{"key", "add", "test", "--role", "admin"}, getenv(env), &key, &out))
	apiOut, stopAPI := background(t, env, "api")
	workers := maps.Clone(env)
	workers["DATABASE_URL"] = d.url("test_worker")
	_, stopWorker := background(t, workers, "worker")
	base := listening(t, apiOut)
	call := func(method, path, body string, want int) (answer struct {
		ID     int64
		Status string
		Items  []struct{ Action string }
	}) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(key.String()))
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer res.Body.Close()
		require.Equal(t, want, res.StatusCode, "%s %s", method, path)
		if want != http.StatusNoContent {
			require.NoError(t, json.NewDecoder(res.Body).Decode(&answer))
		}
		return answer
	}
	done := func(id int64) {
		t.Helper()
		require.Eventually(t, func() bool {
			return call(http.MethodGet, fmt.Sprintf("/mass-requests/%d", id), "", http.StatusOK).Status == "done"
		}, patience, 5*time.Millisecond)
	}
	id := call(http.MethodPost, "/mass-requests/", `{"payload": {}}`, http.StatusCreated).ID
	done(id)
	call(http.MethodPatch, fmt.Sprintf("/mass-requests/%d/status", id), `{"status": "pending"}`, http.StatusOK)
	done(id)
	later := call(http.MethodPost, "/mass-requests/", `{"payload": {}, "run_at": "2050-01-01T00:00:00Z"}`, http.StatusCreated).ID
	call(http.MethodPost, "/mass-requests/bulk", `{"action": "cancel", "filter": {"status": "pending"}}`, http.StatusOK)
	call(http.MethodDelete, fmt.Sprintf("/mass-requests/%d", later), "", http.StatusNoContent)
	assert.NotEmpty(t, call(http.MethodGet, fmt.Sprintf("/audit?mass_request_id=%d", later), "", http.StatusOK).Items)

	d.untilSealed()
	d.examined(env, workers)
	require.NoError(t, stopWorker())
	require.NoError(t, stopAPI())
	assert.NotContains(t, apiOut.String(), "permission denied")

	env["DATABASE_URL"] = d.url("test_audit")
	var report, csv output
	require.NoError(t, run(t.Context(), []string{"audit", "verify"}, getenv(env), &report, &out), report.String())
	assert.Contains(t, report.String(), "verified ")
	require.NoError(t, run(t.Context(), []string{"audit", "export", "--format", "csv", "--action", "bulk"}, getenv(env), &csv, &out))
	assert.Contains(t, csv.String(), "id,at,action")
	var exporter string
	require.NoError(t, d.db.GetContext(t.Context(), &exporter, `SELECT DISTINCT actor FROM audit_events WHERE action LIKE 'export%'`))
	assert.Equal(t, "cli:ann", exporter)

	d.cannot("test_app", addSeal)
	d.cannot("test_audit", addSeal)
	d.cannot("test_worker")
	db, err := sqlx.Open("postgres", d.url("test_worker"))
	require.NoError(t, err)
	defer db.Close()
	_, err = db.ExecContext(t.Context(), addSeal)
	var refused *pq.Error
	require.ErrorAs(t, err, &refused, "a role that may seal cannot seal beyond the newest event")
	assert.Equal(t, "23514", string(refused.Code), err)
}

// addSeal adds a seal that continues the chain and ends beyond all events.
const addSeal = `
    INSERT INTO audit_seals (id, first_event, last_event, sealed_at, events, version, block_hash, previous_hash, seal_hash, marks)
    SELECT id + 1, last_event + 1, last_event + 1000000000, now(), 1, 1, seal_hash, seal_hash, seal_hash, '' FROM audit_seals ORDER BY id DESC LIMIT 1`

// examined runs the doctor as the API and as a worker: it finds nothing wrong
// with the roles of grants.sql. Then each role has more or less than it needs,
// which is a FAIL until grants.sql is run, as the doctor advises.
func (d *deployment) examined(api, worker map[string]string) {
	d.t.Helper()
	for _, env := range []map[string]string{api, worker} {
		diagnosis, healthy := examine(d.t, env)
		assert.True(d.t, healthy, "%+v", diagnosis.Findings)
		for _, topic := range []string{"role", "seals", "keys"} {
			assert.Equal(d.t, doctor.OK, diagnosis.level(topic), "%+v", diagnosis.about(topic))
		}
	}
	for change, want := range map[string]string{
		`GRANT INSERT ON audit_events TO mass_app`:                     "INSERT of at on audit_events, INSERT of id on audit_events",
		`GRANT INSERT (at) ON audit_events TO mass_app`:                "INSERT of at on audit_events",
		`GRANT UPDATE ON audit_events TO mass_app`:                     "UPDATE on audit_events",
		`GRANT UPDATE (detail) ON audit_events TO PUBLIC`:              "UPDATE on audit_events",
		`GRANT DELETE ON audit_seals TO mass_app`:                      "DELETE on audit_seals",
		`GRANT TRIGGER ON audit_sources TO mass_app`:                   "TRIGGER on audit_sources",
		`GRANT USAGE ON SEQUENCE audit_events_id_seq TO mass_app`:      "USAGE on audit_events_id_seq",
		`GRANT INSERT ON mass_migrations TO mass_app`:                  "INSERT on mass_migrations",
		`GRANT CREATE ON SCHEMA public TO mass_app`:                    "CREATE on schema public",
		`ALTER TABLE audit_seals OWNER TO test_app`:                    "owns audit_seals",
		`GRANT mass_owner TO test_app`:                                 "owns audit_events",
		`ALTER ROLE test_app CREATEROLE`:                               "may create roles",
		`ALTER ROLE test_app SUPERUSER`:                                "is a superuser",
		`REVOKE INSERT (detail) ON audit_events FROM mass_app`:         "lacks INSERT on audit_events",
		`REVOKE DELETE ON mass_requests FROM mass_app`:                 "lacks DELETE on mass_requests",
		`REVOKE EXECUTE ON FUNCTION readings_drop FROM mass_app`:       "lacks EXECUTE on readings_drop",
		`REVOKE SELECT ON SEQUENCE audit_events_id_seq FROM mass_app`:  "lacks SELECT on audit_events_id_seq",
		`REVOKE USAGE ON SEQUENCE refresh_tokens_id_seq FROM mass_app`: "lacks USAGE on refresh_tokens_id_seq",
	} {
		_, err := d.db.ExecContext(d.t.Context(), change)
		require.NoError(d.t, err, change)
		diagnosis, healthy := examine(d.t, api)
		assert.False(d.t, healthy, change)
		assert.Equal(d.t, doctor.Fail, diagnosis.level("role"), change)
		if list := diagnosis.about("role"); assert.NotEmpty(d.t, list, change) {
			assert.Contains(d.t, list[0].Detail, want, change)
			assert.Contains(d.t, list[0].Advice, "grants.sql")
		}
		// What concerns the login itself is no matter of grants.sql: the advice is
		// to use a login that is a member of mass_app only.
		_, err = d.db.ExecContext(d.t.Context(), `
            ALTER ROLE test_app NOSUPERUSER NOCREATEROLE; REVOKE mass_owner FROM test_app; ALTER TABLE audit_seals OWNER TO mass_owner`)
		require.NoError(d.t, err)
		d.grant()
	}
	diagnosis, healthy := examine(d.t, api)
	assert.True(d.t, healthy, "%+v", diagnosis.Findings)
}

// untilSealed waits until every event that exists now is sealed.
func (d *deployment) untilSealed() {
	d.t.Helper()
	var newest int64
	require.NoError(d.t, d.db.GetContext(d.t.Context(), &newest, `SELECT max(id) FROM audit_events`))
	require.Eventually(d.t, func() bool {
		var sealed int64
		return d.db.GetContext(d.t.Context(), &sealed, `SELECT coalesce(max(last_event), 0) FROM audit_seals`) == nil && sealed >= newest
	}, patience, 10*time.Millisecond)
}

// cannot attempts statements that would change the trail or make such a change
// possible.
func (d *deployment) cannot(login string, more ...string) {
	d.t.Helper()
	db, err := sqlx.Open("postgres", d.url(login))
	require.NoError(d.t, err)
	defer db.Close()
	statements := append(more,
		`INSERT INTO audit_events (id, action, actor) OVERRIDING SYSTEM VALUE VALUES (1000000, 'a', 'b')`,
		`INSERT INTO audit_events (at, action, actor) VALUES (now() - interval '1 day', 'a', 'b')`,
		`SELECT setval('audit_events_id_seq', 1)`, `SELECT nextval('audit_events_id_seq')`,
		`SET session_replication_role = replica`, `SET ROLE mass_owner`, `CREATE TABLE mine (id int)`,
		`INSERT INTO mass_migrations (id, applied_at) VALUES ('x', now())`,
		`DROP FUNCTION audit_append_only()`, `ALTER FUNCTION audit_append_only() RENAME TO x`, `DROP TRIGGER audit_seals_continue ON audit_seals`,
	)
	for table, column := range map[string]string{"audit_events": "actor = 'x'", "audit_seals": "events = 1", "audit_sources": "host = 'x'"} {
		for _, form := range []string{
			"UPDATE %s SET " + column, "DELETE FROM %s", "TRUNCATE %s", "DROP TABLE %s", "ALTER TABLE %s DISABLE TRIGGER ALL", "DO $$ BEGIN LOCK TABLE %s IN EXCLUSIVE MODE; END $$",
			"DROP TRIGGER %[1]s_append_only ON %[1]s", "ALTER TABLE %s OWNER TO " + login, "CREATE TRIGGER t BEFORE INSERT ON %s EXECUTE FUNCTION audit_append_only()",
		} {
			statements = append(statements, fmt.Sprintf(form, table))
		}
	}
	for _, statement := range statements {
		_, err := db.ExecContext(d.t.Context(), statement)
		var refused *pq.Error
		if assert.ErrorAs(d.t, err, &refused, "%s: %s", login, statement) {
			assert.Equal(d.t, "42501", string(refused.Code), "%s: %s: %v", login, statement, err)
		}
	}
}

func TestAuditVerifyNamesTheForgery(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATABASE_URL": devtest.Database(t), "REDIS_URL": devtest.Redis(t), "MASS_RECONCILE_INTERVAL": "20ms"}
	db, err := sqlx.Open("postgres", env["DATABASE_URL"])
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	d := &deployment{t: t, db: db}
	_, err = db.ExecContext(t.Context(), `INSERT INTO audit_events (action, actor) SELECT 'test', 'ann' FROM generate_series(1, 30000)`)
	require.NoError(t, err)
	log, stop := background(t, env, "worker")
	d.untilSealed()
	require.NoError(t, stop())
	hash := regexp.MustCompile(`audit trail sealed.* hash=([0-9a-f]{64})`).FindStringSubmatch(log.String())
	require.Len(t, hash, 2, "the log has a hash")

	verify := func(args ...string) (string, error) {
		var out, progress output
		err := run(t.Context(), append([]string{"audit", "verify"}, args...), getenv(env), &out, &progress)
		return out.String(), err
	}
	text, err := verify("--anchor", hash[1])
	require.NoError(t, err, text)
	assert.Contains(t, text, "anchor     found")
	assert.Regexp(t, `verified   30000 events in [0-9]+ seals, up to seal`, text)
	assert.Contains(t, text, "unsealed   no events")
	text, err = verify("--from", "2")
	require.NoError(t, err, text)

	for _, statement := range []string{
		`ALTER TABLE audit_events DISABLE TRIGGER audit_events_append_only`, `UPDATE audit_events SET actor = 'bob' WHERE id = 12345`,
	} {
		_, err = db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	text, err = verify()
	require.Error(t, err)
	assert.Contains(t, text, "BROKEN     event 12345 (seal 2): the event was changed")
	for _, args := range [][]string{{"--anchor", "abc"}, {"--from", "x"}, {"--from", "99"}, {"more"}} {
		_, err = verify(args...)
		require.Error(t, err, args)
	}
}
