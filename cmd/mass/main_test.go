package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/internal/simulate"
	"github.com/leomutto/pilot-in-a-box/internal/systemtest"
)

// asMass makes the test binary behave as the mass binary, so that tests can
// kill it.
const asMass = "MASS_TEST_RUN_AS_BINARY"

func TestMain(m *testing.M) {
	if os.Getenv(asMass) != "" {
		main()
		os.Exit(0)
	}
	systemtest.Main(m)
}

// output gathers what a command prints while the test reads along.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// patience is how long a test waits for something that must happen.
const patience = systemtest.Patience

// patient holds settings for a slow machine: no time limit in it ends an
// operation that would succeed.
var patient = map[string]string{
	"MASS_ANSWER_TIMEOUT": "5m", "MASS_READ_TIMEOUT": "5m", "MASS_WRITE_TIMEOUT": "10m", "MASS_SHUTDOWN_TIMEOUT": "5m",
	"MASS_DB_CONNECT_TIMEOUT": "30s", "MASS_DB_STATEMENT_TIMEOUT": "5m", "MASS_WEBHOOK_TIMEOUT": "1m",
}

// getenv looks settings up in m, and then in patient.
func getenv(m map[string]string) func(string) string {
	return func(k string) string {
		if v, ok := m[k]; ok {
			return v
		}
		return patient[k]
	}
}

// environment returns the same settings as the environment of a process, in
// which later entries win.
func environment(m map[string]string) []string {
	list := append(os.Environ(), asMass+"=1")
	for _, settings := range []map[string]string{patient, m} {
		for name, value := range settings {
			list = append(list, name+"="+value)
		}
	}
	return list
}

// background runs a subcommand until the returned function is called, which
// waits for its end and returns its error.
func background(t testing.TB, env map[string]string, args ...string) (out *output, stop func() error) {
	t.Helper()
	out = &output{}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, args, getenv(env), out, out) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Logf("mass %v: %v\n%s", args, err, out)
		}
	})
	return out, stop
}

// untilDev waits for dev.json and returns its content.
func untilDev(t *testing.T, dir string, out fmt.Stringer) (info devInfo) {
	t.Helper()
	require.Eventually(t, func() bool {
		raw, err := os.ReadFile(filepath.Join(dir, "dev.json"))
		return err == nil && json.Unmarshal(raw, &info) == nil
	}, patience, 10*time.Millisecond, "%s", out)
	return info
}

type massRequest struct {
	ID     int64           `json:"id"`
	Status string          `json:"status"`
	Result json.RawMessage `json:"result"`
	Error  *string         `json:"error"`
}

func do(t *testing.T, method, url, body string, want int, into any, token ...string) {
	t.Helper()
	status, raw := try(t, method, url, body, token...)
	require.Equal(t, want, status, "%s %s: %s", method, url, raw)
	if into != nil {
		require.NoError(t, json.Unmarshal(raw, into))
	}
}

