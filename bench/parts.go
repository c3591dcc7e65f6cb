package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/leomutto/pilot-in-a-box/internal/simulate"
)

// bench is one run: the contestants take turns in each part of each round.
type bench struct {
	options
	machine  *machine
	services []*service // those that were asked for
	self     string
	samples  []sample
	round    int
}

// part is one thing that is measured.
type part struct {
	name, help string
	run        func(b *bench, ctx context.Context) error
}

func parts() []part {
	return []part{
		{"post", "accepted requests/s and latency of POST, workers stopped, beside pgbench", (*bench).post},
		{"busy", "the same at 64 connections with one worker running", (*bench).busy},
		{"auth", "POST with tokens beside POST without", (*bench).auth},
		{"done", "submit → done requests/s, 1 and 2 workers", (*bench).done},
		{"latency", "submit → done latency at fixed rates", (*bench).latency},
		{"drain", "requests/s with a backlog, and rows/s of the batches that made it", (*bench).drain},
		{"empty", "empty jobs/s of River", (*bench).empty},
		{"idle", "processor time of idle processes", (*bench).idle},
	}
}

// bodies are the submissions that all contestants get: a day of simulated signals of about 1.7 KB each.
var bodies = sync.OnceValue(func() [][]byte {
	var list [][]byte
	for _, s := range simulate.Day(1, time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)) {
		if s.Expect == simulate.Done && strings.HasPrefix(string(s.Body), `{"payload":{`) && len(s.Body) > 1000 {
			list = append(list, s.Body)
		}
	}
	return list
})

// firstPayload is the payload of the first of bodies.
func firstPayload() (string, error) {
	var s submission
	err := json.Unmarshal(bodies()[0], &s)
	return string(s.Payload), err
}

// turns calls f for each service in an order that changes with the round: nobody is always the first. A quick run leaves
// out those of which no goal wants a figure of this part.
func (b *bench) turns(part string, f func(*service) error) error {
	order := slices.Clone(b.services)
	if b.quick {
		order = slices.DeleteFunc(order, func(s *service) bool { return !promised(part, s.name) })
	}
	for range b.round % max(1, len(order)) {
		order = append(order[1:], order[0])
	}
	for _, s := range order {
		if err := f(s); err != nil {
			return err
		}
	}
	return nil
}

// with runs f on a session of the service.
func (b *bench) with(ctx context.Context, s *service, f func(*session) error) error {
	t, err := s.open(ctx, b.machine, b.environment(s)...)
	if err != nil {
		return err
	}
	return errors.Join(f(t), t.close(ctx))
}

func (b *bench) environment(s *service) []string {
	if strings.HasPrefix(s.name, "mass") {
		return b.massEnv
	}
	return nil
}

func (b *bench) add(part, contestant, c string, values map[string]float64) {
	s := sample{Part: part, Contestant: contestant, Case: c, Round: b.round, Values: values}
	b.samples = append(b.samples, s)
	fmt.Fprintln(b.out, s)
}

// wants reports whether a contestant that is no service was asked for.
func (b *bench) wants(name string) bool {
	return len(b.contestants) == 0 || slices.Contains(b.contestants, name)
}

