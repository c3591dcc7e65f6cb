package jobs

import (
	"math"
	"time"
)

// RetryPolicy says how often a request is tried, and how long it waits between
// two tries: Base, 2·Base, 4·Base … up to Max, each lengthened by up to Jitter.
type RetryPolicy struct {
	MaxTries int           // tries in all, the first included
	Base     time.Duration // wait after the first failure
	Max      time.Duration // upper bound of a wait, before the jitter
	Jitter   float64       // share of the wait that is added at random, 0–1
}

// Again tells whether a request that has now failed failures times is tried again.
func (p RetryPolicy) Again(failures int) bool { return failures < p.MaxTries }

// Delay is the wait after the failures-th failure (1 for the first); random is
// uniform in [0, 1). Asynq keeps whole seconds, so shorter waits are approximate.
func (p RetryPolicy) Delay(failures int, random float64) time.Duration {
	wait := float64(p.Base) * math.Pow(2, float64(max(failures, 1)-1))
	wait = min(wait, float64(p.Max))
	return time.Duration(wait * (1 + p.Jitter*random))
}
