// Package groupcommit turns many small writes into few large ones.
//
// While one flush is under way, the items that arrive gather; they go together
// in the next flush. There is no timer: an item that arrives at an idle
// Committer is flushed at once, so an idle system adds no wait, and under load
// the groups grow by themselves. It knows nothing of what is written.
package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// ErrClosed is returned for items that arrive after Close.
var ErrClosed = errors.New("group commit is closed")

// Flush writes a group of items, in the order of their arrival, and returns one
// result an item, in the same order. An error fails the whole group: then
// nothing of it may have been written, or the write must be repeatable.
type Flush[I, O any] func(ctx context.Context, items []I) ([]O, error)

// Options bound a Committer.
type Options struct {
	MaxGroup int // items a flush at most; 0 means 1024
	Parallel int // flushes at once; 0 means 1
	Fill     int // items that make another flush beside one under way worth it; 0 means 1

	// Track is shared by Committers whose flushes get in each other's way: for Fill
	// a flush of one is under way for all, and when it ends the others come first.
	// nil: the Committer has one of its own.
	Track *Track

	// Impatient makes Do and DoAll give up when their context ends also on an item
	// whose flush has begun: whether it is written is not known then.
	Impatient bool

	// Split tells of a group's error whether a single item may be to blame.
	// Such a group is flushed again in halves until the culprit stands alone,
	// so that one bad item never fails its neighbors. nil: never.
	Split func(error) bool
}

// Track is what several Committers flush on in turns. The zero value is ready for use.
type Track struct {
	mu      sync.Mutex // of all the Committers, too
	running int        // flushers under way, of all
	members []interface{ startFlusher() }
}

// Committer gathers items and flushes them in groups. It is safe for
// concurrent use; the zero value is not usable.
type Committer[I, O any] struct {
	ctx   context.Context // of the flushes; ends them when the Committer is abandoned
	stop  context.CancelFunc
	flush Flush[I, O]
	opt   Options

	track *Track // its lock guards the rest

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

// New returns a Committer that writes by flush. The flushes run under a context
// of their own, detached from those of the items they carry.
func New[I, O any](flush Flush[I, O], opt Options) *Committer[I, O] {
	if opt.MaxGroup <= 0 {
		opt.MaxGroup = 1024
	}
	if opt.Parallel <= 0 {
		opt.Parallel = 1
	}
	if opt.Track == nil {
		opt.Track = &Track{}
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &Committer[I, O]{ctx: ctx, stop: stop, flush: flush, opt: opt, track: opt.Track, idle: make(chan struct{})}
	c.track.mu.Lock()
	defer c.track.mu.Unlock()
	c.track.members = append(c.track.members, c)
	return c
}

// Do hands the item to the next flush and waits for its result. When ctx ends
// before the item's flush has begun, the item is withdrawn and nothing of it is
// written; from then on Do waits, because the outcome is not known before, unless
// the Committer is Impatient.
func (c *Committer[I, O]) Do(ctx context.Context, in I) (O, error) {
	it := &item[I, O]{in: in, done: make(chan struct{})}
	if err := c.add(it); err != nil {
		return it.out, err
	}
	return c.await(ctx, it)
}

// await waits for an item's result, or withdraws the item.
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

// Result is what became of one item of DoAll.
type Result[O any] struct {
	Out O
	Err error
}

// DoAll is Do for items that arrive together: one result an item, in their order.
// They share flushes with each other and with whatever else waits, and each is
// withdrawn, written or refused on its own.
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

// Close takes no more items, flushes those that wait, and returns when all are
// written. When ctx ends first, the flushes under way are canceled, the items
// that wait fail, and Close returns the error of ctx.
func (c *Committer[I, O]) Close(ctx context.Context) error {
	c.track.mu.Lock()
	if !c.closed {
		c.closed = true
		c.finishIfIdle()
	}
	c.track.mu.Unlock()

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

// refuse fails what waits: its turn may be long in coming.
func (c *Committer[I, O]) refuse(err error) {
	c.track.mu.Lock()
	defer c.track.mu.Unlock()
	for _, it := range c.waiting {
		it.err = err
		close(it.done)
	}
	c.waiting = nil
	c.finishIfIdle()
}

func (c *Committer[I, O]) add(items ...*item[I, O]) error {
	c.track.mu.Lock()
	defer c.track.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	c.waiting = append(c.waiting, items...)
	c.startFlusher()
	return nil
}

func (c *Committer[I, O]) withdraw(it *item[I, O]) bool {
	c.track.mu.Lock()
	defer c.track.mu.Unlock()
	for i, w := range c.waiting {
		if w == it {
			c.waiting = append(c.waiting[:i], c.waiting[i+1:]...)
			c.finishIfIdle()
			return true
		}
	}
	return false
}

// startFlusher starts another flusher if what waits is worth it. The caller holds
// the lock.
func (c *Committer[I, O]) startFlusher() {
	if c.admitFlusher() {
		go c.run()
	}
}

// admitFlusher tells whether what waits is worth another flusher, and counts it. What
// is not goes with the next one, at the latest when the track is free. The caller
// holds the lock.
func (c *Committer[I, O]) admitFlusher() bool {
	worth := len(c.waiting) > 0 && (c.track.running == 0 || len(c.waiting) >= c.opt.Fill)
	if !worth || c.running == c.opt.Parallel {
		return false
	}
	c.running++
	c.track.running++
	return true
}

// run flushes group after group until nothing waits, or until it is another
// Committer's turn.
func (c *Committer[I, O]) run() {
	for again := true; again; again = c.pass() {
		if group := c.take(); len(group) > 0 {
			c.write(group)
		}
	}
}

// take returns the next group; none when all that waited was withdrawn.
func (c *Committer[I, O]) take() []*item[I, O] {
	c.track.mu.Lock()
	defer c.track.mu.Unlock()
	n := min(len(c.waiting), c.opt.MaxGroup)
	group := c.waiting[:n:n]
	c.waiting = c.waiting[n:]
	if len(c.waiting) == 0 {
		c.waiting = nil // frees the array that the group still uses
	}
	return group
}

// pass ends a flush: first the others on the track may go on, then the Committer
// itself, with the same flusher.
func (c *Committer[I, O]) pass() (again bool) {
	c.track.mu.Lock()
	defer c.track.mu.Unlock()
	c.running--
	c.track.running--
	for _, m := range c.track.members {
		if m != any(c) {
			m.startFlusher()
		}
	}
	again = c.admitFlusher()
	c.finishIfIdle()
	return again
}

func (c *Committer[I, O]) finishIfIdle() {
	if !c.closed || c.running > 0 || len(c.waiting) > 0 {
		return
	}
	select {
	case <-c.idle: // somebody said so before
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

// call turns a panic of the flush into an error of its group: the items' owners
// must be told, and the Committer must go on.
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
