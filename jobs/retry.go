package jobs

import (
	"math"
	"time"
)

// RetryPolicy limits the attempts of a request and sets the waits between them:
// Base, 2·Base, 4·Base … up to Max, each lengthened by a random share of up to
// Jitter.
type RetryPolicy struct {
	MaxTries int           // attempts in total, including the first
	Base     time.Duration // wait after the first failure
	Max      time.Duration // upper bound of a wait, without jitter
	Jitter   float64       // largest share of a wait that is added at random, 0–1
}

// Again reports whether a request that has failed failures times is tried
// again.
func (p RetryPolicy) Again(failures int) bool { return failures < p.MaxTries }

// Delay returns the wait after a failure. failures counts from 1, and random is
// uniform in [0, 1). Asynq schedules by whole seconds, so shorter waits are
// approximate.
func (p RetryPolicy) Delay(failures int, random float64) time.Duration {
	wait := float64(p.Base) * math.Pow(2, float64(max(failures, 1)-1))
	wait = min(wait, float64(p.Max))
	return time.Duration(wait * (1 + p.Jitter*random))
}
