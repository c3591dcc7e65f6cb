package chaos

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// loseRedis is a crash that takes all data with it.
func loseRedis(_ context.Context, s *system, _ *rand.Rand) (heal, error) {
	if err := s.cfg.Servers.KillRedis(); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		files, err := filepath.Glob(filepath.Join(s.cfg.RedisData, "*"))
		for _, f := range files {
			err = errors.Join(err, os.RemoveAll(f))
		}
		return errors.Join(err, s.cfg.Servers.RestartRedis(ctx))
	}, nil
}

func flushRedis(ctx context.Context, s *system, _ *rand.Rand) (heal, error) {
	return nothing, s.redis.FlushAll(ctx).Err()
}

func pauseRedis(_ context.Context, s *system, _ *rand.Rand) (heal, error) {
	return func(context.Context) error { return s.cfg.Servers.ResumeRedis() }, s.cfg.Servers.PauseRedis()
}

func killPostgres(_ context.Context, s *system, _ *rand.Rand) (heal, error) {
	return s.cfg.Servers.RestartPostgres, s.cfg.Servers.KillPostgres()
}

// exhaustPostgres takes every connection the server has, also those that the
// processes hold already, and keeps what becomes free.
func exhaustPostgres(ctx context.Context, s *system, _ *rand.Rand) (heal, error) {
	db, err := sql.Open("postgres", s.cfg.DatabaseURL+"&application_name=hog")
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	first, err := db.Conn(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect: %w", err), db.Close())
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	var hogs sync.WaitGroup
	hogs.Go(func() {
		held := []*sql.Conn{first}
		for ctx.Err() == nil {
			conn, err := db.Conn(ctx)
			if err == nil {
				held = append(held, conn)
				continue
			}
			_, _ = first.ExecContext(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'mass %'`)
			time.Sleep(20 * time.Millisecond)
		}
		for _, c := range held {
			_ = c.Close()
		}
	})
	return func(context.Context) error {
		stop()
		hogs.Wait()
		return db.Close()
	}, nil
}

// shiftClock leaves in Redis what Asynq servers leave whose clocks are wrong by
// d: leases and retries that end by so much too late or too early. Clocks
// themselves are not touched: that takes the machine's, because a static Go
// binary reads the time from the kernel and no library can come in between.
func shiftClock(d time.Duration) func(context.Context, *system, *rand.Rand) (heal, error) {
	script := redis.NewScript(`
        for _, key in ipairs(KEYS) do
            for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
                redis.call('ZINCRBY', key, ARGV[1], member)
            end
        end`)
	return func(ctx context.Context, s *system, rng *rand.Rand) (heal, error) {
		shift := func(ctx context.Context) error {
			for _, queue := range jobs.Queues() { // one queue a call, as a cluster wants it
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
		// A living server renews its leases; those of a dead one keep the wrong time.
		// Once more at the end, for what was put off meanwhile.
		return func(ctx context.Context) error { return errors.Join(shift(ctx), w.start()) }, w.kill()
	}
}

// queueKey is a key of Asynq 0.26 (its internal/base).
func queueKey(queue, part string) string { return "asynq:{" + queue + "}:" + part }

// operation is what a person does in Asynqmon to all tasks of a queue.
type operation struct {
	hold  bool     // pause the queues first, so that live tasks heap up
	calls []string // "METHOD path", below /monitoring/api/queues/<queue>
}

var (
	deleteTasks  = operation{hold: true, calls: []string{"DELETE /pending_tasks:delete_all", "DELETE /scheduled_tasks:delete_all", "DELETE /retry_tasks:delete_all"}}
	archiveTasks = operation{hold: true, calls: []string{"POST /pending_tasks:archive_all", "POST /scheduled_tasks:archive_all", "POST /retry_tasks:archive_all"}}
	runTasks     = operation{calls: []string{"POST /scheduled_tasks:run_all", "POST /retry_tasks:run_all", "POST /archived_tasks:run_all"}}
	cancelTasks  = operation{calls: []string{"POST /active_tasks:cancel_all"}}
)

// operate carries out an operation on every queue.
func operate(o operation) func(context.Context, *system, *rand.Rand) (heal, error) {
	return func(ctx context.Context, s *system, _ *rand.Rand) (heal, error) {
		all := func(ctx context.Context, calls ...string) (err error) {
			for _, queue := range jobs.Queues() {
				for _, c := range calls {
					err = errors.Join(err, s.asynqmon(ctx, queue, c))
				}
			}
			return err
		}
		if !o.hold {
			return nothing, all(ctx, o.calls...)
		}
		resume := func(ctx context.Context) error { return all(ctx, "POST :resume") }
		if err := all(ctx, "POST :pause"); err != nil {
			return nil, errors.Join(err, resume(ctx))
		}
		time.Sleep(500 * time.Millisecond)
		return resume, all(ctx, o.calls...)
	}
}

// asynqmon makes one call to the first API that answers.
func (s *system) asynqmon(ctx context.Context, queue, call string) error {
	var method, path string
	if _, err := fmt.Sscanf(call, "%s %s", &method, &path); err != nil {
		return fmt.Errorf("read the call %q: %w", call, err)
	}
	var last error
	for _, a := range s.apis {
		target := "http://" + a.addr + "/monitoring/api/queues/" + queue + path
		req, err := http.NewRequestWithContext(ctx, method, target, nil)
		if err != nil {
			return fmt.Errorf("make a request: %w", err)
		}
		resp, err := s.load.http.Do(req)
		if err != nil {
			last = err
			continue
		}
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
		_ = resp.Body.Close()
		if resp.StatusCode < http.StatusBadRequest {
			return nil
		}
		last = fmt.Errorf("answered %d: %s", resp.StatusCode, text)
	}
	return fmt.Errorf("asynqmon, %s of queue %s: %w", call, queue, last)
}
