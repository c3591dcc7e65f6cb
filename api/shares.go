package api

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// A caller's share: what one may submit so quickly without being a crowd. It is
// no limit. What goes beyond it waits in another lane, behind nobody else's share.
const (
	shareRate  = 128 // requests a second
	shareBurst = 256 // requests at once
)

// shares tells what callers send within their share from what they send beyond
// it. Each API process judges by what it sees itself: nothing is asked of Redis
// or Postgres, and a caller who talks to several processes has several shares.
type shares struct {
	mu      sync.Mutex
	callers map[string]*rate.Limiter
	sweep   int // the number of callers at which those whose share is whole are forgotten
}

const sweepFirst = 1024

func newShares() *shares {
	return &shares{callers: map[string]*rate.Limiter{}, sweep: sweepFirst}
}

// lane takes one request from the caller's share and says which lane it goes to.
func (s *shares) lane(caller string, now time.Time) jobs.Lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	share := s.callers[caller]
	if share == nil {
		s.forget(now)
		share = rate.NewLimiter(shareRate, shareBurst)
		s.callers[caller] = share
	}
	if share.AllowN(now, 1) {
		return 0
	}
	return jobs.CrowdLane(caller)
}

// forget drops the callers whose share is whole again: they are as good as new.
func (s *shares) forget(now time.Time) {
	if len(s.callers) < s.sweep {
		return
	}
	for caller, share := range s.callers {
		if share.TokensAt(now) >= shareBurst {
			delete(s.callers, caller)
		}
	}
	s.sweep = max(sweepFirst, 2*len(s.callers))
}
