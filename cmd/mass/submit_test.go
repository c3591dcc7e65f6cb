package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
)

// target is a running API with a worker, and a look into its database.
type target struct {
	t   *testing.T
	url string
	db  *sqlx.DB
}

func newTarget(t *testing.T, worker bool) *target {
	t.Helper()
	env := map[string]string{"DATABASE_URL": devtest.Database(t), "REDIS_URL": devtest.Redis(t), "MASS_ADDR": "127.0.0.1:0", "MASS_AUTH": "off"}
	out, _ := background(t, env, "api")
	if worker {
		background(t, env, "worker")
	}
	db, err := sqlx.Open("postgres", env["DATABASE_URL"])
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return &target{t: t, url: listening(t, out), db: db}
}

func (g *target) stored() (n int) {
	g.t.Helper()
	require.NoError(g.t, g.db.GetContext(g.t.Context(), &n, `SELECT count(*) FROM mass_requests`))
	return n
}

// submit runs mass submit against the target.
func (g *target) submit(ctx context.Context, args ...string) (out, errs string, err error) {
	var stdout, stderr output
	err = run(ctx, append([]string{"submit", "--url", g.url}, args...), getenv(nil), &stdout, &stderr)
	return stdout.String(), stderr.String(), err
}

func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func manyLines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"payload\":{\"n\":%d}}\n", i)
	}
	return b.String()
}

// summaryFigures returns the numbers below the header of the summary.
func summaryFigures(t *testing.T, out string) string {
	t.Helper()
	_, rest, ok := strings.Cut(out, "not sent")
	require.True(t, ok, out)
	line := strings.Split(rest, "\n")[1]
	return strings.Join(strings.Fields(line), " ")
}

func TestSubmitCSVAndWait(t *testing.T) {
	t.Parallel()
	g := newTarget(t, true)
	path := file(t, "site.csv", `site_id,start_utc,end_utc,it_load_kw,facility_power_kw,no_control_actions
oslo-1,2026-03-01T10:00:00Z,2026-03-01T11:00:00Z,800,1000,true
oslo-1,2026-03-01T11:00:00Z,2026-03-01T12:00:00Z,"8,5",1000,true
oslo-1,2026-03-01T12:00:00Z,2026-03-01T13:00:00Z,800,700,true
oslo-1,2026-03-01T13:00:00Z
oslo-1,2026-03-01T14:00:00Z,2026-03-01T15:00:00Z,820,1010,true
`)
	refused := filepath.Join(t.TempDir(), "refused.ndjson")
	out, errs, err := g.submit(t.Context(), path, "--wait", "--refused", refused)
	require.ErrorContains(t, err, "2 of 5 items were refused", out)
	assert.Equal(t, "5 3 0 2 0", summaryFigures(t, out))
	assert.Contains(t, errs, "line 3: /payload/request/signals/energy/it_load_kw must be a number")
	assert.Contains(t, errs, "line 5: the record has 2 values, but the header has 6")
	assert.Regexp(t, `done\s+2`, out)
	assert.Regexp(t, `failed\s+1`, out)
	raw, err := os.ReadFile(refused)
	require.NoError(t, err)
	var lines []int
	for in := bufio.NewScanner(bytes.NewReader(raw)); in.Scan(); {
		var r struct{ Line int }
		require.NoError(t, json.Unmarshal(in.Bytes(), &r))
		lines = append(lines, r.Line)
	}
	assert.ElementsMatch(t, []int{3, 5}, lines)
	var pue float64
	require.NoError(t, g.db.Get(&pue, `SELECT (result->'derived'->>'pue')::float8 FROM mass_requests WHERE status = 'done' ORDER BY id LIMIT 1`))
	assert.InDelta(t, 1.25, pue, 1e-9)
}

