package leader

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

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/migrations"
	"github.com/leomutto/pilot-in-a-box/store"
)

// waiting is a system with many rows waiting, a live task for each batch, and
// the duties of a leader, without any worker.
type waiting struct {
	dutyBase
	duties dutyList
	db     *sqlx.DB
}

// round runs all duties once. Any error ends the benchmark.
func (w waiting) round(b *testing.B) {
	b.Helper()
	now := time.Now()
	for _, d := range w.duties {
		if err := d.run(b.Context(), now); err != nil {
			b.Fatal(err)
		}
	}
}

func manyWaiting(b *testing.B, rows, batch int) waiting {
	b.Helper()
	stack := devtest.Private(b)
	if _, err := migrations.Up(b.Context(), stack.DatabaseURL()); err != nil {
		b.Fatal(err)
	}
	st, err := store.Open(store.Config{URL: stack.DatabaseURL(), MaxOpen: 2, MaxIdle: 2, ConnectTimeout: 5 * time.Second})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = st.Close() })
	db, err := sqlx.Open("postgres", stack.DatabaseURL())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	opt, err := queue.ParseRedisURL(stack.RedisURL())
	if err != nil {
		b.Fatal(err)
	}
	rdb, err := queue.Dial(opt)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = rdb.Close() })
	_, err = db.ExecContext(b.Context(), `
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
	enq := queue.NewEnqueuer(rdb, 0)
	for id := range int64(rows / batch) {
		if err := enq.Enqueue(b.Context(), jobs.Batch{ID: id + 1, Priority: jobs.Default}); err != nil {
			b.Fatal(err)
		}
	}
	work := dutyBase{
		store: st, redis: rdb, enqueuer: enq, log: slog.New(slog.DiscardHandler),
		config: Config{Interval: time.Second, SilentAfter: 5 * time.Second, Step: 500, MaxRescues: 10, BatchMax: 64},
	}
	return waiting{dutyBase: work, duties: newDutyList(dutyTable, work), db: db}
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

// BenchmarkLeaderAtRest measures what the leader costs while a million rows
// wait and nothing is wrong: one round per second, as configured by default.
//
//	go test ./worker/leader -run '^$' -bench LeaderAtRest -benchtime 20x
func BenchmarkLeaderAtRest(b *testing.B) {
	w := manyWaiting(b, 1_000_000, 64)
	w.round(b)
	before, started := w.cost(b), time.Now()
	tick := time.NewTicker(w.config.Interval)
	defer tick.Stop()
	b.ResetTimer()
	for b.Loop() {
		w.round(b)
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

// BenchmarkLeaderAfterFlush measures how long the leader takes to enqueue
// 100,000 waiting rows again after a FLUSHALL, from its next round on.
//
//	go test ./worker/leader -run '^$' -bench LeaderAfterFlush -benchtime 3x
func BenchmarkLeaderAfterFlush(b *testing.B) {
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
					w.round(b)
				}
			}
		})
	}
}

func (w waiting) queued(ctx context.Context) int64 {
	return w.redis.LLen(ctx, "asynq:{default}:pending").Val()
}
