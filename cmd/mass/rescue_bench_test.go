package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/leomutto/pilot-in-a-box/internal/systemtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
	"github.com/leomutto/pilot-in-a-box/store"
)

// BenchmarkRescue measures how long the requests of a killed worker (one of
// two, killed with SIGKILL under load) wait until another worker has taken all
// of them. An iteration is one kill; the killed worker is then replaced.
//
//	go test ./cmd/mass -run '^$' -bench Rescue -benchtime 20x -timeout 30m
func BenchmarkRescue(b *testing.B) {
	s, _ := systemtest.NewPrivate(b)
	st, db, rdb := s.Store, s.DB, s.Redis

	start := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0], "worker")
		cmd.Env = append(os.Environ(), asMass+"=1", "DATABASE_URL="+s.DatabaseURL, "REDIS_URL="+s.RedisURL, "MASS_LOG_LEVEL=error")
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		return cmd
	}
	load, stop := context.WithCancel(b.Context())
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		keepLoaded(load, st, queue.NewEnqueuer(rdb, 0))
	}()
	b.Cleanup(func() {
		stop()
		<-loaded
	})

	start()
	var longest time.Duration
	var rescued int
	for b.Loop() {
		victim := start()
		untilHolding(b, db, victim.Process.Pid)
		if err := victim.Process.Kill(); err != nil {
			b.Fatal(err)
		}
		killed := time.Now()
		_ = victim.Wait()
		held := heldBy(b, db, victim.Process.Pid)
		if len(held) == 0 {
			continue // the worker was between two batches
		}
		for {
			var left int
			err := db.GetContext(b.Context(), &left, `
                SELECT count(*) FROM mass_requests r, unnest($1::bigint[]) AS h(id)
                WHERE r.id = h.id AND r.attempt < 2`, pq.Int64Array(held))
			if err != nil {
				b.Fatal(err)
			}
			if left == 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		longest = max(longest, time.Since(killed))
		rescued += len(held)
	}
	b.ReportMetric(longest.Seconds(), "max-s")
	b.ReportMetric(float64(rescued)/float64(b.N), "requests/kill")
}

// keepLoaded submits signals requests as fast as a bounded backlog allows.
func keepLoaded(ctx context.Context, st *store.Store, enq *queue.Enqueuer) {
	items := make([]store.NewRequest, 512)
	for i := range items {
		items[i] = store.NewRequest{Payload: json.RawMessage(signals.Example()), SchemaVersion: "1.1", Priority: jobs.Default, Group: i / 64}
	}
	for ctx.Err() == nil {
		if n, err := st.CountPending(ctx, 5000); err != nil || n >= 5000 {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		rows, err := st.InsertRequests(ctx, items)
		if err != nil {
			continue
		}
		seen := map[int64]bool{}
		for _, r := range rows {
			if !seen[r.BatchID] {
				seen[r.BatchID] = true
				_ = enq.Enqueue(ctx, jobs.Batch{ID: r.BatchID, Priority: jobs.Default}) // the reconciler enqueues the batches that fail here
			}
		}
	}
}

// heldBy lists the requests that the worker process has claimed.
func heldBy(b *testing.B, db *sqlx.DB, pid int) []int64 {
	b.Helper()
	var held []int64
	err := db.SelectContext(b.Context(), &held, `
        SELECT r.id FROM mass_requests r JOIN mass_workers w ON w.id = r.claimed_by
        WHERE w.pid = $1 AND r.status = 'processing' AND r.attempt = 1`, pid)
	if err != nil {
		b.Fatal(err)
	}
	return held
}

func untilHolding(b *testing.B, db *sqlx.DB, pid int) {
	b.Helper()
	for len(heldBy(b, db, pid)) == 0 {
		time.Sleep(time.Millisecond)
	}
}
