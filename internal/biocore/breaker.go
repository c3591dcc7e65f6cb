package biocore

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

// BreakerState is the state of a circuit breaker.
type BreakerState string

// The states.
const (
	BreakerClosed   BreakerState = "closed"    // calls are made
	BreakerOpen     BreakerState = "open"      // no calls are made
	BreakerHalfOpen BreakerState = "half-open" // one call at a time probes whether BioCore is back
)

// Breaker describes the circuit breaker of a client.
type Breaker struct {
	State BreakerState
	Since time.Time // when the state was entered
	// RetryIn is how long an open breaker will stay open; 0 in other states.
	RetryIn time.Duration
}

// breaker stops calls after too many failures in a row.
type breaker struct {
	circuit *gobreaker.CircuitBreaker[*response]
	pause   time.Duration
	changed atomic.Pointer[time.Time] // when the state changed last
}

func newBreaker(failures int, pause time.Duration) *breaker {
	b := &breaker{pause: pause}
	note := func() {
		now := time.Now()
		b.changed.Store(&now)
	}
	note()
	b.circuit = gobreaker.NewCircuitBreaker[*response](gobreaker.Settings{
		Name:          "biocore",
		MaxRequests:   1,
		Timeout:       pause,
		ReadyToTrip:   func(c gobreaker.Counts) bool { return int64(c.ConsecutiveFailures) >= int64(failures) },
		IsSuccessful:  func(err error) bool { return err == nil || evidenceOf(err) == healthy },
		IsExcluded:    func(err error) bool { return err != nil && evidenceOf(err) == unknown },
		OnStateChange: func(string, gobreaker.State, gobreaker.State) { note() },
	})
	return b
}

func evidenceOf(err error) evidence {
	var e *Error
	if errors.As(err, &e) {
		return e.evidence
	}
	return unhealthy
}

// do makes a call unless the breaker is open. probeTime is how long to wait
// while another call is the probe.
func (b *breaker) do(probeTime time.Duration, call func() (*response, *Error)) (*response, *Error) {
	res, err := b.circuit.Execute(func() (*response, error) {
		res, err := call()
		if err != nil {
			return nil, err
		}
		return res, nil
	})
	var e *Error
	switch {
	case err == nil:
		return res, nil
	case errors.As(err, &e):
		return nil, e
	case errors.Is(err, gobreaker.ErrTooManyRequests):
		e = newError(ReasonBreakerOpen, err, "failed too often and is being probed by another call")
		e.RetryAfter = probeTime
	default:
		e = newError(ReasonBreakerOpen, err, "failed too often and is not called for a while")
		e.RetryAfter = max(b.state().RetryIn, time.Millisecond)
	}
	e.Retry = true
	return nil, e
}

func (b *breaker) state() Breaker {
	state := b.circuit.State() // may itself change the state
	s := Breaker{State: BreakerClosed, Since: *b.changed.Load()}
	switch state {
	case gobreaker.StateOpen:
		s.State = BreakerOpen
		s.RetryIn = max(0, b.pause-time.Since(s.Since))
	case gobreaker.StateHalfOpen:
		s.State = BreakerHalfOpen
	}
	return s
}
