// Package groupcommit turns many small writes into few large ones.
//
// While one flush is under way, the items that arrive gather and go together in
// the next flush. There is no timer: an item that arrives at an idle Committer is
// flushed at once, so an idle system adds no wait, and under load the groups grow
// by themselves. The package must not know what is written.
package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// ErrClosed is returned for items that arrive after Close.
var ErrClosed = errors.New("group commit is closed")

// Flush writes a group of items in the order of their arrival, and returns one
// result per item in the same order. An error fails the whole group: then no item
// of it may have been written, or the write must be repeatable.
type Flush[I, O any] func(ctx context.Context, items []I) ([]O, error)

// Options bound a Committer.
type Options struct {
	MaxGroup int // most items in one flush; 0 means 1024
	Parallel int // flushes at once; 0 means 1
	Fill     int // waiting items that justify a second flush while one is under way; 0 means 1

	// Impatient makes Do and DoAll give up when their context ends even on an item
	// whose flush has begun: whether the item is written is unknown then.
	Impatient bool

	// Split reports whether a single item may be to blame for a group's error.
	// Such a group is flushed again in halves until the bad item is alone, so that
	// one bad item never fails its neighbors. nil: never.
	Split func(error) bool
}

// Committer gathers items and flushes them in groups. It is safe for concurrent
// use; the zero value is not usable.
type Committer[I, O any] struct {
	ctx   context.Context // of the flushes; ends when Close gives up on them
	stop  context.CancelFunc
	flush Flush[I, O]
	opt   Options

	mu      sync.Mutex // guards the rest
	waiting []*item[I, O]
	running int // flushers under way
	closed  bool
	idle    chan struct{} // closed when the Committer is closed and empty
}

type item[I, O any] struct {
	in   I
	out  O
	err  error
	done chan struct{}
}

// New returns a Committer that writes with flush. The flushes run under a context
// of their own, detached from the contexts of the items they carry.
func New[I, O any](flush Flush[I, O], opt Options) *Committer[I, O] {
	if opt.MaxGroup <= 0 {
		opt.MaxGroup = 1024
	}
	if opt.Parallel <= 0 {
		opt.Parallel = 1
	}
	ctx, stop := context.WithCancel(context.Background())
	return &Committer[I, O]{ctx: ctx, stop: stop, flush: flush, opt: opt, idle: make(chan struct{})}
}

// Do hands the item to the next flush and waits for its result. If ctx ends before
// the item's flush has begun, the item is withdrawn and not written. Once the
// flush has begun, Do waits for it whatever ctx does, because only the flush knows
// the outcome; an Impatient Committer gives up instead.
func (c *Committer[I, O]) Do(ctx context.Context, in I) (O, error) {
	it := &item[I, O]{in: in, done: make(chan struct{})}
	if err := c.add(it); err != nil {
		return it.out, err
	}
	return c.await(ctx, it)
}

// await waits for the result of an item, or withdraws the item.
func (c *Committer[I, O]) await(ctx context.Context, it *item[I, O]) (O, error) {
	select {
	case <-it.done:
	case <-ctx.Done():
		if c.withdraw(it) {
			return it.out, fmt.Errorf("withdrawn before it was written: %w", context.Cause(ctx))
		}
		if c.opt.Impatient {
			var unknown O
			return unknown, fmt.Errorf("given up: %w", context.Cause(ctx))
		}
		<-it.done
	}
	return it.out, it.err
}

// Result is the result of one item of DoAll.
type Result[O any] struct {
	Out O
	Err error
}

// DoAll is Do for items that arrive together. It returns one result per item, in
// their order. The items share flushes with each other and with other waiting
// items, and each is withdrawn, written or refused on its own.
func (c *Committer[I, O]) DoAll(ctx context.Context, in []I) []Result[O] {
	items := make([]*item[I, O], len(in))
	for i := range in {
		items[i] = &item[I, O]{in: in[i], done: make(chan struct{})}
	}
	out := make([]Result[O], len(in))
	if err := c.add(items...); err != nil {
		for i := range out {
			out[i].Err = err
		}
		return out
	}
	for i, it := range items {
		out[i].Out, out[i].Err = c.await(ctx, it)
	}
	return out
}