// try makes a request, with a token when there is one.
func try(t testing.TB, method, url, body string, token ...string) (status int, raw []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	for _, s := range token {
		req.Header.Set("Authorization", "Bearer "+s)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer func() { require.NoError(t, res.Body.Close()) }()
	raw, err = io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, raw
}

func untilFinal(t *testing.T, url string, id int64, token ...string) (r massRequest) {
	t.Helper()
	require.Eventually(t, func() bool {
		do(t, http.MethodGet, fmt.Sprintf("%s/mass-requests/%d", url, id), "", http.StatusOK, &r, token...)
		return r.Status != "pending" && r.Status != "processing"
	}, patience, 5*time.Millisecond, "request %d is not final", id)
	return r
}

// The three commands of production run as processes that share nothing except
// their servers.
func TestAPIAndWorkersTogether(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATABASE_URL": devtest.EmptyDatabase(t), "REDIS_URL": devtest.Redis(t), "MASS_ADDR": "127.0.0.1:0", "MASS_AUTH_SECRET": strings.Repeat("s", 32)}
	var out output
	require.NoError(t, run(t.Context(), []string{"migrate", "status"}, getenv(env), &out, &out))
	assert.Contains(t, out.String(), "pending")
	require.NoError(t, run(t.Context(), []string{"migrate", "up"}, getenv(env), &out, &out))
	require.NoError(t, run(t.Context(), []string{"migrate", "status"}, getenv(env), &out, &out))
	assert.Contains(t, out.String(), "applied 20")

	apiOut, stopAPI := background(t, env, "api")
	_, stopFirst := background(t, env, "worker")
	_, stopSecond := background(t, env, "worker", "--concurrency", "2")
	url := listening(t, apiOut)
	env["MASS_ADDR"] = strings.TrimPrefix(url, "http://")
	require.NoError(t, run(t.Context(), []string{"health"}, getenv(env), &out, &out), out.String())

	var key output
	require.NoError(t, run(t.Context(), []string{"key", "add", "test", "--role", "admin"}, getenv(env), &key, io.Discard))
	token := strings.TrimSpace(key.String())
	do(t, http.MethodGet, url+"/mass-requests/", "", http.StatusUnauthorized, nil)

	var ids []int64
	for i := range 40 {
		var r massRequest
		do(t, http.MethodPost, url+"/mass-requests/", fmt.Sprintf(`{"payload": {"N o": %d}}`, i), http.StatusCreated, &r, token)
		assert.Equal(t, "pending", r.Status)
		ids = append(ids, r.ID)
	}
	for i, id := range ids {
		r := untilFinal(t, url, id, token)
		assert.Equal(t, "done", r.Status)
		assert.JSONEq(t, fmt.Sprintf(`{"normalized": {"n_o": %d}, "warnings": []}`, i), string(r.Result))
	}
	do(t, http.MethodPatch, fmt.Sprintf("%s/mass-requests/%d/status", url, ids[0]), `{"status": "pending"}`, http.StatusOK, nil, token)
	assert.Equal(t, "done", untilFinal(t, url, ids[0], token).Status)
	do(t, http.MethodDelete, fmt.Sprintf("%s/mass-requests/%d", url, ids[0]), "", http.StatusNoContent, nil, token)

	require.NoError(t, stopFirst())
	require.NoError(t, stopSecond())
	require.NoError(t, stopAPI())
	require.Error(t, run(t.Context(), []string{"health"}, getenv(env), &out, &out))
	require.NoError(t, run(t.Context(), []string{"migrate", "down", "--steps", "100"}, getenv(env), &out, &out))
}

// listening returns the API's address, which it finds in the log.
func listening(t testing.TB, out fmt.Stringer) (url string) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, rest, ok := strings.Cut(out.String(), "addr=")
		if ok {
			url = "http://" + strings.Fields(rest)[0]
		}
		return ok
	}, patience, 5*time.Millisecond, "%s", out)
	return url
}

func TestDevShowsItsDemo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := map[string]string{"MASS_DATA_DIR": dir, "MASS_ADDR": "127.0.0.1:0", "DATABASE_URL": devtest.EmptyDatabase(t), "REDIS_URL": devtest.Redis(t)}
	out, stop := background(t, env, "dev", "--demo", "--seed", "7")
	info := untilDev(t, dir, out)
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "Ctrl-C") }, patience, 10*time.Millisecond, "%s", out)
	text := out.String()
	assert.NotContains(t, text, "unexpected")
	for _, want := range []string{"All requests ended", "outcome", "mean PUE", "60 days of both sites", "cooling share", info.URL + "/docs", "curl -s", "Log in as admin@localhost"} {
		assert.Contains(t, text, want)
	}
	stat, err := os.Stat(filepath.Join(dir, "dev.json"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), stat.Mode().Perm())
	assert.Equal(t, os.Getpid(), info.PID)
	require.NoError(t, stop())
	assert.NoFileExists(t, filepath.Join(dir, "dev.json"))
}

// mass dev is killed in the middle of its demo and started again, on its own
// private servers: every accepted request ends.
func TestDevKilledInTheMiddleLosesNothing(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "mass-kill-") // the path must be short enough for a socket
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	start := func() (*exec.Cmd, *output) {
		cmd := exec.Command(os.Args[0], "dev")
		out := &output{}
		cmd.Env = environment(map[string]string{"MASS_DATA_DIR": dir, "MASS_ADDR": "127.0.0.1:0", "DATABASE_URL": "", "REDIS_URL": ""})
		cmd.Stdout, cmd.Stderr = out, out
		require.NoError(t, cmd.Start())
		return cmd, out
	}
	first, out := start()
	info := untilDev(t, dir, out)

	// Clients submit until the process has ended, and record the acknowledged
	// requests.
	submissions := simulate.Day(3, time.Now())
	var mu sync.Mutex
	var accepted []int64
	var wg sync.WaitGroup
	enough := make(chan struct{})
	var once sync.Once
	for c := range 4 {
		wg.Go(func() {
			for i := c; ; i += 4 {
				status, raw := try(t, http.MethodPost, info.URL+"/mass-requests/", string(submissions[i%len(submissions)].Body), info.Token)
				if status == 0 {
					return
				}
				var r massRequest
				if status == http.StatusCreated && json.Unmarshal(raw, &r) == nil {
					mu.Lock()
					accepted = append(accepted, r.ID)
					if len(accepted) == 300 {
						once.Do(func() { close(enough) })
					}
					mu.Unlock()
				}
			}
		})
	}
	<-enough
	require.NoError(t, first.Process.Kill())
	_ = first.Wait() // it was killed
	wg.Wait()
	require.NoError(t, os.Remove(filepath.Join(dir, "dev.json")))

	second, out := start()
	info = untilDev(t, dir, out)
	for _, id := range accepted {
		r := untilFinal(t, info.URL, id, info.Token)
		assert.Contains(t, []string{"done", "failed"}, r.Status)
	}
	require.NoError(t, second.Process.Signal(syscall.SIGTERM))
	require.NoError(t, second.Wait(), "%s", out)
}