func (b *bench) post(ctx context.Context) error {
	for _, conns := range b.conns {
		if b.wants("pgbench") {
			if err := b.pgbench(ctx, conns); err != nil {
				return err
			}
		}
		err := b.turns("post", func(s *service) error {
			return b.with(ctx, s, func(t *session) error { return b.measurePost(ctx, t, "post", conns) })
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) busy(ctx context.Context) error {
	return b.turns("busy", func(s *service) error {
		return b.with(ctx, s, func(t *session) error {
			if err := b.ready(ctx, t, 1); err != nil {
				return err
			}
			return b.measurePost(ctx, t, "busy", 64)
		})
	})
}

// auth measures both forms in turns, whichever services were asked for.
func (b *bench) auth(ctx context.Context) error {
	pair := []*service{massService(b.binary, false), massService(b.binary, true)}
	if b.round%2 == 1 {
		slices.Reverse(pair)
	}
	for _, s := range pair {
		err := b.with(ctx, s, func(t *session) error { return b.measurePost(ctx, t, "auth", 64) })
		if err != nil {
			return err
		}
	}
	return nil
}

// measurePost runs a closed loop of POST and checks what was stored.
func (b *bench) measurePost(ctx context.Context, t *session, part string, conns int) error {
	before, err := t.tableBytes(ctx)
	if err != nil {
		return err
	}
	memory := b.machine.redisMemory(ctx)
	load, used, err := b.load(ctx, t, conns, b.duration/4, nil)
	if err != nil {
		return err
	}
	values := map[string]float64{
		"rate": load.rate(), "p50_ms": ms(load.latency.quantile(0.5)), "p99_ms": ms(load.latency.quantile(0.99)),
		"errors": float64(load.errors),
	}
	used.addTo(values, load.measured)
	if part == "post" {
		if err := t.awaitQueued(ctx); err != nil {
			return err
		}
		after, err := t.tableBytes(ctx)
		if err != nil {
			return err
		}
		values["redis_bytes"] = (b.machine.redisMemory(ctx) - memory) / float64(load.accepted)
		values["postgres_bytes"] = (after - before) / float64(load.accepted)
	}
	b.add(part, t.name, fmt.Sprintf("conns=%d", conns), values)
	return t.verify(ctx, len(t.workers) > 0)
}

// usage is what the measured part of a load took, by side.
type usage struct {
	cpu       map[string]time.Duration
	allocated map[string]int64 // bytes
}

// addTo adds what was used a request.
func (u usage) addTo(values map[string]float64, n int64) {
	costs(values, u.cpu, n)
	for name, allocated := range u.allocated {
		values["alloc_kb_"+name] = float64(allocated) / 1000 / float64(n)
	}
}

// load keeps connections busy and returns, beside the result, what was used in the measured part of it.
func (b *bench) load(ctx context.Context, t *session, conns int, warm time.Duration, g *gate) (*loadResult, usage, error) {
	var before map[string]time.Duration
	var logs map[*child]int64
	stop := func() {}
	r := closedLoop(ctx, t.addr, t.requests(), conns, warm, b.duration, g, func() {
		before, logs = t.cpu(), t.logSizes()
		stop = b.profile(t)
	})
	cpu, grown := t.cpu(), t.logSizes()
	stop()
	for name := range cpu {
		cpu[name] -= before[name]
	}
	t.accepted += r.accepted
	if r.errors > 0 {
		return nil, usage{}, fmt.Errorf("%s: %d requests failed, the first with: %w%s", t.name, r.errors, r.firstErr, t.logTail("api"))
	}
	if r.measured == 0 {
		return nil, usage{}, fmt.Errorf("%s: nothing was accepted in the measured time", t.name)
	}
	return r, usage{cpu, t.allocated(logs, grown)}, ctx.Err()
}

// costs adds the processor time a request, in microseconds, of each side.
func costs(values map[string]float64, cpu map[string]time.Duration, n int64) {
	for name, d := range cpu {
		values["cpu_us_"+name] = float64(d.Microseconds()) / float64(n)
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// ready starts n workers and waits until a first request was worked off.
func (b *bench) ready(ctx context.Context, t *session, n int) error {
	if err := t.startWorkers(n); err != nil {
		return err
	}
	c := &client{addr: t.addr}
	defer c.close()
	var r loadResult
	if !r.add(c.do(t.requests()[0])) {
		return fmt.Errorf("%s: the first request: %w", t.name, r.firstErr)
	}
	t.accepted++
	return t.awaitIdle(ctx, 30*time.Second)
}

// bound is how many requests may wait while throughput is measured.
const bound = 4000

func (b *bench) done(ctx context.Context) error {
	for _, workers := range b.workers {
		err := b.turns("done", func(s *service) error {
			return b.with(ctx, s, func(t *session) error {
				if err := b.ready(ctx, t, workers); err != nil {
					return err
				}
				return b.measureDone(ctx, t, workers)
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// measureDone submits as fast as the service absorbs it, and counts what ended in the measured time.
func (b *bench) measureDone(ctx context.Context, t *session, workers int) error {
	g := &gate{}
	watch, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		for watch.Err() == nil {
			if n, err := t.waiting(watch); err == nil {
				g.shut.Store(n > bound)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	// Long enough for the backlog to reach its bound: while it grows, the worker gets less than its part.
	warm := max(b.duration/2, 1500*time.Millisecond)
	began := time.Now()
	_, used, err := b.load(ctx, t, 64, warm, g)
	cancel()
	if err != nil {
		return err
	}
	// A quick run guards MASS: it does not wait until a slower peer has worked off what it took.
	if err := t.verify(ctx, !b.quick || t.name == "mass"); err != nil {
		return err
	}
	from := began.Add(warm)
	var n int64
	err = t.db.QueryRow(ctx, "SELECT count(*) FROM "+t.table+" WHERE finished_at >= $1 AND finished_at < $2", from, from.Add(b.duration)).Scan(&n)
	if err != nil {
		return err
	}
	size, err := t.tableBytes(ctx)
	if err != nil {
		return err
	}
	values := map[string]float64{"rate": float64(n) / b.duration.Seconds(), "postgres_bytes": (size - t.emptyBytes) / float64(t.accepted)}
	used.addTo(values, n)
	b.add("done", t.name, fmt.Sprintf("workers=%d", workers), values)
	return nil
}

func (b *bench) latency(ctx context.Context) error {
	for _, rate := range b.rates {
		err := b.turns("latency", func(s *service) error {
			return b.with(ctx, s, func(t *session) error {
				if err := b.ready(ctx, t, 1); err != nil {
					return err
				}
				return b.measureLatency(ctx, t, rate)
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// measureLatency submits at a rate and asks PostgreSQL every millisecond which of the requests are done, as a client
// would that cannot wait. "row" is the same by the row's finished_at, which is written before the commit.
func (b *bench) measureLatency(ctx context.Context, t *session, rate int) error {
	const settle = 10 // requests at the beginning that do not count: connections are made, statements prepared
	o := &observer{open: map[int64]time.Time{}, sent: map[int64]time.Time{}}
	watch, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- o.watch(watch, t.db, t.table) }()
	warm := openLoop(ctx, t.addr, t.requests(), 20, settle*50*time.Millisecond, func(int64, time.Time) {})
	t.accepted += warm.accepted
	if err := t.awaitIdle(ctx, 30*time.Second); err != nil {
		return errors.Join(err, warm.firstErr)
	}
	measure := b.duration
	if least := 10 * time.Second / time.Duration(rate); least > measure && !b.quick {
		measure = least
	}
	r := openLoop(ctx, t.addr, t.requests(), float64(rate), measure, o.add)
	t.accepted += r.accepted
	if r.errors > 0 {
		return fmt.Errorf("%s: %d requests failed, the first with: %w", t.name, r.errors, r.firstErr)
	}
	if err := t.verify(ctx, true); err != nil {
		return err
	}
	for o.left() > 0 && watch.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-ended; err != nil {
		return err
	}
	rows, err := rowLatency(ctx, t, o.sent)
	if err != nil {
		return err
	}
	b.add("latency", t.name, fmt.Sprintf("rate=%d", rate), map[string]float64{
		"p50_ms": ms(o.seen.quantile(0.5)), "p99_ms": ms(o.seen.quantile(0.99)), "max_ms": ms(o.seen.max),
		"row_p50_ms": ms(rows.quantile(0.5)), "row_p99_ms": ms(rows.quantile(0.99)), "n": float64(o.seen.n),
		"post_p50_ms": ms(r.latency.quantile(0.5)), "post_p99_ms": ms(r.latency.quantile(0.99)),
	})
	return nil
}

// observer notes when requests are first seen done.
type observer struct {
	mu   sync.Mutex
	open map[int64]time.Time // when each was meant to be sent
	sent map[int64]time.Time // the same, of all
	seen histogram
}

func (o *observer) add(id int64, intended time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open[id], o.sent[id] = intended, intended
}

func (o *observer) left() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.open)
}

// watch asks until ctx ends. It asks for nothing but what is open.
func (o *observer) watch(ctx context.Context, db *pgxpool.Pool, table string) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		o.mu.Lock()
		ids := make([]int64, 0, len(o.open))
		for id := range o.open {
			ids = append(ids, id)
		}
		o.mu.Unlock()
		if len(ids) == 0 {
			continue
		}
		if err := o.ask(ctx, db, table, ids); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

func (o *observer) ask(ctx context.Context, db *pgxpool.Pool, table string, ids []int64) error {
	rows, err := db.Query(ctx, "SELECT id FROM "+table+" WHERE id = ANY ($1) AND status = 'done'", ids)
	if err != nil {
		return err
	}
	defer rows.Close()
	var done []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return err
		}
		done = append(done, id)
	}
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, id := range done {
		o.seen.record(now.Sub(o.open[id]))
		delete(o.open, id)
	}
	return rows.Err()
}

// rowLatency is the time from the intended sending of each request to its finished_at; both clocks are this machine's.
func rowLatency(ctx context.Context, t *session, sent map[int64]time.Time) (*histogram, error) {
	rows, err := t.db.Query(ctx, "SELECT id, finished_at FROM "+t.table+" WHERE status = 'done'")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	h := &histogram{}
	for rows.Next() {
		var id int64
		var finished time.Time
		if err := rows.Scan(&id, &finished); err != nil {
			return nil, err
		}
		if at, ok := sent[id]; ok {
			h.record(finished.Sub(at))
		}
	}
	return h, rows.Err()
}

func (b *bench) drain(ctx context.Context) error {
	for _, n := range b.backlogs {
		err := b.turns("drain", func(s *service) error {
			if most := b.mostBacklog(s.name); n > most {
				return nil
			}
			return b.with(ctx, s, func(t *session) error { return b.measureDrain(ctx, t, n) })
		})
		if err != nil {
			return err
		}
	}
	if b.quick || !b.wants("mass") {
		return nil
	}
	// What it costs MASS when the normal form of a payload is another one, which it has to store beside it as the peers always do.
	return b.with(ctx, massOfOtherForm(b.binary), func(t *session) error { return b.measureDrain(ctx, t, b.backlogs[0]) })
}

// mostBacklog spares the peers backlogs that would take them many minutes; their rate does not grow with the backlog.
func (b *bench) mostBacklog(service string) int {
	switch service {
	case "river":
		return b.peerBacklog * 10
	case "asynq":
		return b.peerBacklog
	}
	return 1 << 30
}

// measureDrain stores and queues n requests, and then starts a worker. The time is from the first claim to the last end.
func (b *bench) measureDrain(ctx context.Context, t *session, n int) error {
	memory := b.machine.redisMemory(ctx)
	began := time.Now()
	if err := t.service.backlog(ctx, t, n); err != nil {
		return err
	}
	loaded := time.Since(began)
	if err := t.awaitQueued(ctx); err != nil {
		return err
	}
	redisBytes := (b.machine.redisMemory(ctx) - memory) / float64(n)
	if err := b.tidyUp(ctx, t); err != nil {
		return err
	}
	if err := t.startWorkers(1); err != nil {
		return err
	}
	before := t.cpu()
	stop := b.profile(t)
	err := t.awaitIdle(ctx, 30*time.Minute)
	used := t.cpu()
	stop()
	if err != nil {
		return err
	}
	for name := range used {
		used[name] -= before[name]
	}
	if err := t.verify(ctx, true); err != nil {
		return err
	}
	var seconds float64
	err = t.db.QueryRow(ctx, "SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8 FROM "+t.table).Scan(&seconds)
	if err != nil {
		return err
	}
	size, err := t.tableBytes(ctx)
	if err != nil {
		return err
	}
	values := map[string]float64{
		"rate": float64(n) / seconds, "redis_bytes": redisBytes, "load_rate": float64(n) / loaded.Seconds(),
		"postgres_bytes": (size - t.emptyBytes) / float64(n),
	}
	costs(values, used, int64(n))
	b.add("drain", t.name, fmt.Sprintf("backlog=%d", n), values)
	return nil
}

// tidyUp leaves the tables as they would be of a backlog that grew over a time: known to the planner, on disk.
func (b *bench) tidyUp(ctx context.Context, t *session) error {
	for _, statement := range []string{"VACUUM ANALYZE", "CHECKPOINT"} {
		if _, err := t.db.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// empty measures River's own rate, of jobs that do nothing.
func (b *bench) empty(ctx context.Context) (err error) {
	if !b.wants("river") {
		return nil
	}
	name, databaseURL, err := b.machine.database(ctx, "river", prepareRiver)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.machine.drop(context.WithoutCancel(ctx), name)) }()
	db, err := openPool(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := insertJobs(ctx, db, b.emptyJobs, func(int) river.JobArgs { return emptyArgs{} }); err != nil {
		return err
	}
	if _, err := db.Exec(ctx, "VACUUM ANALYZE river_job"); err != nil {
		return err
	}
	worker, err := startChild(b.machine.dir, "river-empty", []string{"DATABASE_URL=" + databaseURL}, b.self, "peer", "river-empty")
	if err != nil {
		return err
	}
	defer worker.stop()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var busy bool
		if err := db.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM river_job WHERE state IN ('available', 'running'))").Scan(&busy); err != nil {
			return err
		}
		if !busy {
			break
		}
		if time.Now().After(deadline) {
			return errors.New("river: empty jobs are left after 5 minutes")
		}
	}
	var completed int
	var seconds float64
	err = db.QueryRow(ctx, `
        SELECT count(*) FILTER (WHERE state = 'completed'), extract(epoch FROM max(finalized_at) - min(attempted_at))::float8
        FROM river_job`).Scan(&completed, &seconds)
	if err != nil {
		return err
	}
	if completed != b.emptyJobs {
		return fmt.Errorf("river: %d of %d empty jobs were completed", completed, b.emptyJobs)
	}
	b.add("empty", "river", fmt.Sprintf("jobs=%d", b.emptyJobs), map[string]float64{"rate": float64(b.emptyJobs) / seconds})
	return nil
}

func (b *bench) idle(ctx context.Context) error {
	return b.turns("idle", func(s *service) error {
		return b.with(ctx, s, func(t *session) error {
			if err := b.ready(ctx, t, 1); err != nil {
				return err
			}
			select {
			case <-time.After(3 * time.Second): // what a start does later than at once
			case <-ctx.Done():
				return ctx.Err()
			}
			before := t.cpu()
			select {
			case <-time.After(b.idleTime):
			case <-ctx.Done():
				return ctx.Err()
			}
			values := map[string]float64{}
			for name, used := range t.cpu() {
				values["percent_"+name] = 100 * (used - before[name]).Seconds() / b.idleTime.Seconds()
			}
			values["percent"] = values["percent_api"] + values["percent_worker"]
			b.add("idle", t.name, "", values)
			return t.verify(ctx, true)
		})
	})
}