// Close accepts no more items, flushes the waiting ones, and returns when all are
// written. If ctx ends first, Close cancels the flushes under way, fails the
// waiting items, and returns the error of ctx.
func (c *Committer[I, O]) Close(ctx context.Context) error {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		c.finishIfIdle()
	}
	c.mu.Unlock()

	defer c.stop()
	select {
	case <-c.idle:
		return nil
	case <-ctx.Done():
		c.stop()
		c.refuse(fmt.Errorf("%w: %w", ErrClosed, context.Cause(ctx)))
		<-c.idle
		return fmt.Errorf("close group commit: %w", ctx.Err())
	}
}

// refuse fails the waiting items.
func (c *Committer[I, O]) refuse(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, it := range c.waiting {
		it.err = err
		close(it.done)
	}
	c.waiting = nil
	c.finishIfIdle()
}

func (c *Committer[I, O]) add(items ...*item[I, O]) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	c.waiting = append(c.waiting, items...)
	c.startFlusher()
	return nil
}

func (c *Committer[I, O]) withdraw(it *item[I, O]) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, w := range c.waiting {
		if w == it {
			c.waiting = append(c.waiting[:i], c.waiting[i+1:]...)
			c.finishIfIdle()
			return true
		}
	}
	return false
}

// startFlusher starts a flusher if the waiting items justify one. The caller holds
// the lock.
func (c *Committer[I, O]) startFlusher() {
	if c.admitFlusher() {
		go c.run()
	}
}

// admitFlusher reports whether the waiting items justify one more flusher, and
// counts it. Otherwise the items go with a later flush, at the latest when the
// flushers under way have ended. The caller holds the lock.
func (c *Committer[I, O]) admitFlusher() bool {
	justified := len(c.waiting) > 0 && (c.running == 0 || len(c.waiting) >= c.opt.Fill)
	if !justified || c.running == c.opt.Parallel {
		return false
	}
	c.running++
	return true
}

// run flushes group after group until the waiting items no longer justify it.
func (c *Committer[I, O]) run() {
	for again := true; again; again = c.endFlush() {
		if group := c.take(); len(group) > 0 {
			c.write(group)
		}
	}
}

// take returns the next group, which is empty when all waiting items were
// withdrawn.
func (c *Committer[I, O]) take() []*item[I, O] {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(c.waiting), c.opt.MaxGroup)
	group := c.waiting[:n:n]
	c.waiting = c.waiting[n:]
	if len(c.waiting) == 0 {
		c.waiting = nil // releases the array once the group is done with it
	}
	return group
}

// endFlush counts a flush as ended, and reports whether its flusher is to begin
// another one.
func (c *Committer[I, O]) endFlush() (again bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
	again = c.admitFlusher()
	c.finishIfIdle()
	return again
}

func (c *Committer[I, O]) finishIfIdle() {
	if !c.closed || c.running > 0 || len(c.waiting) > 0 {
		return
	}
	select {
	case <-c.idle: // closed before
	default:
		close(c.idle)
	}
}

func (c *Committer[I, O]) write(group []*item[I, O]) {
	in := make([]I, len(group))
	for i, it := range group {
		in[i] = it.in
	}
	out, err := c.call(in)
	if err == nil && len(out) != len(in) {
		err = fmt.Errorf("flush of %d items returned %d results", len(in), len(out))
	}
	if err != nil && len(group) > 1 && c.opt.Split != nil && c.opt.Split(err) {
		half := len(group) / 2
		c.write(group[:half])
		c.write(group[half:])
		return
	}
	for i, it := range group {
		if err != nil {
			it.err = err
		} else {
			it.out = out[i]
		}
		close(it.done)
	}
}

// call calls the flush. A panic of the flush becomes an error of its group: the
// callers of Do are waiting for an answer, and the Committer must go on.
func (c *Committer[I, O]) call(in []I) (out []O, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("flush panicked: %v", p)
		}
	}()
	if err := c.ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return c.flush(c.ctx, in)
}
