package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// service is a contestant that takes requests by HTTP and works them off in a worker process. All of them are measured
// from outside by the same code; what differs stands here.
type service struct {
	name    string
	table   string // of the requests; it has id, status, started_at and finished_at
	prepare func(ctx context.Context, databaseURL string) error
	api     func(s *session, addr string) (env, command []string)
	worker  func(s *session) (env, command []string)
	header  func(ctx context.Context, s *session) (http.Header, error) // of each request; may be nil
	backlog func(ctx context.Context, s *session, n int) error         // stores n requests and sees to it that they are queued
}

// session is a service on a new database and an empty Redis.
type session struct {
	*service
	machine     *machine
	database    string
	databaseURL string
	redisURL    string
	env         []string // further settings, for all processes of the service
	db          *pgxpool.Pool
	addr        string
	header      http.Header
	apiProc     *child
	workers     []*child
	accepted    int64        // all that must be in the table at the end
	oldest      atomic.Int64 // id from which on waiting looks
	emptyBytes  float64
}

// open starts the service's API, without a worker.
func (s *service) open(ctx context.Context, m *machine, env ...string) (_ *session, err error) {
	t := &session{service: s, machine: m, redisURL: m.stack.RedisURL(), env: env}
	if t.database, t.databaseURL, err = m.database(ctx, s.name, s.prepare); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", s.name, err), t.close(ctx))
		}
	}()
	if t.db, err = openPool(ctx, t.databaseURL); err != nil {
		return nil, err
	}
	if t.addr, err = freeAddress(); err != nil {
		return nil, err
	}
	if s.header != nil {
		if t.header, err = s.header(ctx, t); err != nil {
			return nil, err
		}
	}
	env, command := s.api(t, t.addr)
	if t.apiProc, err = startChild(m.dir, s.name+"-api", append(t.environment(), env...), command...); err != nil {
		return nil, err
	}
	if err := t.awaitAPI(ctx); err != nil {
		return nil, err
	}
	t.emptyBytes, err = t.tableBytes(ctx)
	return t, err
}

func (s *session) environment() []string {
	return append([]string{"DATABASE_URL=" + s.databaseURL, "REDIS_URL=" + s.redisURL}, s.env...)
}

func (s *session) awaitAPI(ctx context.Context) error {
	deadline := time.Now().Add(20 * time.Second)
	for {
		_, err := readAll(ctx, http.MethodGet, "http://"+s.addr+"/health/ready", "", nil, nil)
		if err == nil {
			return nil
		}
		select {
		case <-s.apiProc.done:
			return errors.New("the API ended at once" + s.logTail("api"))
		default:
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("the API is not ready: %w%s", err, s.logTail("api"))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// startWorkers starts n workers; they may not be ready yet.
func (s *session) startWorkers(n int) error {
	for range n {
		env, command := s.worker(s)
		w, err := startChild(s.machine.dir, s.name+"-worker", append(s.environment(), env...), command...)
		if err != nil {
			return err
		}
		s.workers = append(s.workers, w)
	}
	return nil
}

func (s *session) stopWorkers() {
	for _, w := range s.workers {
		w.stop()
	}
	s.workers = nil
}

// close stops the service and removes what it stored.
func (s *session) close(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	s.stopWorkers()
	if s.apiProc != nil {
		s.apiProc.stop()
	}
	if s.db != nil {
		s.db.Close()
	}
	return s.machine.drop(ctx, s.database)
}

// requests are the complete HTTP requests of the simulated signals.
func (s *session) requests() [][]byte {
	var list [][]byte
	for _, body := range bodies() {
		list = append(list, post(s.addr, "/mass-requests/", "application/json", s.header, body))
	}
	return list
}

// late is by how much a request may be older than others that were seen before it: their transactions overlap.
const late = 500

// waiting is how many requests lie between the oldest that is not done and the newest. Counting them would read the whole
// table each time, at the expense of whom it is to measure; the oldest is looked for from where it was the last time.
func (s *session) waiting(ctx context.Context) (n int64, err error) {
	var oldest, newest *int64
	err = s.db.QueryRow(ctx, "SELECT (SELECT id FROM "+s.table+" WHERE id >= $1 AND status <> 'done' ORDER BY id LIMIT 1), "+
		"(SELECT max(id) FROM "+s.table+")", s.oldest.Load()).Scan(&oldest, &newest)
	if err != nil || oldest == nil {
		return 0, err
	}
	s.oldest.Store(*oldest - late)
	return *newest - *oldest + 1, nil
}

// awaitIdle waits until nothing is waiting or under way.
func (s *session) awaitIdle(ctx context.Context, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for {
		n, err := s.waiting(ctx)
		if err != nil || n == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: up to %d requests are not done after %s%s", s.name, n, limit, s.logTail("worker"))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// awaitQueued waits until the number of tasks in Redis stands still: an API may enqueue after it answered.
func (s *session) awaitQueued(ctx context.Context) error {
	still, last := 0, int64(-1)
	for still < 10 {
		var tasks int64
		queues, err := s.machine.redis.SMembers(ctx, "asynq:queues").Result()
		if err != nil {
			return err
		}
		for _, queue := range queues {
			n, err := s.machine.redis.LLen(ctx, "asynq:{"+queue+"}:pending").Result()
			if err != nil {
				return err
			}
			tasks += n
		}
		if still++; tasks != last {
			still, last = 0, tasks
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// verify checks that exactly what was accepted is stored and, unless nobody worked, done.
func (s *session) verify(ctx context.Context, worked bool) error {
	if worked {
		if err := s.awaitIdle(ctx, 3*time.Minute); err != nil {
			return err
		}
	}
	var stored, done int64
	err := s.db.QueryRow(ctx, "SELECT count(*), count(*) FILTER (WHERE status = 'done' AND result IS NOT NULL) FROM "+s.table).Scan(&stored, &done)
	if err != nil {
		return err
	}
	if stored != s.accepted || worked && done != s.accepted {
		return fmt.Errorf("%s: %d accepted, %d stored, %d done%s", s.name, s.accepted, stored, done, s.logTail("worker"))
	}
	return nil
}

// tableBytes is the size of all tables of the service, with their indexes.
func (s *session) tableBytes(ctx context.Context) (n float64, err error) {
	err = s.db.QueryRow(ctx, `SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::float8
        FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace`).Scan(&n)
	return n, err
}

// cpu is the processor time used so far by everything that makes and serves the requests.
func (s *session) cpu() map[string]time.Duration {
	used := s.machine.cpu()
	used["api"] = cpuOf(s.apiProc.pid())
	used["load"] = cpuOf(os.Getpid()) // this program
	for _, w := range s.workers {
		used["worker"] += cpuOf(w.pid())
	}
	return used
}

// logTail is the end of the logs of a side's processes, for errors.
func (s *session) logTail(side string) string {
	var lines []string
	for _, c := range s.sides()[side] {
		lines = append(lines, tail(c.log, 5)...)
	}
	if len(lines) == 0 {
		return ""
	}
	return "; its log ends with:\n" + strings.Join(lines, "\n")
}
