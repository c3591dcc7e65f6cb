package intake

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/leomutto/pilot-in-a-box/store"
)

// Outcomes remember what the latest submissions met, for the health endpoints.
// It is safe for concurrent use.
type Outcomes struct {
	mu      sync.Mutex
	failure error     // of the latest statement; nil: it succeeded
	at      time.Time // of the failure
}

// note records the result of a statement that stores submissions. A refused
// value and a statement that was given up because the process ends say nothing
// about the database.
func (o *Outcomes) note(err error) {
	if errors.Is(err, store.ErrInvalid) || errors.Is(err, context.Canceled) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failure, o.at = err, time.Now()
}

// Failure returns the time and the error of the latest submissions. The error is nil
// if the latest submissions were stored, or if a later probe was.
func (o *Outcomes) Failure() (at time.Time, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.at, o.failure
}

// Recovered says that a write succeeded although the submissions at the given
// time failed.
func (o *Outcomes) Recovered(since time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.at.Equal(since) {
		o.failure = nil
	}
}
