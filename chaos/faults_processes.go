package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	busyLimit = 2 * time.Second  // for finding a worker in the middle of a batch
	dieLimit  = 5 * time.Second  // for an API to reach its fail point
	stopLimit = 35 * time.Second // from SIGTERM to the end: MASS_SHUTDOWN_TIMEOUT, ten seconds to hand back requests, and a margin
)

// killWorker sends SIGKILL to a worker in the middle of a batch.
func killWorker(ctx context.Context, s *system, rng *rand.Rand) (heal, error) {
	w := s.busyWorker(ctx, rng)
	if err := w.kill(); err != nil {
		return nil, err
	}
	return func(context.Context) error { return w.start() }, nil
}

// freezeWorker makes a zombie: a worker that holds requests, is presumed dead,
// and comes back.
func freezeWorker(ctx context.Context, s *system, rng *rand.Rand) (heal, error) {
	w := s.busyWorker(ctx, rng)
	if err := w.signal(syscall.SIGSTOP); err != nil {
		return nil, err
	}
	return func(context.Context) error { return w.signal(syscall.SIGCONT) }, nil
}

func killAPI(_ context.Context, s *system, rng *rand.Rand) (heal, error) {
	a := s.apis[rng.IntN(len(s.apis))]
	if err := a.kill(); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return s.startAPI(ctx, a) }, nil
}

// killAPIBeforeEnqueue arms the fail point of package api and waits until it
// has killed one of the APIs.
func killAPIBeforeEnqueue(ctx context.Context, s *system, _ *rand.Rand) (heal, error) {
	trigger := filepath.Join(s.marks, "die-before-enqueue")
	if err := os.WriteFile(trigger, nil, 0o600); err != nil {
		return nil, fmt.Errorf("arm the fail point: %w", err)
	}
	var dead *process
	err := until(ctx, dieLimit, func() bool {
		for _, a := range s.apis {
			if !a.running() {
				dead = a
			}
		}
		return dead != nil
	})
	if err != nil {
		return nil, errors.Join(errors.New("no API reached the fail point"), os.Remove(trigger))
	}
	return func(ctx context.Context) error { return s.startAPI(ctx, dead) }, nil
}

// rollingRestart restarts every process by SIGTERM, one after the other.
func rollingRestart(ctx context.Context, s *system, _ *rand.Rand) (heal, error) {
	var errs []error
	for _, p := range s.processes() {
		if err := p.terminate(ctx, stopLimit); err != nil {
			s.note("rolling restart: %v", err)
		}
		errs = append(errs, p.start())
		if p.addr != "" {
			errs = append(errs, s.awaitAPI(ctx, p))
		}
	}
	return nothing, errors.Join(errs...)
}

// busyWorker returns a worker that currently holds requests, or any worker if
// none does.
func (s *system) busyWorker(ctx context.Context, rng *rand.Rand) *process {
	first := rng.IntN(len(s.workers))
	chosen := s.workers[first]
	_ = until(ctx, busyLimit, func() bool {
		for i := range s.workers {
			w := s.workers[(first+i)%len(s.workers)]
			var busy bool
			err := s.db.GetContext(ctx, &busy, `
                SELECT EXISTS (SELECT FROM mass_requests r JOIN mass_workers w ON w.id = r.claimed_by
                               WHERE r.status = 'processing' AND w.pid = $1)`, w.pid())
			if err == nil && busy {
				chosen = w
				return true
			}
		}
		return false
	})
	return chosen
}

// until polls until the condition is met, and fails when ctx or the limit ends.
func until(ctx context.Context, limit time.Duration, met func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for !met() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}
