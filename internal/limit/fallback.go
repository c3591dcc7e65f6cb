package limit

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// fallbackMax is how many keys are counted without Redis before all of them are
// forgotten, which bounds the memory that made-up keys can take.
const fallbackMax = 10_000

// fallback counts tokens in this process alone while Redis is unavailable.
type fallback struct {
	log *slog.Logger

	mu      sync.Mutex
	keys    map[string]*rate.Limiter
	warning rate.Sometimes
}

func newFallback(log *slog.Logger) *fallback {
	return &fallback{log: log, keys: map[string]*rate.Limiter{}, warning: rate.Sometimes{First: 1, Interval: time.Minute}}
}

// take takes up to n tokens of a key. A key has at most burst tokens, and gets
// one back per interval. left is the number that remains.
func (f *fallback) take(key string, burst int, each time.Duration, n int, now time.Time) (granted, left int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.keys[key]
	if l == nil {
		if len(f.keys) >= fallbackMax {
			clear(f.keys)
		}
		l = rate.NewLimiter(rate.Every(each), burst)
		f.keys[key] = l
	}
	for granted < n && l.AllowN(now, 1) {
		granted++
	}
	return granted, max(0, int(l.TokensAt(now)))
}

// forget gives a key all its tokens back.
func (f *fallback) forget(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.keys, key)
}

// warn logs, at most once a minute, that Redis is unavailable.
func (f *fallback) warn(ctx context.Context, err error) {
	f.warning.Do(func() {
		f.log.WarnContext(ctx, "Redis is away; each process counts its limits alone", "error", err)
	})
}
