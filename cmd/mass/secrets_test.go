package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
)

// secrets holds the texts that must never become visible, and every text that
// did.
type secrets struct {
	t       *testing.T
	hidden  map[string]string // what it is, by its text
	visible map[string]string // what was seen, by where
}

func (s *secrets) hide(what, text string) string {
	s.t.Helper()
	require.GreaterOrEqual(s.t, len(text), 8, what)
	s.hidden[text] = what
	return text
}

func (s *secrets) see(where, text string) { s.visible[where] += text + "\n" }

// check looks for every secret, unchanged and in its encoded forms.
func (s *secrets) check() {
	s.t.Helper()
	for text, what := range s.hidden {
		forms := []string{text, url.QueryEscape(text), base64.StdEncoding.EncodeToString([]byte(text)), fmt.Sprintf("%x", text)}
		for where, seen := range s.visible {
			for _, form := range forms {
				if i := strings.Index(seen, form); i >= 0 {
					s.t.Errorf("%s is in %s: …%.300s…", what, where, seen[max(0, i-100):])
					break
				}
			}
		}
	}
}

// process starts the binary, and watches its output and what ps shows about it.
func (s *secrets) process(env map[string]string, args ...string) (out *output, stop func()) {
	s.t.Helper()
	out = &output{}
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = environment(env)
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(s.t, cmd.Start())
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		s.see("what ps shows of "+args[0], commandLine(s.t, cmd.Process.Pid))
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // only the output is checked, not the exit status
		s.see("the log of "+args[0], out.String())
	}
	s.t.Cleanup(stop)
	return out, stop
}

// commandLine returns what every account on the machine can read about a
// process.
func commandLine(t *testing.T, pid int) string {
	t.Helper()
	if raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil {
		return string(raw)
	}
	raw, err := exec.CommandContext(t.Context(), "ps", "-o", "args=", "-p", fmt.Sprint(pid)).Output()
	require.NoError(t, err)
	return string(raw)
}

// command runs a subcommand to its end.
func (s *secrets) command(env map[string]string, stdin string, args ...string) string {
	s.t.Helper()
	var stderr bytes.Buffer
	for _, c := range commands() {
		if c.name == args[0] {
			var stdout bytes.Buffer
			err := c.run(s.t.Context(), invocation{
				args: args[1:], getenv: getenv(env), stdin: strings.NewReader(stdin), stdout: &stdout, stderr: &stderr,
			})
			s.see("the words of mass "+args[0], fmt.Sprint(stderr.String(), err))
			return stdout.String()
		}
	}
	s.t.Fatalf("no command %v", args)
	return ""
}

// Every setting of the system contains a marked secret. The test makes the
// system succeed and fail, at its most detailed log level, and looks for the
// secrets.
func TestSecretsAreNeverSeen(t *testing.T) {
	t.Parallel()
	s := &secrets{t: t, hidden: map[string]string{}, visible: map[string]string{}}
	database := s.marked(devtest.Database(t), "the password of Postgres")
	queue := s.markedRedis(devtest.Redis(t))
	folder := t.TempDir()
	file := filepath.Join(folder, "secret")
	require.NoError(t, os.WriteFile(file, []byte(s.hide("the secret of the tokens", "signs-0123456789-abcdefghijklmnop-tokens")+"\n"), 0o600))
	env := map[string]string{
		"DATABASE_URL": database, "REDIS_URL": queue, "MASS_ADDR": "127.0.0.1:0", "MASS_LOG_LEVEL": "debug", "MASS_AUTH_SECRET_FILE": file,
		"MASS_WEBHOOK_SECRET":     "whsec_" + s.hide("the secret of the callbacks", base64.StdEncoding.EncodeToString([]byte("callbacks-are-signed-with-this"))),
		"MASS_WEBHOOK_ALLOW_HTTP": "true", "MASS_WEBHOOK_ALLOW_NETS": "127.0.0.0/8, ::1/128", "MASS_WEBHOOK_RETRY_BASE": "1ms", "MASS_WEBHOOK_MAX_TRIES": "2",
	}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }))
	t.Cleanup(receiver.Close)

	first := s.hide("a password", "plain-words-of-ann")
	s.see("mass user", s.command(env, first+"\n", "user", "add", "ann@example.com", "--role", "admin"))
	key := s.hide("an API key", strings.TrimSpace(s.command(env, "", "key", "add", "collector", "--role", "admin")))
	s.see("mass key", s.command(env, "", "key", "list"))
	out, stopAPI := s.process(env, "api")
	base := listening(t, out)
	_, stopWorker := s.process(env, "worker")

	id := s.succeed(base, first, key, receiver.URL+"/?token="+"in-the-callback-url")
	s.fail(base, key)
	untilFinal(t, base, id, key)
	require.Eventually(t, func() bool {
		_, raw := try(t, http.MethodGet, fmt.Sprintf("%s/mass-requests/%d/callback", base, id), "", key)
		return strings.Contains(string(raw), `"dead"`)
	}, patience, pollEvery)

	for _, args := range [][]string{{"doctor"}, {"doctor", "--json"}, {"audit", "export"}, {"audit", "verify"}, {"user", "list"}, {"key", "list"}} {
		s.see("mass "+strings.Join(args, " "), s.command(env, "", args...))
	}
	_, trail := try(t, http.MethodGet, base+"/audit?format=ndjson", "", key)
	require.Contains(t, string(trail), "login_failed")
	s.see("the audit trail", string(trail))
	s.seeDatabase(database)
	s.seeRedis(queue)
	stopWorker()
	stopAPI()
	require.Contains(t, s.visible["the log of api"], "level=DEBUG")
	assert.NotContains(t, s.visible["the log of api"]+s.visible["the log of worker"], "in-the-callback-url", "receivers are known by their host")

	s.misconfigure(env)
	s.check()
	require.Greater(t, len(s.hidden), 15)
	require.Greater(t, len(s.visible), 15)
}