// mass submit is interrupted after the first chunk and run again: every item is
// stored exactly once.
func TestSubmitResumes(t *testing.T) {
	t.Parallel()
	g := newTarget(t, false)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	api, err := url.Parse(g.url)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(api)
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	calls := 0
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls++; calls == 2 { // the second chunk reaches the API, but the answer is lost
			r = r.WithContext(context.WithoutCancel(r.Context()))
			proxy.ServeHTTP(httptest.NewRecorder(), r)
			interrupt()
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	path := file(t, "many.ndjson", manyLines(1000))
	direct := g.url
	g.url = front.URL
	out, _, err := g.submit(ctx, "--chunk", "100", path)
	require.ErrorContains(t, err, "interrupted: run the same command again within 24 hours to continue")
	assert.Equal(t, "1000 100 0 0 900", summaryFigures(t, out))
	assert.Equal(t, 200, g.stored())

	g.url = direct
	out, _, err = g.submit(t.Context(), "--chunk", "100", path)
	require.NoError(t, err, out)
	assert.Equal(t, "1000 800 200 0 0", summaryFigures(t, out))
	assert.Equal(t, 1000, g.stored())
	var twice int
	require.NoError(t, g.db.Get(&twice, `SELECT count(*) FROM (SELECT payload FROM mass_requests_jsonb GROUP BY payload HAVING count(*) > 1) d`))
	assert.Zero(t, twice)
}

func TestSubmitArrayFromStandardInput(t *testing.T) {
	t.Parallel()
	g := newTarget(t, false)
	var out output
	in := invocation{
		args: []string{"-", "--url", g.url}, getenv: getenv(nil), stdout: &out, stderr: &out,
		stdin: strings.NewReader("[" + strings.TrimSuffix(strings.ReplaceAll(manyLines(6000), "\n", ","), ",") + "]"),
	}
	require.NoError(t, runSubmit(t.Context(), in), &out)
	assert.Contains(t, out.String(), "5000 submitted")
	assert.Equal(t, "6000 6000 0 0 0", summaryFigures(t, out.String()))
	assert.Equal(t, 6000, g.stored())
}

func TestSubmitFindsMassDev(t *testing.T) {
	t.Parallel()
	g := newTarget(t, false)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "dev.json"), fmt.Appendf(nil, `{"url":%q}`, g.url), 0o600))
	var out output
	require.NoError(t, run(t.Context(), []string{"submit", file(t, "a.ndjson", manyLines(3))}, getenv(map[string]string{"MASS_DATA_DIR": dir}), &out, &out), &out)
	assert.Contains(t, out.String(), g.url)
	require.NoError(t, run(t.Context(), []string{"submit", file(t, "b.ndjson", manyLines(3))}, getenv(map[string]string{"MASS_URL": g.url}), &out, &out), &out)
	assert.Equal(t, 6, g.stored())
}

func TestSubmitMistakes(t *testing.T) {
	t.Parallel()
	csv := file(t, "a.csv", "site_id,it_load\nx,1\n")
	broken := file(t, "a.json", "[{}\n,{]")
	good := file(t, "a.ndjson", "{}\n")
	for want, args := range map[string][]string{
		"the name of one file": {},
		"--comma":              {good, "--comma", ""},
		"no such file":         {"/nowhere"},
		"cannot be read, and nothing was sent: column": {csv},
		"and nothing was sent: line 2":                 {broken},
		"unknown format":                               {good, "--format", "xml"},
		"not defined: -x":                              {good, "-x"},
		"1 to 10000 items":                             {good, "--chunk", "20000"},
		"gave up after 1ms":                            {good, "--timeout", "1ms"},
		"--refused: no such directory":                 nil,
		"mass submit: want the name of one file, or ":  {good, csv},
	} {
		if args == nil {
			want, args = "no such file or directory", []string{good, "--refused", "/nowhere/x"}
		}
		var out output
		err := run(t.Context(), append([]string{"submit", "--url", "http://127.0.0.1:1"}, args...), getenv(nil), &out, &out)
		require.ErrorContains(t, err, want)
	}
}
