package worker

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/leomutto/pilot-in-a-box/internal/systemtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
)

// waiting is a system with many rows waiting, a live task for each batch,
// and a leader that nobody helps.
type waiting struct {
	*reconciler
	db *sqlx.DB
}

func manyWaiting(b *testing.B, rows, batch int) waiting {
	b.Helper()
	s, _ := systemtest.NewPrivate(b)
	st, db, rdb := s.Store, s.DB, s.Redis
	_, err := db.ExecContext(b.Context(), `
        INSERT INTO mass_requests (batch_id, payload, schema_version)
        SELECT 1 + n / $2::int, jsonb_build_object('n', n, 'text', repeat('x', 1000)), '1.0-simple' FROM generate_series(0, $1 - 1) n`, rows, batch)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := db.ExecContext(b.Context(), `SELECT setval('mass_batches', (SELECT max(batch_id) FROM mass_requests))`); err != nil {
		b.Fatal(err)
	}
	if _, err := db.ExecContext(b.Context(), `VACUUM ANALYZE mass_requests`); err != nil {
		b.Fatal(err)
	}
	enq := jobs.NewEnqueuer(rdb, 0)
	for id := range int64(rows / batch) {
		if err := enq.Enqueue(b.Context(), jobs.Batch{ID: id + 1, Priority: jobs.Default}); err != nil {
			b.Fatal(err)
		}
	}
	return waiting{db: db, reconciler: &reconciler{
		store: st, redis: rdb, enqueuer: enq, batchMax: 64, log: slog.New(slog.DiscardHandler),
		config: ReconcileConfig{Interval: time.Second, Grace: 0, SilentAfter: 5 * time.Second, Step: 500, MaxRescues: 10},
		seen:   map[int64]sighting{}, stuck: map[int64]time.Time{},
	}}
}

// cost is the processor time that the leader, its Postgres backends and Redis
// have used so far, and the statements that Postgres has run.
type cost struct {
	self, postgres, redis time.Duration
	transactions          int64
}

func (w waiting) cost(b *testing.B) (c cost) {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	c.self = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	var pids []int
	err := w.db.SelectContext(b.Context(), &pids, `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	if err != nil {
		b.Fatal(err)
	}
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			b.Skip("this machine has no /proc, and so no figure for Postgres")
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		for _, f := range fields[11:13] { // utime and stime, in hundredths of a second
			n, err := strconv.Atoi(f)
			if err != nil {
				b.Fatal(err)
			}
			c.postgres += time.Duration(n) * 10 * time.Millisecond
		}
	}
	info, err := w.redis.Info(b.Context(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_user" || name == "used_cpu_sys" {
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil {
				b.Fatal(err)
			}
			c.redis += time.Duration(seconds * float64(time.Second))
		}
	}
	err = w.db.GetContext(b.Context(), &c.transactions, `SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()`)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// BenchmarkReconcilerAtRest measures what the leader costs while a million rows
// wait and nothing is wrong: one look a second, as configured by default.
//
//	go test ./worker -run '^$' -bench ReconcilerAtRest -benchtime 20x
func BenchmarkReconcilerAtRest(b *testing.B) {
	w := manyWaiting(b, 1_000_000, 64)
	if err := w.look(b.Context(), time.Now()); err != nil {
		b.Fatal(err)
	}
	before, started := w.cost(b), time.Now()
	tick := time.NewTicker(w.config.Interval)
	defer tick.Stop()
	b.ResetTimer()
	for b.Loop() {
		if err := w.look(b.Context(), time.Now()); err != nil {
			b.Fatal(err)
		}
		<-tick.C
	}
	after, elapsed := w.cost(b), time.Since(started)
	share := func(d time.Duration) float64 { return 100 * d.Seconds() / elapsed.Seconds() }
	b.ReportMetric(share(after.self-before.self), "leader-%core")
	b.ReportMetric(share(after.postgres-before.postgres), "postgres-%core")
	b.ReportMetric(share(after.redis-before.redis), "redis-%core")
	b.ReportMetric(float64(after.transactions-before.transactions)/elapsed.Seconds(), "queries/s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkReconcilerAfterFlush measures how long the leader takes to enqueue
// 100,000 waiting rows again after a FLUSHALL, from its next look on.
//
//	go test ./worker -run '^$' -bench ReconcilerAfterFlush -benchtime 3x
func BenchmarkReconcilerAfterFlush(b *testing.B) {
	const rows = 100_000
	for _, batch := range []int{50, 1} { // as under load, and the worst there is
		b.Run(fmt.Sprintf("batches of %d", batch), func(b *testing.B) {
			w := manyWaiting(b, rows, batch)
			b.ResetTimer()
			for b.Loop() {
				if err := w.redis.FlushAll(b.Context()).Err(); err != nil {
					b.Fatal(err)
				}
				for w.queued(b.Context()) < int64(rows/batch) {
					if err := w.look(b.Context(), time.Now()); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func (w waiting) queued(ctx context.Context) int64 {
	return w.redis.LLen(ctx, "asynq:{default}:pending").Val()
}