// marked adds the password of a URL to the secrets.
func (s *secrets) marked(raw, what string) string {
	s.t.Helper()
	u, err := url.Parse(raw)
	require.NoError(s.t, err)
	password, _ := u.User.Password()
	s.hide(what, password)
	return raw
}

// markedRedis makes an account with a password where the server knows accounts.
func (s *secrets) markedRedis(raw string) string {
	s.t.Helper()
	opt, err := redis.ParseURL(raw)
	require.NoError(s.t, err)
	rdb := redis.NewClient(opt)
	defer rdb.Close()
	const account, password = "secrets_test", "hush-redis-77c1"
	if err := rdb.Do(s.t.Context(), "ACL", "SETUSER", account, "on", ">"+password, "~*", "&*", "+@all").Err(); err != nil {
		s.t.Logf("this Redis knows no accounts: %v", err)
		return raw
	}
	u, err := url.Parse(raw)
	require.NoError(s.t, err)
	u.User = url.UserPassword(account, s.hide("the password of Redis", password))
	return u.String()
}

// ask sends a request and records its answer as visible, unless the purpose of
// the answer is to hand out a secret.
func (s *secrets) ask(want int, hands bool, req *http.Request) (body []byte, cookies []*http.Cookie) {
	s.t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	require.NoError(s.t, err)
	defer res.Body.Close()
	body, err = io.ReadAll(res.Body)
	require.NoError(s.t, err)
	require.Equal(s.t, want, res.StatusCode, "%s %s: %s", req.Method, req.URL.Path, body)
	if !hands {
		s.see(fmt.Sprintf("the answer %d to %s %s", want, req.Method, req.URL.Path), fmt.Sprint(res.Header, string(body)))
	}
	return body, res.Cookies()
}

func (s *secrets) request(method, url, body, proof string) *http.Request {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, url, strings.NewReader(body))
	require.NoError(s.t, err)
	req.Header.Set("Content-Type", "application/json")
	if proof != "" {
		req.Header.Set("Authorization", "Bearer "+proof)
	}
	return req
}

