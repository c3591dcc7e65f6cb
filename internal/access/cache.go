package api

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/leomutto/pilot-in-a-box/store"
)

const (
	rememberFor  = 3 * time.Second // so what is changed elsewhere counts here within as many seconds
	rememberMost = 10_000
)

// memory keeps what was looked up for a few seconds, so that a client that makes
// thousands of requests costs the database one look. That something does not
// exist is kept, too; other errors are not.
type memory[K comparable, V any] struct {
	load    func(context.Context, K) (V, error)
	timeout time.Duration // of a look
	now     func() time.Time

	mu      sync.Mutex
	entries map[K]remembered[V]
	flights map[K]*flight[V]
}

type remembered[V any] struct {
	value V
	err   error
	until time.Time
}

// flight is a look under way, which all who ask meanwhile wait for.
type flight[V any] struct {
	done  chan struct{}
	value V
	err   error
}

func newMemory[K comparable, V any](timeout time.Duration, load func(context.Context, K) (V, error)) *memory[K, V] {
	return &memory[K, V]{
		load: load, timeout: timeout, now: time.Now,
		entries: map[K]remembered[V]{}, flights: map[K]*flight[V]{},
	}
}

// get returns what k is, as it was a few seconds ago at most.
func (m *memory[K, V]) get(ctx context.Context, k K) (V, error) {
	m.mu.Lock()
	if e, ok := m.entries[k]; ok && m.now().Before(e.until) {
		m.mu.Unlock()
		return e.value, e.err
	}
	f := m.flights[k]
	if f == nil {
		f = &flight[V]{done: make(chan struct{})}
		m.flights[k] = f
		go m.look(context.WithoutCancel(ctx), k, f)
	}
	m.mu.Unlock()
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		var nothing V
		return nothing, ctx.Err()
	}
}

func (m *memory[K, V]) look(ctx context.Context, k K, f *flight[V]) {
	f.value, f.err = bounded(ctx, m.timeout, func(ctx context.Context) (V, error) { return m.load(ctx, k) })
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.flights[k] == f { // else what it found was forgotten meanwhile
		delete(m.flights, k)
		if f.err == nil || errors.Is(f.err, store.ErrNotFound) {
			m.keep(k, remembered[V]{f.value, f.err, m.now().Add(rememberFor)})
		}
	}
	close(f.done)
}

// keep makes room by dropping what is too old; when that does not do, everything:
// somebody shows thousands of keys that do not exist.
func (m *memory[K, V]) keep(k K, e remembered[V]) {
	if len(m.entries) >= rememberMost {
		now := m.now()
		for k, e := range m.entries {
			if !now.Before(e.until) {
				delete(m.entries, k)
			}
		}
		if len(m.entries) >= rememberMost {
			clear(m.entries)
		}
	}
	m.entries[k] = e
}

// forget makes the next get look again. Other processes find out by themselves.
func (m *memory[K, V]) forget(k K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.entries, k)
	delete(m.flights, k)
}
