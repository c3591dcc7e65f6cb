package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/devstack"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
	"github.com/leomutto/pilot-in-a-box/migrations"
)

// BenchmarkSubmitToDone measures an otherwise idle system, one request at a
// time: from the start of POST until a client that polls every millisecond sees
// `done`, and from the row's created_at to its finished_at. The servers are
// private and as durable as in production (fsync on). API and worker share this
// process.
//
//	go test ./cmd/mass -run '^$' -bench SubmitToDone -benchtime 500x
func BenchmarkSubmitToDone(b *testing.B) {
	dir, err := os.MkdirTemp("", "mass-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	stack, err := devstack.Start(b.Context(), devstack.Options{DataDir: dir})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = stack.Close(b.Context()) })
	if _, err := migrations.Up(b.Context(), stack.DatabaseURL()); err != nil {
		b.Fatal(err)
	}
	env := map[string]string{"DATABASE_URL": stack.DatabaseURL(), "REDIS_URL": stack.RedisURL(), "MASS_ADDR": "127.0.0.1:0", "MASS_AUTH": "off", "MASS_LOG_LEVEL": "info"}
	out, stopAPI := background(b, env, "api")
	_, stopWorker := background(b, env, "worker")
	url := listening(b, out)
	body := fmt.Sprintf(`{"payload": %s}`, signals.Example())

	var seen, stored []time.Duration
	for b.Loop() {
		var r struct {
			ID         int64     `json:"id"`
			Status     string    `json:"status"`
			CreatedAt  time.Time `json:"created_at"`
			FinishedAt time.Time `json:"finished_at"`
		}
		started := time.Now()
		status, raw := try(b, http.MethodPost, url+"/mass-requests/", body)
		for status == http.StatusCreated || status == http.StatusOK {
			if err := json.Unmarshal(raw, &r); err != nil {
				b.Fatal(err)
			}
			if r.Status == "done" {
				break
			}
			time.Sleep(time.Millisecond)
			status, raw = try(b, http.MethodGet, fmt.Sprintf("%s/mass-requests/%d", url, r.ID), "")
		}
		if r.Status != "done" {
			b.Fatalf("status %d: %s", status, strings.TrimSpace(string(raw)))
		}
		seen = append(seen, time.Since(started))
		stored = append(stored, r.FinishedAt.Sub(r.CreatedAt))
	}
	b.StopTimer()
	for name, list := range map[string][]time.Duration{"client": seen, "rows": stored} {
		slices.Sort(list)
		for _, p := range []int{50, 99} {
			b.ReportMetric(float64(list[len(list)*p/100].Microseconds())/1000, fmt.Sprintf("%s-p%d-ms", name, p))
		}
	}
	b.ReportMetric(0, "ns/op")
	if err := stopWorker(); err != nil {
		b.Error(err)
	}
	if err := stopAPI(); err != nil {
		b.Error(err)
	}
}