// succeed makes the usual requests of people and machines, and returns the
// MassRequest that it submitted.
func (s *secrets) succeed(base, password, key, callback string) int64 {
	s.t.Helper()
	var tokens struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	login, _ := s.ask(200, true, s.request("POST", base+"/auth/login", fmt.Sprintf(`{"email":"ann@example.com","password":%q}`, password), ""))
	require.NoError(s.t, json.Unmarshal(login, &tokens))
	used := s.hide("a refresh token", tokens.Refresh)
	s.hide("an access token", tokens.Access)
	fresh, _ := s.ask(200, true, s.request("POST", base+"/auth/refresh", fmt.Sprintf(`{"refresh_token":%q}`, used), ""))
	require.NoError(s.t, json.Unmarshal(fresh, &tokens))
	s.hide("the next refresh token", tokens.Refresh)
	s.ask(401, false, s.request("POST", base+"/auth/refresh", fmt.Sprintf(`{"refresh_token":%q}`, used), "")) // the family ends
	s.ask(200, false, s.request("GET", base+"/auth/me", "", tokens.Access))
	s.ask(200, false, s.request("GET", base+"/health", "", "")) // logged at debug

	form := s.request("POST", base+"/login", url.Values{"email": {"ann@example.com"}, "password": {password}}.Encode(), "")
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	_, cookies := s.ask(303, true, form)
	require.Len(s.t, cookies, 1)
	page := s.request("GET", base+"/docs", "", "")
	page.AddCookie(&http.Cookie{Name: cookies[0].Name, Value: s.hide("a session's cookie", cookies[0].Value)}) //nolint:gosec // the client's half of a cookie has no attributes
	s.ask(200, false, page)

	second := s.hide("a new user's password", "plain-words-of-bob")
	s.ask(201, false, s.request("POST", base+"/auth/register", fmt.Sprintf(`{"email":"bob@example.com","password":%q}`, second), key))
	third := s.hide("a changed password", "other-words-of-bob")
	s.ask(204, false, s.request("POST", base+"/users/2/password", fmt.Sprintf(`{"password":%q}`, third), key))
	var made struct {
		Key string `json:"key"`
	}
	raw, _ := s.ask(201, true, s.request("POST", base+"/api-keys", `{"name":"n","role":"viewer"}`, key))
	require.NoError(s.t, json.Unmarshal(raw, &made))
	s.hide("a key made by the API", made.Key)
	s.ask(204, false, s.request("DELETE", base+"/api-keys/2", "", key))
	s.ask(401, false, s.request("GET", base+"/auth/me", "", made.Key))

	var r massRequest
	raw, _ = s.ask(201, true, s.request("POST", base+"/mass-requests/", fmt.Sprintf(`{"payload":{"n":1},"callback_url":%q}`, callback), key))
	require.NoError(s.t, json.Unmarshal(raw, &r))
	return r.ID
}

