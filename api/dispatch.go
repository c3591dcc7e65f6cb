package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	dispatchQueue   = 4096            // errands that may wait: at 64 requests a batch, a quarter of a million of them
	dispatchers     = 4               // one connection to Redis each
	dispatchTimeout = 2 * time.Second // of one errand
	dispatchLogging = time.Second     // one line about lost errands in this time at most
)

// errand is something to be done in Redis that nobody waits for and that may be
// lost: the rows say what there is to do, and others will do it later.
type errand struct {
	what string
	do   func(ctx context.Context) error
}

// dispatcher runs errands in the background, so that an answer never waits for
// Redis. What it cannot run it drops, with a line in the log.
type dispatcher struct {
	log   *slog.Logger
	ctx   context.Context // of the errands; ends when the dispatcher is abandoned
	stop  context.CancelFunc
	queue chan errand
	done  chan struct{} // closed when the queue is closed and empty

	mu     sync.RWMutex
	closed bool

	lost    atomic.Int64 // since the last line in the log
	logging rate.Sometimes
}

func newDispatcher(log *slog.Logger) *dispatcher {
	ctx, stop := context.WithCancel(context.Background())
	d := &dispatcher{
		log: log, ctx: ctx, stop: stop,
		queue:   make(chan errand, dispatchQueue),
		done:    make(chan struct{}),
		logging: rate.Sometimes{First: 1, Interval: dispatchLogging},
	}
	var workers sync.WaitGroup
	for range dispatchers {
		workers.Go(d.work)
	}
	go func() {
		workers.Wait()
		close(d.done)
	}()
	return d
}

// send takes an errand, or drops it when too many wait. It never blocks.
func (d *dispatcher) send(e errand) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		d.drop(e, errors.New("the server is shutting down"))
		return
	}
	select {
	case d.queue <- e:
	default:
		d.drop(e, errors.New("too many errands wait for Redis"))
	}
}

// close takes no more errands and returns when those that wait are done. When
// ctx ends first they are dropped, which the error tells.
func (d *dispatcher) close(ctx context.Context) error {
	d.mu.Lock()
	if !d.closed {
		d.closed = true
		close(d.queue)
	}
	d.mu.Unlock()

	defer d.stop()
	select {
	case <-d.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("hand committed work to Redis, the reconciler will: %w", ctx.Err())
	}
}

func (d *dispatcher) work() {
	for e := range d.queue {
		if err := d.run(e); err != nil {
			d.drop(e, err)
		}
	}
}

func (d *dispatcher) run(e errand) error {
	ctx, cancel := context.WithTimeout(d.ctx, dispatchTimeout)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return err
	}
	return e.do(ctx)
}

func (d *dispatcher) drop(e errand, err error) {
	d.lost.Add(1)
	d.logging.Do(func() {
		d.log.Warn("left to the reconciler", "errand", e.what, "dropped", d.lost.Swap(0), "error", err)
	})
}
