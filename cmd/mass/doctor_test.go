package main

import (
	"encoding/json"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/internal/doctor"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/migrations"
)

// examine runs mass doctor --json, which must not show a password.
func examine(t *testing.T, env map[string]string, args ...string) (d diagnosis, healthy bool) {
	t.Helper()
	var out output
	args = append([]string{"--patience", "2m"}, args...) // a test may override it, because the last value of a flag counts
	err := run(t.Context(), append([]string{"doctor", "--json"}, args...), getenv(env), &out, &out)
	require.NoError(t, json.Unmarshal([]byte(out.String()), &d), out.String())
	assert.Equal(t, err != nil, d.Verdict == doctor.Fail, "%v", err)

	var text output
	_ = run(t.Context(), append([]string{"doctor"}, args...), getenv(env), &text, &text) // the JSON run above checks the error
	for _, name := range []string{"DATABASE_URL", "REDIS_URL"} {
		if u, uerr := url.Parse(env[name]); uerr == nil {
			if password, _ := u.User.Password(); password != "" {
				assert.NotContains(t, out.String()+text.String(), password)
			}
		}
	}
	return d, err == nil
}

func (d *diagnosis) about(topic string) (list []doctor.Finding) {
	for _, f := range d.Findings {
		if f.Topic == topic {
			list = append(list, f)
		}
	}
	return list
}

// level returns the worst level among the findings on a topic; "" when there is
// no finding.
func (d *diagnosis) level(topic string) doctor.Level {
	if list := d.about(topic); len(list) > 0 {
		return doctor.Worst(list)
	}
	return ""
}

// reached lists the levels of a server that answers, even if slowly.
var reached = []doctor.Level{doctor.OK, doctor.Warn}

// untroubled reports whether the doctor finds no problem, except that the
// servers of a slow machine take long to answer, and that the private servers of
// the tests are used as a superuser.
func (d *diagnosis) untroubled() bool {
	for _, f := range d.Findings {
		slow := f.Level == doctor.Warn && strings.Contains(f.Detail, "round trip")
		superuser := f.Topic == "role" && strings.HasSuffix(f.Detail, ": is a superuser")
		if f.Level != doctor.OK && !slow && !superuser {
			return false
		}
	}
	return true
}

const nowhere = "postgres://u:hush-hush@127.0.0.1:1/db"

func TestDoctorFindsAHealthySystemByItself(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := map[string]string{"MASS_DATA_DIR": dir, "MASS_ADDR": "127.0.0.1:0", "DATABASE_URL": devtest.Database(t), "REDIS_URL": devtest.Redis(t)}
	out, _ := background(t, env, "dev")
	untilDev(t, dir, out)
	found := map[string]string{"MASS_DATA_DIR": dir}
	var d diagnosis
	require.Eventually(t, func() bool {
		d, _ = examine(t, found)
		return d.untroubled()
	}, patience, 100*time.Millisecond, "%+v", &d)
	for _, topic := range []string{
		"settings", "postgres", "connections", "clocks", "redis", "redis memory", "migrations", "role", "workers", "leader", "seals", "keys", "backlog",
		"queues", "batches", "processing", "failures", "webhooks",
	} {
		assert.NotEmpty(t, d.about(topic), topic)
	}
	assert.Contains(t, d.about("settings")[0].Detail, filepath.Join(dir, "dev.json"))
	assert.Contains(t, d.about("role")[0].Detail, "the roles are not separated")
	assert.Len(t, d.about("clocks"), 2)
	assert.Len(t, d.about("backlog"), 4)

	var text output
	require.NoError(t, run(t.Context(), []string{"doctor"}, getenv(found), &text, &text))
	assert.Regexp(t, `(?m)^ok    workers       workers alive: 1$`, text.String())
	assert.Contains(t, text.String(), " 0 FAIL\n")
}

func TestDoctorWithoutPostgres(t *testing.T) {
	t.Parallel()
	d, healthy := examine(t, map[string]string{"DATABASE_URL": nowhere, "REDIS_URL": devtest.Redis(t)})
	assert.False(t, healthy)
	assert.Equal(t, doctor.Fail, d.level("postgres"))
	assert.Contains(t, reached, d.level("redis"), "one that is away does not hide the other")
	assert.Equal(t, doctor.OK, d.level("queues"))
	assert.Contains(t, d.about("the rest")[0].Detail, "backlog")
}

