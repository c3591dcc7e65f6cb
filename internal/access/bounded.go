package access

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"
)

// bounded calls f and waits for it no longer than d, or until ctx ends. The
// context alone is not enough: a driver that reads from a frozen server, or from
// a network that swallows packets, does not look at it. What f does after it was
// given up is lost, so a write that was given up may have been done or not.
func bounded[T any](ctx context.Context, d time.Duration, f func(context.Context) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if p := recover(); p != nil { // nobody else would: this is not the goroutine of the request
				r.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
			done <- r
		}()
		r.value, r.err = f(ctx)
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var nothing T
		return nothing, fmt.Errorf("given up: %w", ctx.Err())
	}
}
