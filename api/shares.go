package api

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// A caller's share: what one may submit so quickly without being a crowd. It is
// no limit. Who goes beyond it waits in another lane, behind nobody else's share,
// until half of the share has grown back: all of a flood takes one way, in its
// order, instead of every now and then a single request the other one.
const (
	shareRate  = 128 // requests a second
	shareBurst = 256 // requests at once
	shareCalm  = shareBurst / 2
)

// shares tells callers who keep within their share from those who do not. Each API process judges by what it sees itself: nothing is asked of Redis
// or Postgres, and a caller who talks to several processes has several shares.
type shares struct {
	mu      sync.Mutex
	callers map[string]*share
	sweep   int // the number of callers at which those whose share is whole are forgotten
}

type share struct {
	*rate.Limiter
	crowd bool // went beyond it, and has not calmed down since
}

const sweepFirst = 1024

func newShares() *shares {
	return &shares{callers: map[string]*share{}, sweep: sweepFirst}
}

// lane takes one request from the caller's share and says which lane it goes to.
func (s *shares) lane(caller string, now time.Time) jobs.Lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.callers[caller]
	if c == nil {
		s.forget(now)
		c = &share{Limiter: rate.NewLimiter(shareRate, shareBurst)}
		s.callers[caller] = c
	}
	calm := !c.crowd || c.TokensAt(now) >= shareCalm
	c.crowd = !c.AllowN(now, 1) || !calm
	if c.crowd {
		return jobs.CrowdLane(caller)
	}
	return 0
}

// forget drops the callers whose share is whole again: they are as good as new.
func (s *shares) forget(now time.Time) {
	if len(s.callers) < s.sweep {
		return
	}
	for caller, c := range s.callers {
		if c.TokensAt(now) >= shareBurst {
			delete(s.callers, caller)
		}
	}
	s.sweep = max(sweepFirst, 2*len(s.callers))
}