// fail sends secrets in places where they do not belong, and wrong secrets in
// the places where secrets belong.
func (s *secrets) fail(base, key string) {
	s.t.Helper()
	wrong := s.hide("a wrong password", "not-the-words-of-ann")
	s.ask(401, false, s.request("POST", base+"/auth/login", fmt.Sprintf(`{"email":"ann@example.com","password":%q}`, wrong), ""))
	s.ask(400, false, s.request("POST", base+"/auth/login", fmt.Sprintf(`{"email":"ann@example.com","password":%q`, wrong), ""))
	s.ask(422, false, s.request("POST", base+"/auth/login", fmt.Sprintf(`{"email":"ann@example.com","password":[%q]}`, wrong), ""))
	s.ask(422, false, s.request("POST", base+"/auth/login", fmt.Sprintf(`{"mail":"ann@example.com","password":%q}`, wrong), ""))
	s.ask(415, false, func() *http.Request {
		r := s.request("POST", base+"/auth/login", "password="+wrong, "")
		r.Header.Set("Content-Type", "text/plain")
		return r
	}())
	form := s.request("POST", base+"/login", url.Values{"email": {"ann@example.com"}, "password": {wrong}}.Encode(), "")
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	s.ask(401, false, form)
	s.ask(422, false, s.request("POST", base+"/auth/register", `{"email":"eve","password":"`+s.hide("a refused password", "words-of-eve-1234")+`"}`, key))
	s.ask(409, false, s.request("POST", base+"/auth/register", `{"email":"ann@example.com","password":"words-of-eve-1234"}`, key))
	s.ask(401, false, s.request("GET", base+"/auth/me", "", s.hide("a wrong API key", "mass_1_wrongwrongwrongwrongwrongwrongwrongwron")))
	s.ask(401, false, s.request("GET", base+"/auth/me", "", s.hide("a wrong access token", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ3cm9uZyJ9.d3Jvbmc")))
	s.ask(401, false, s.request("POST", base+"/auth/refresh", `{"refresh_token":"`+s.hide("a wrong refresh token", "wrong-refresh-token-000000000000")+`"}`, ""))
	s.ask(422, false, s.request("GET", base+"/auth/me?token="+s.hide("a token in a query", "in-the-query-1234567890"), "", key))
	basic := s.request("GET", base+"/auth/me", "", "")
	basic.SetBasicAuth("ann@example.com", s.hide("a password of another scheme", "basic-words-of-ann"))
	s.ask(401, false, basic)
	cookie := s.request("GET", base+"/auth/me", "", "")
	cookie.AddCookie(&http.Cookie{Name: "mass", Value: s.hide("a wrong cookie", "wrong-cookie-1234567890")}) //nolint:gosec // the client's half of a cookie has no attributes
	s.ask(401, false, cookie)
}

// misconfigure starts commands that cannot start or that reach no server.
func (s *secrets) misconfigure(env map[string]string) {
	s.t.Helper()
	away := s.hide("the password of a Postgres that is away", "hush-away-4711")
	for name, wrong := range map[string]map[string]string{
		"a short secret":         {"MASS_AUTH_SECRET_FILE": "", "MASS_AUTH_SECRET": s.hide("a short secret", "too-short-to-sign")},
		"a secret that is twice": {"MASS_AUTH_SECRET": s.hide("a secret that is there twice", "signs-0123456789-abcdefghijklmnop-twice")},
		"a wrong callback key":   {"MASS_WEBHOOK_SECRET": s.hide("a callback key that is none", "whsec_!!not-base64!!")},
		"a wrong database":       {"DATABASE_URL": "postgres://u:" + away + "@%zz/db"},
		"another database":       {"DATABASE_URL": "mysql://u:" + away + "@127.0.0.1/db"},
		"a wrong Redis":          {"REDIS_URL": "redis://:" + away + "@%zz"},
		"another Redis":          {"REDIS_URL": "http://:" + away + "@127.0.0.1"},
	} {
		mixed := map[string]string{}
		for _, from := range []map[string]string{env, wrong} {
			for k, v := range from {
				mixed[k] = v
			}
		}
		for _, command := range []string{"api", "worker", "doctor", "migrate"} {
			if command == "worker" && !strings.Contains(name, "database") && !strings.Contains(name, "Redis") {
				continue // the command has no such setting, and would run
			}
			if command == "migrate" && !strings.Contains(name, "database") {
				continue
			}
			args := []string{command}
			if command == "migrate" {
				args = append(args, "status")
			}
			s.see("mass "+command+" with "+name, s.command(mixed, "", args...))
		}
	}
	env = map[string]string{
		"DATABASE_URL": "postgres://u:" + away + "@127.0.0.1:1/db", "REDIS_URL": "redis://:" + s.hide("the password of a Redis that is away", "hush-away-0815") + "@127.0.0.1:1",
		"MASS_ADDR": "127.0.0.1:0", "MASS_LOG_LEVEL": "debug", "MASS_AUTH_SECRET": env["MASS_AUTH_SECRET"] + strings.Repeat("s", 32),
	}
	s.see("mass doctor without servers", s.command(env, "", "doctor"))
	s.see("mass migrate without servers", s.command(env, "", "migrate", "status"))
	out, stop := s.process(env, "api")
	base := listening(s.t, out)
	for _, path := range []string{"/health/ready", "/auth/me"} {
		_, raw := try(s.t, http.MethodGet, base+path, "", "mass_1_"+strings.Repeat("a", 40))
		s.see("the answers without servers", string(raw))
	}
	stop()
}

// seeDatabase records everything in the database as visible.
func (s *secrets) seeDatabase(raw string) {
	s.t.Helper()
	db, err := sqlx.Open("postgres", raw)
	require.NoError(s.t, err)
	defer db.Close()
	var tables, rows []string
	require.NoError(s.t, db.SelectContext(s.t.Context(), &tables, `SELECT tablename FROM pg_tables WHERE schemaname = 'public'`))
	require.Contains(s.t, tables, "audit_events")
	for _, table := range tables {
		require.NoError(s.t, db.SelectContext(s.t.Context(), &rows, `SELECT t::text FROM `+pq.QuoteIdentifier(table)+` t`))
		s.see("the database", strings.Join(rows, "\n"))
	}
}

// seeRedis records everything in Redis as visible.
func (s *secrets) seeRedis(raw string) {
	s.t.Helper()
	opt, err := redis.ParseURL(raw)
	require.NoError(s.t, err)
	rdb := redis.NewClient(opt)
	defer rdb.Close()
	keys, err := rdb.Keys(s.t.Context(), "*").Result()
	require.NoError(s.t, err)
	require.NotEmpty(s.t, keys)
	for _, key := range keys {
		s.see("Redis", key)
		for _, read := range [][]any{{"GET", key}, {"HGETALL", key}, {"LRANGE", key, 0, -1}, {"SMEMBERS", key}, {"ZRANGE", key, 0, -1}} {
			if value, err := rdb.Do(s.t.Context(), read...).Result(); err == nil { // of the kind that the key is not
				s.see("Redis", fmt.Sprint(value))
			}
		}
	}
}