func TestDoctorWithoutRedis(t *testing.T) {
	t.Parallel()
	d, healthy := examine(t, map[string]string{"DATABASE_URL": devtest.Database(t), "REDIS_URL": "redis://:hush-hush@127.0.0.1:1/0"})
	assert.False(t, healthy)
	assert.Equal(t, doctor.Fail, d.level("redis"))
	assert.Contains(t, reached, d.level("postgres"))
	assert.Equal(t, doctor.OK, d.level("backlog"))
	assert.Equal(t, doctor.Fail, d.level("workers"), "none runs")
	assert.Equal(t, doctor.Warn, d.level("leader"))
}

func TestDoctorSeesTheSchema(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATABASE_URL": devtest.EmptyDatabase(t), "REDIS_URL": devtest.Redis(t)}
	d, _ := examine(t, env)
	assert.Equal(t, doctor.Fail, d.level("migrations"))
	assert.Contains(t, d.about("migrations")[0].Advice, "mass migrate up")
	assert.Empty(t, d.level("backlog"), "there is nothing to ask")

	_, err := migrations.Up(t.Context(), env["DATABASE_URL"])
	require.NoError(t, err)
	_, err = migrations.Down(t.Context(), env["DATABASE_URL"], 1)
	require.NoError(t, err)
	d, _ = examine(t, env)
	assert.Equal(t, doctor.Fail, d.level("migrations"))

	_, err = migrations.Up(t.Context(), env["DATABASE_URL"])
	require.NoError(t, err)
	db := sqlx.MustConnect("postgres", env["DATABASE_URL"])
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.ExecContext(t.Context(), `INSERT INTO mass_migrations (id, applied_at) VALUES ('9999_from_the_future.sql', now())`)
	require.NoError(t, err)
	d, _ = examine(t, env)
	assert.Equal(t, doctor.Warn, d.level("migrations"))
	assert.Contains(t, d.about("migrations")[0].Detail, "9999_from_the_future.sql")
}

func TestDoctorJudgesRedis(t *testing.T) {
	t.Parallel()
	stack := devtest.Private(t)
	env := map[string]string{"DATABASE_URL": devtest.Database(t), "REDIS_URL": stack.RedisURL()}
	opt, err := queue.ParseRedisURL(stack.RedisURL())
	require.NoError(t, err)
	rdb, err := queue.Dial(opt)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, rdb.Close()) })
	require.NoError(t, rdb.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
	d, _ := examine(t, env)
	assert.Equal(t, doctor.Fail, d.level("redis"))
	assert.Contains(t, d.about("redis")[0].Detail, "allkeys-lru")
	assert.Equal(t, doctor.OK, d.level("batches"), "it is asked nevertheless")

	assert.Equal(t, doctor.OK, d.level("redis tasks"))

	require.NoError(t, rdb.ConfigSet(t.Context(), "maxmemory-policy", "noeviction").Err())
	require.NoError(t, rdb.ConfigSet(t.Context(), "maxmemory", "1").Err())
	d, healthy := examine(t, env)
	require.NoError(t, rdb.ConfigSet(t.Context(), "maxmemory", "0").Err())
	assert.False(t, healthy)
	assert.Equal(t, doctor.OK, d.level("redis"))
	assert.Equal(t, doctor.Fail, d.level("redis tasks"), "Redis answers, and takes no task")
	assert.Contains(t, d.about("redis tasks")[0].Detail, "the memory of Redis is full")

	require.NoError(t, rdb.Do(t.Context(), "ACL", "SETUSER", "blind", "on", ">pw", "~*", "&*", "+@all", "-info").Err())
	blind := maps.Clone(env)
	blind["REDIS_URL"] = strings.Replace(env["REDIS_URL"], "//:"+opt.Password+"@", "//blind:pw@", 1)
	d, _ = examine(t, blind)
	assert.Equal(t, doctor.Warn, d.level("redis"), "what could not be seen is not ok")
	assert.Contains(t, d.about("redis")[0].Detail, "did not tell its version, eviction policy")
	assert.Equal(t, doctor.Warn, d.level("redis memory"))
	assert.NotContains(t, d.about("redis memory")[0].Detail, "appendonly")

	require.NoError(t, stack.PauseRedis()) // a frozen Redis accepts connections and never answers
	d, _ = examine(t, env, "--patience", "10s")
	require.NoError(t, stack.ResumeRedis())
	assert.Equal(t, doctor.Fail, d.level("redis"))
	assert.Contains(t, reached, d.level("postgres"))
	assert.Equal(t, doctor.OK, d.level("backlog"))
}

