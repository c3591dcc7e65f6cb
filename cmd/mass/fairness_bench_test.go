package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
	"github.com/leomutto/pilot-in-a-box/migrations"
)

// BenchmarkFairness measures how long a small caller waits for the end of each
// of its requests, one after the other: alone, and while 100,000 requests of
// another caller wait and run. API, worker and clients share this process, and
// the servers are as durable as in production.
//
//	go test ./cmd/mass -run '^$' -bench Fairness -benchtime 1x -timeout 20m
func BenchmarkFairness(b *testing.B) {
	const (
		crowd = 100_000
		small = 500
	)
	for b.Loop() {
		stack, err := devstack.Start(b.Context(), devstack.Options{DataDir: b.TempDir()})
		require.NoError(b, err)
		_, err = migrations.Up(b.Context(), stack.DatabaseURL())
		require.NoError(b, err)
		env := map[string]string{
			"DATABASE_URL": stack.DatabaseURL(), "REDIS_URL": stack.RedisURL(), "MASS_ADDR": "127.0.0.1:0", "MASS_LOG_LEVEL": "info",
			"MASS_AUTH_SECRET": strings.Repeat("fairness", 8),
		}
		out, stopAPI := background(b, env, "api")
		url := listening(b, out)
		_, stopWorker := background(b, env, "worker")
		flood, caller := benchKey(b, env, "flood"), benchKey(b, env, "small")

		alone := waits(b, url, caller, func(n int) bool { return n < small })
		require.NoError(b, stopWorker()) // so that all requests of the large caller are waiting when the worker starts again
		var line bytes.Buffer
		require.NoError(b, json.Compact(&line, []byte(signals.Example())))
		body := strings.Repeat(fmt.Sprintf("{\"payload\":%s}\n", &line), crowd/10)
		for range 10 {
			submitLines(b, url, flood, body)
		}
		_, stopWorker = background(b, env, "worker")
		before := pendingOf(b, stack.DatabaseURL())
		require.Greater(b, before, crowd/2)
		beside := waits(b, url, caller, func(int) bool { return pendingOf(b, stack.DatabaseURL()) > 1000 })
		for name, list := range map[string][]time.Duration{"alone": alone, "beside": beside} {
			for _, p := range []int{50, 99} {
				b.ReportMetric(float64(list[len(list)*p/100].Microseconds())/1000, fmt.Sprintf("%s-p%d-ms", name, p))
			}
		}
		b.ReportMetric(float64(before), "crowd")
		b.ReportMetric(float64(len(beside)), "beside-n")
		require.NoError(b, stopWorker())
		require.NoError(b, stopAPI())
		require.NoError(b, stack.Close(b.Context()))
	}
	b.ReportMetric(0, "ns/op")
}

func benchKey(b *testing.B, env map[string]string, name string) string {
	b.Helper()
	var out, errs output
	require.NoError(b, run(b.Context(), []string{"key", "add", name, "--role", "operator"}, getenv(env), &out, &errs))
	return strings.TrimSpace(out.String())
}

// waits submits requests one after the other while more returns true. It
// returns the sorted times from submission to the end of each request, as the
// client saw them.
func waits(b *testing.B, url, token string, more func(n int) bool) (list []time.Duration) {
	b.Helper()
	body := fmt.Sprintf(`{"payload":%s}`, signals.Example())
	for more(len(list)) {
		var r massRequest
		started := time.Now()
		status, raw := try(b, http.MethodPost, url+"/mass-requests/", body, token)
		require.Equal(b, http.StatusCreated, status, string(raw))
		require.NoError(b, json.Unmarshal(raw, &r))
		status, raw = try(b, http.MethodGet, fmt.Sprintf("%s/mass-requests/%d?wait=60s", url, r.ID), "", token)
		list = append(list, time.Since(started))
		require.Equal(b, http.StatusOK, status, string(raw))
		require.NoError(b, json.Unmarshal(raw, &r))
		require.Equal(b, "done", r.Status)
	}
	slices.Sort(list)
	return list
}

func submitLines(b *testing.B, url, token, body string) {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url+"/mass-requests/batch", strings.NewReader(body))
	require.NoError(b, err)
	req.Header.Set("Content-Type", "application/x-ndjson")
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(b, err)
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(b, err)
	require.Equal(b, http.StatusOK, resp.StatusCode)
}

func pendingOf(b *testing.B, url string) (n int) {
	b.Helper()
	db, err := sqlx.Connect("postgres", url)
	require.NoError(b, err)
	defer db.Close()
	require.NoError(b, db.Get(&n, `SELECT count(*) FROM mass_requests WHERE status = 'pending'`))
	return n
}
