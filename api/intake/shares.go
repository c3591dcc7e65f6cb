package intake

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// The share of a caller is how fast it may submit before its requests use an
// overflow lane. The share is no limit: requests beyond it are accepted and wait
// behind other overflow, never in front of another caller's share. A caller
// returns to the normal lane when half of its share has grown back, so that all
// requests of a flood take one lane, in their order, instead of a single request
// taking the normal lane now and then.
const (
	shareRate  = 128 // requests per second
	shareBurst = 256 // requests at once
	shareCalm  = shareBurst / 2
)

// shares decides which callers keep within their share. Each API process judges
// by the submissions that it sees itself and asks neither Redis nor Postgres, so
// a caller that talks to several processes has several shares.
type shares struct {
	mu      sync.Mutex
	callers map[string]*share
	sweep   int // number of callers at which those with a whole share are forgotten
}

type share struct {
	*rate.Limiter
	overflowing bool // exceeded the share, and has not calmed down since
}

const sweepFirst = 1024

func newShares() *shares {
	return &shares{callers: map[string]*share{}, sweep: sweepFirst}
}

// lane takes one request from the caller's share and returns the lane for it.
func (s *shares) lane(caller string, now time.Time) jobs.Lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.callers[caller]
	if c == nil {
		s.forget(now)
		c = &share{Limiter: rate.NewLimiter(shareRate, shareBurst)}
		s.callers[caller] = c
	}
	calm := !c.overflowing || c.TokensAt(now) >= shareCalm
	c.overflowing = !c.AllowN(now, 1) || !calm
	if c.overflowing {
		return jobs.CrowdLane(caller)
	}
	return 0
}

// forget drops callers whose share has grown back completely: they are treated
// like callers that were never seen.
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