func TestDoctorFindsWhatIsStuck(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATABASE_URL": devtest.Database(t), "REDIS_URL": devtest.Redis(t)}
	db := sqlx.MustConnect("postgres", env["DATABASE_URL"])
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err := db.ExecContext(t.Context(), `
        INSERT INTO mass_requests (batch_id, payload, schema_version, status, error, created_at, run_at, updated_at, started_at, finished_at, claimed_by)
        SELECT nextval('mass_batches'), '{}', '1.0-simple', s, CASE s WHEN 'failed' THEN 'boom' END, now() - interval '1 hour', now() - interval '1 hour',
               now() - interval '1 hour', now() - interval '1 hour', CASE s WHEN 'failed' THEN now() END, CASE s WHEN 'processing' THEN 1 END
        FROM unnest(ARRAY['pending', 'processing', 'failed', 'failed', 'done']) s WHERE s <> 'done';
        INSERT INTO mass_workers (host, pid, version, last_seen_at) VALUES ('elsewhere', 7, 'test', now() - interval '1 hour')`)
	require.NoError(t, err)
	d, _ := examine(t, env)
	assert.Equal(t, doctor.Fail, d.level("batches"))
	assert.Contains(t, d.about("batches")[0].Detail, "1 stuck without a task: 1")
	assert.Contains(t, d.about("batches")[0].Advice, "start a worker")
	assert.Equal(t, doctor.Warn, d.level("processing"))
	assert.Equal(t, doctor.Warn, d.level("backlog"))
	assert.Contains(t, d.about("backlog")[0].Detail, "1 pending (default 1), the oldest due for 1h0m")
	assert.Contains(t, d.about("failures")[0].Detail, `2 requests failed in the last hour; most often: "boom"`)
	assert.Contains(t, d.about("workers")[1].Detail, "elsewhere, process 7, for 1h")
}

func TestDoctorLooksAfterSealsAndKeys(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATABASE_URL": devtest.Database(t), "REDIS_URL": devtest.Redis(t)}
	db := sqlx.MustConnect("postgres", env["DATABASE_URL"])
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	d, _ := examine(t, env)
	assert.Equal(t, doctor.OK, d.level("seals"))
	assert.Equal(t, doctor.OK, d.level("keys"))
	assert.Equal(t, doctor.Fail, d.level("role"), "a superuser, without mass dev")
	assert.Contains(t, d.about("role")[0].Detail, "is a superuser")

	_, err := db.ExecContext(t.Context(), `
        INSERT INTO api_keys (name, role, created_by, secret_hash, expires_at)
        SELECT 'collector '||days, 'viewer', 'test', sha256('x'), now() + make_interval(days => days) FROM unnest(ARRAY[-1, 3, 20]) days;
        ALTER TABLE audit_seals DISABLE TRIGGER audit_seals_continue;
        INSERT INTO audit_seals VALUES (1, 1, 1000000000, now(), 1, 1, sha256('a'), decode(repeat('00', 32), 'hex'), sha256('b'), '')`)
	require.NoError(t, err)
	d, _ = examine(t, env)
	assert.Equal(t, doctor.Warn, d.level("keys"))
	assert.Contains(t, d.about("keys")[0].Detail, "2 (collector 3) at 20")
	assert.NotContains(t, d.about("keys")[0].Detail, "20)")
	assert.Equal(t, doctor.Fail, d.level("seals"))
	assert.Contains(t, d.about("seals")[0].Detail, "seal 1 ends at event 1000000000")
	assert.Contains(t, d.about("seals")[0].Advice, "docs/audit.md")
}

func TestDoctorJudgesTheSettings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, healthy := examine(t, map[string]string{"MASS_DATA_DIR": dir})
	assert.False(t, healthy)
	assert.Contains(t, d.about("settings")[0].Detail, "not set, and no mass dev runs")

	// The settings of the other commands contain a mistake, which the doctor
	// finds before those commands are run.
	file := filepath.Join(dir, "url")
	require.NoError(t, os.WriteFile(file, []byte(devtest.Database(t)), 0o600))
	d, _ = examine(t, map[string]string{"DATABASE_URL_FILE": file, "REDIS_URL": devtest.Redis(t), "MASS_MAX_TRIES": "many"})
	assert.Equal(t, doctor.Fail, d.level("settings"))
	assert.Contains(t, d.about("settings")[0].Detail, `MASS_MAX_TRIES: "many" is not a whole number`)
	assert.Contains(t, reached, d.level("postgres"))

	d, _ = examine(t, map[string]string{"DATABASE_URL": "mysql://u:hush-hush@h/d", "REDIS_URL": "http://u:hush-hush@h"})
	assert.Equal(t, doctor.Fail, d.level("postgres"))
	assert.Equal(t, doctor.Fail, d.level("redis"))

	var out output
	require.ErrorContains(t, run(t.Context(), []string{"doctor", "--patience", "0"}, getenv(nil), &out, &out), "above 0")
	assert.False(t, strings.Contains(out.String(), "FAIL"))
}
