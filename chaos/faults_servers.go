package chaos

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// loseRedis crashes Redis, which keeps nothing on disk.
func loseRedis(_ context.Context, s *system, _ *rand.Rand) (heal, error) {
	return s.cfg.Servers.memory.Restart, s.cfg.Servers.memory.Kill()
}

func flushRedis(ctx context.Context, s *system, _ *rand.Rand) (heal, error) {
	return nothing, s.redis.FlushAll(ctx).Err()
}

func pauseRedis(_ context.Context, s *system, _ *rand.Rand) (heal, error) {
	redis := s.cfg.Servers.memory
	return func(context.Context) error { return redis.Signal(syscall.SIGCONT) }, redis.Signal(syscall.SIGSTOP)
}

func killPostgres(_ context.Context, s *system, _ *rand.Rand) (heal, error) {
	postgres := s.cfg.Servers.primary()
	return postgres.Restart, postgres.Kill()
}

// fillLimit is how long exhaustPostgres may take to open all connections.
const fillLimit = 30 * time.Second

// exhaustPostgres takes every connection of the server, including those that
// the processes already hold, and keeps every connection that becomes free.
func exhaustPostgres(ctx context.Context, s *system, _ *rand.Rand) (heal, error) {
	db, err := sql.Open("postgres", s.cfg.Servers.AdminURL()+"&application_name=hog")
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	first, err := db.Conn(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect: %w", err), db.Close())
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	full := make(chan struct{}) // closed once no connection is left
	var hogs sync.WaitGroup
	hogs.Go(func() {
		held := []*sql.Conn{first}
		reported := false
		for ctx.Err() == nil {
			conn, err := db.Conn(ctx)
			if err == nil {
				held = append(held, conn)
				continue
			}
			if !reported {
				close(full)
				reported = true
			}
			_, _ = first.ExecContext(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'mass %'`)
			time.Sleep(20 * time.Millisecond)
		}
		for _, c := range held {
			_ = c.Close()
		}
	})
	select {
	case <-full:
	case <-time.After(fillLimit): // then the fault lasts as long as its connections
	}
	return func(context.Context) error {
		stop()
		hogs.Wait()
		return db.Close()
	}, nil
}

// moveClock moves the wall clocks of one worker and one API by d, and later
// back.
func moveClock(d time.Duration) func(context.Context, *system, *rand.Rand) (heal, error) {
	return func(ctx context.Context, s *system, rng *rand.Rand) (heal, error) {
		w, a := s.busyWorker(ctx, rng), s.apis[rng.IntN(len(s.apis))]
		set := func(d time.Duration) error { return errors.Join(w.setClock(d), a.setClock(d)) }
		return func(context.Context) error { return set(0) }, set(d)
	}
}

// shiftLeases leaves Redis in the state that an Asynq server leaves behind when
// it dies with a clock that is wrong by d: leases and retries end too late or
// too early by that much.
func shiftLeases(d time.Duration) func(context.Context, *system, *rand.Rand) (heal, error) {
	script := redis.NewScript(`
        for _, key in ipairs(KEYS) do
            for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
                redis.call('ZINCRBY', key, ARGV[1], member)
            end
        end`)
	return func(ctx context.Context, s *system, rng *rand.Rand) (heal, error) {
		shift := func(ctx context.Context) error {
			for _, queue := range queues() { // one queue per call, as Redis Cluster requires
				keys := []string{queueKey(queue, "lease"), queueKey(queue, "retry")}
				if err := script.Run(ctx, s.redis, keys, int64(d.Seconds())).Err(); err != nil && !errors.Is(err, redis.Nil) {
					return fmt.Errorf("shift the times in Redis: %w", err)
				}
			}
			return nil
		}
		w := s.busyWorker(ctx, rng)
		if err := shift(ctx); err != nil {
			return nil, err
		}
		// A live server renews its leases; those of a dead one keep the wrong
		// time. The second shift covers tasks that were postponed in the
		// meantime.
		return func(ctx context.Context) error { return errors.Join(shift(ctx), w.start()) }, w.kill()
	}
}

// queueKey is the name of a key as Asynq 0.26 builds it (its internal/base).
func queueKey(queue, part string) string { return "asynq:{" + queue + "}:" + part }

// queues lists all queues: those of requests and that of callbacks.
func queues() []string { return append(jobs.Queues(), jobs.WebhookQueue, jobs.RecommendQueue) }

// operation is an action in Asynqmon on all tasks of a queue that are in
// certain states.
type operation struct {
	hold   bool // pause the queues first, so that live tasks accumulate
	method string
	verb   string
	states []string // as Asynq names them
}

var (
	deleteTasks  = operation{hold: true, method: http.MethodDelete, verb: "delete_all", states: []string{"pending", "scheduled", "retry"}}
	archiveTasks = operation{hold: true, method: http.MethodPost, verb: "archive_all", states: []string{"pending", "scheduled", "retry"}}
	runTasks     = operation{method: http.MethodPost, verb: "run_all", states: []string{"scheduled", "retry", "archived"}}
	cancelTasks  = operation{method: http.MethodPost, verb: "cancel_all", states: []string{"active"}}
)

const (
	heapUp   = 500 * time.Millisecond // how long queues are paused
	hitLimit = 5 * time.Second        // for a task to appear
)

var errNoTask = errors.New("found no task to act on")

// operate carries out an operation on every queue.
func operate(o operation) func(context.Context, *system, *rand.Rand) (heal, error) {
	return func(ctx context.Context, s *system, _ *rand.Rand) (heal, error) {
		each := func(ctx context.Context, method, path string) error {
			known, err := s.redis.SMembers(ctx, "asynq:queues").Result() // Asynqmon rejects queues that never had a task
			for _, queue := range known {
				err = errors.Join(err, s.asynqmon(ctx, queue, method, path))
			}
			return err
		}
		mend := nothing
		if o.hold {
			mend = func(ctx context.Context) error { return each(ctx, http.MethodPost, ":resume") }
			if err := each(ctx, http.MethodPost, ":pause"); err != nil {
				return nil, errors.Join(err, mend(ctx))
			}
			pause(ctx, heapUp)
		}
		var n int64
		_ = until(ctx, hitLimit, func() bool {
			n = s.countTasks(ctx, o.states)
			return n > 0
		})
		if n == 0 {
			return mend, errNoTask
		}
		s.hit.Store(n)
		var err error
		for _, state := range o.states {
			err = errors.Join(err, each(ctx, o.method, "/"+state+"_tasks:"+o.verb))
		}
		return mend, err
	}
}

// countTasks counts the tasks in some states, in all queues.
func (s *system) countTasks(ctx context.Context, states []string) (n int64) {
	pipe := s.redis.Pipeline()
	for _, queue := range queues() {
		for _, state := range states {
			if state == "pending" || state == "active" {
				pipe.LLen(ctx, queueKey(queue, state))
			} else {
				pipe.ZCard(ctx, queueKey(queue, state))
			}
		}
	}
	replies, err := pipe.Exec(ctx)
	if err != nil {
		return 0
	}
	for _, r := range replies {
		n += r.(*redis.IntCmd).Val()
	}
	return n
}

// asynqmon calls the first API that answers.
func (s *system) asynqmon(ctx context.Context, queue, method, path string) error {
	var last error
	for _, a := range s.apis {
		got, err := s.load.callAt(ctx, a.addr, method, "/monitoring/api/queues/"+queue+path, nil, nil)
		switch {
		case err != nil:
			last = err
		case got.status < http.StatusBadRequest:
			return nil
		default:
			last = fmt.Errorf("answered %d: %.300s", got.status, got.body)
		}
	}
	return fmt.Errorf("asynqmon, %s %s of queue %s: %w", method, path, queue, last)
}