func TestASecondDevIsRefusedAndHarmsNothing(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "mass-second-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	env := map[string]string{"MASS_DATA_DIR": dir, "MASS_ADDR": "127.0.0.1:0"}
	out, stop := background(t, env, "dev")
	info := untilDev(t, dir, out)
	before, err := os.ReadFile(filepath.Join(dir, "mass.log"))
	require.NoError(t, err)

	var second output
	err = run(t.Context(), []string{"dev"}, getenv(env), &second, &second)
	require.ErrorContains(t, err, "is in use by")
	after, err := os.ReadFile(filepath.Join(dir, "mass.log"))
	require.NoError(t, err)
	assert.True(t, bytes.HasPrefix(after, before), "the log of the first goes on")
	assert.FileExists(t, filepath.Join(dir, "dev.json"))

	elsewhere := t.TempDir()
	taken := strings.TrimPrefix(info.URL, "http://localhost")
	env = map[string]string{"MASS_DATA_DIR": elsewhere, "MASS_ADDR": "127.0.0.1" + taken, "DATABASE_URL": devtest.EmptyDatabase(t), "REDIS_URL": devtest.Redis(t)}
	err = run(t.Context(), []string{"dev"}, getenv(env), &second, &second)
	require.ErrorContains(t, err, "is already in use")
	require.NoError(t, stop())
}

func TestMistakesAreToldPlainly(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		env  map[string]string
		want string
	}{
		"unknown subcommand": {args: []string{"serve"}, want: `unknown subcommand "serve"`},
		"nothing set":        {args: []string{"worker"}, want: "DATABASE_URL is not set\nREDIS_URL is not set"},
		"bad redis":          {args: []string{"api"}, env: map[string]string{"DATABASE_URL": "postgres://x", "REDIS_URL": "http://secret", "MASS_AUTH": "off", "MASS_ADDR": "127.0.0.1:0"}, want: "must begin with redis://"},
		"bad database":       {args: []string{"api"}, env: map[string]string{"DATABASE_URL": "mysql://secret", "REDIS_URL": "redis://x:1", "MASS_AUTH": "off", "MASS_ADDR": "127.0.0.1:0"}, want: "postgres://user:password@host:port/name"},
		"migrate where":      {args: []string{"migrate", "sideways"}, env: map[string]string{"DATABASE_URL": "postgres://x"}, want: `want up, down or status, not "sideways"`},
		"migrate nowhere":    {args: []string{"migrate"}, env: map[string]string{"DATABASE_URL": "postgres://x"}, want: "want up, down or status"},
		"no steps":           {args: []string{"migrate", "down", "--steps=0"}, env: map[string]string{"DATABASE_URL": "postgres://x"}, want: "at least 1"},
		"nobody there":       {args: []string{"health", "--url", "http://127.0.0.1:1/health"}, want: "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out output
			err := run(t.Context(), c.args, getenv(c.env), &out, &out)
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), "secret")
		})
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	var out output
	require.NoError(t, run(t.Context(), nil, getenv(nil), &out, &out))
	for _, c := range commands() {
		assert.Contains(t, out.String(), c.name)
		if c.name == "version" {
			continue
		}
		var help output
		require.NoError(t, run(t.Context(), []string{c.name, "--help"}, getenv(nil), &help, &help), c.name)
		assert.NotEmpty(t, help.String())
	}
	require.NoError(t, run(t.Context(), []string{"version"}, getenv(nil), &out, &out))
	assert.Contains(t, out.String(), "mass ")
}
