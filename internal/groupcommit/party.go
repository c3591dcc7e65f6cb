package groupcommit

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Party is a number of items that are expected to arrive one by one and shortly
// after each other, and that are better flushed together: they are handed over
// when the last of them is there, or the patience of the first is at its end.
type Party[I, O any] struct {
	committer *Committer[I, O]
	patience  time.Duration

	mu      sync.Mutex
	missing int
	waiting []*item[I, O]
	timer   *time.Timer // runs while anybody waits
}

// Expect returns a Party of n items. Each is to call Do or Leave once; an item
// that comes later, or once more, belongs to Do of the Committer.
func (c *Committer[I, O]) Expect(n int, patience time.Duration) *Party[I, O] {
	return &Party[I, O]{committer: c, patience: patience, missing: n}
}

// Do is the Committer's, after a wait for the rest of the party.
func (p *Party[I, O]) Do(ctx context.Context, in I) (O, error) {
	it := &item[I, O]{in: in, done: make(chan struct{})}
	p.arrive(it)
	select {
	case <-it.done:
	case <-ctx.Done():
		if p.withdraw(it) {
			return it.out, fmt.Errorf("withdrawn before it was written: %w", context.Cause(ctx))
		}
	}
	return p.committer.await(ctx, it)
}

// Leave tells that one of the items will not come.
func (p *Party[I, O]) Leave() { p.arrive(nil) }

func (p *Party[I, O]) arrive(it *item[I, O]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.missing--
	if it != nil {
		p.waiting = append(p.waiting, it)
	}
	switch {
	case p.missing <= 0:
		p.handOver()
	case len(p.waiting) == 1 && it != nil:
		p.timer = time.AfterFunc(p.patience, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.handOver()
		})
	}
}

// handOver gives all that wait to the committer. The caller holds the lock.
func (p *Party[I, O]) handOver() {
	if p.timer != nil {
		p.timer.Stop()
	}
	items := p.waiting
	p.waiting = nil
	if err := p.committer.add(items...); err != nil {
		for _, it := range items {
			it.err = err
			close(it.done)
		}
	}
}

func (p *Party[I, O]) withdraw(it *item[I, O]) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, w := range p.waiting {
		if w == it {
			p.waiting = append(p.waiting[:i], p.waiting[i+1:]...)
			return true
		}
	}
	return false
}
