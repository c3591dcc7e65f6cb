package access

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/leomutto/pilot-in-a-box/store"
)

const (
	cacheFor = 3 * time.Second // so a change that another process made counts here within that time
	cacheMax = 10_000          // entries
)

// cache keeps the rows it looked up for a few seconds, so that a client that
// makes thousands of requests costs the database one lookup. It also keeps that
// a row does not exist; other errors are not kept.
type cache[K comparable, V any] struct {
	load    func(context.Context, K) (V, error)
	timeout time.Duration // of a lookup
	now     func() time.Time

	mu      sync.Mutex
	entries map[K]cached[V]
	flights map[K]*flight[V]
}

type cached[V any] struct {
	value V
	err   error
	until time.Time
}

// flight is a lookup in progress, which all callers that want the row wait for.
type flight[V any] struct {
	done  chan struct{}
	value V
	err   error
}

func newCache[K comparable, V any](timeout time.Duration, load func(context.Context, K) (V, error)) *cache[K, V] {
	return &cache[K, V]{
		load: load, timeout: timeout, now: time.Now,
		entries: map[K]cached[V]{}, flights: map[K]*flight[V]{},
	}
}

// get returns the row of k, as it was at most a few seconds ago.
func (c *cache[K, V]) get(ctx context.Context, k K) (V, error) {
	c.mu.Lock()
	if e, ok := c.entries[k]; ok && c.now().Before(e.until) {
		c.mu.Unlock()
		return e.value, e.err
	}
	f := c.flights[k]
	if f == nil {
		f = &flight[V]{done: make(chan struct{})}
		c.flights[k] = f
		go c.lookUp(context.WithoutCancel(ctx), k, f)
	}
	c.mu.Unlock()
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		var nothing V
		return nothing, ctx.Err()
	}
}

func (c *cache[K, V]) lookUp(ctx context.Context, k K, f *flight[V]) {
	within, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	f.value, f.err = c.load(within, k)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flights[k] == f { // otherwise forget was called in the meantime
		delete(c.flights, k)
		if f.err == nil || errors.Is(f.err, store.ErrNotFound) {
			c.keep(k, cached[V]{f.value, f.err, c.now().Add(cacheFor)})
		}
	}
	close(f.done)
}

// keep stores an entry. When the cache is full it drops the expired entries,
// and all of them if that is not enough: a client is trying thousands of
// made-up keys.
func (c *cache[K, V]) keep(k K, e cached[V]) {
	if len(c.entries) >= cacheMax {
		now := c.now()
		for k, e := range c.entries {
			if !now.Before(e.until) {
				delete(c.entries, k)
			}
		}
		if len(c.entries) >= cacheMax {
			clear(c.entries)
		}
	}
	c.entries[k] = e
}

// forget makes the next get look the row up again.
func (c *cache[K, V]) forget(k K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.entries, k)
	delete(c.flights, k)
}

// forgetAll makes the next get of any row look it up again.
func (c *cache[K, V]) forgetAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.entries)
	clear(c.flights)
}
