package intake

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
	backgroundQueue   = 4096            // tasks that may wait: with 64 requests per batch, a quarter of a million requests
	backgroundWorkers = 4               // one connection to Redis each
	backgroundTimeout = 2 * time.Second // bound of one task
	backgroundLogging = time.Second     // shortest time between two log lines about dropped tasks
)

// Background runs tasks after the answer they belong to, so that an answer never
// waits for Redis. A task may be lost: the rows say what there is to do, and the
// reconciler does it later. Tasks that cannot be run are dropped with a line in
// the log. It is safe for concurrent use.
type Background struct {
	log   *slog.Logger
	ctx   context.Context // of the tasks; ends when Close gives up on them
	stop  context.CancelFunc
	queue chan backgroundTask
	done  chan struct{} // closed when the queue is closed and empty

	mu     sync.RWMutex
	closed bool

	dropped atomic.Int64 // since the last line in the log
	logging rate.Sometimes
}

type backgroundTask struct {
	name string
	do   func(ctx context.Context) error
}

// NewBackground returns a running Background. The caller closes it.
func NewBackground(log *slog.Logger) *Background {
	ctx, stop := context.WithCancel(context.Background())
	b := &Background{
		log: log, ctx: ctx, stop: stop,
		queue:   make(chan backgroundTask, backgroundQueue),
		done:    make(chan struct{}),
		logging: rate.Sometimes{First: 1, Interval: backgroundLogging},
	}
	var workers sync.WaitGroup
	for range backgroundWorkers {
		workers.Go(b.work)
	}
	go func() {
		workers.Wait()
		close(b.done)
	}()
	return b
}

// Go runs a task soon, or drops it when too many tasks wait. It never blocks.
// The name appears in the log, for example "enqueue a batch".
func (b *Background) Go(name string, do func(ctx context.Context) error) {
	t := backgroundTask{name: name, do: do}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		b.drop(t, errors.New("the server is shutting down"))
		return
	}
	select {
	case b.queue <- t:
	default:
		b.drop(t, errors.New("too many background tasks wait for Redis"))
	}
}

// Close takes no more tasks and returns when those that wait are done. When ctx
// ends first, the remaining tasks are dropped and the error says so.
func (b *Background) Close(ctx context.Context) error {
	b.mu.Lock()
	if !b.closed {
		b.closed = true
		close(b.queue)
	}
	b.mu.Unlock()

	defer b.stop()
	select {
	case <-b.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("hand committed work to Redis; the reconciler will do it: %w", ctx.Err())
	}
}

func (b *Background) work() {
	for t := range b.queue {
		if err := b.run(t); err != nil {
			b.drop(t, err)
		}
	}
}

func (b *Background) run(t backgroundTask) error {
	ctx, cancel := context.WithTimeout(b.ctx, backgroundTimeout)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return err
	}
	return t.do(ctx)
}

func (b *Background) drop(t backgroundTask, err error) {
	b.dropped.Add(1)
	b.logging.Do(func() {
		b.log.Warn("background task failed; the reconciler will make up for it", "task", t.name, "dropped", b.dropped.Swap(0), "error", err)
	})
}
