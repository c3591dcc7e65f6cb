package intake

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

func TestACallerBeyondItsShareUsesAnOverflowLane(t *testing.T) {
	t.Parallel()
	s, now := newShares(), time.Now()
	for range shareBurst {
		assert.Zero(t, s.lane("key:1", now))
	}
	assert.Equal(t, jobs.CrowdLane("key:1"), s.lane("key:1", now))
	assert.NotZero(t, jobs.CrowdLane("key:1"))
	assert.Zero(t, s.lane("user:2", now), "one caller's overflow does not affect another caller")
	for range 10 * shareRate { // ten seconds at just its rate
		now = now.Add(time.Second / shareRate)
		assert.NotZero(t, s.lane("key:1", now), "all requests of a flood take one lane")
	}
	now = now.Add(time.Second)
	for range shareCalm {
		assert.Zero(t, s.lane("key:1", now), "half of the share grew back")
	}
	assert.NotZero(t, s.lane("key:1", now))
	for range 10 * shareRate / 2 { // ten seconds at half of its rate
		now = now.Add(2 * time.Second / shareRate)
		s.lane("key:1", now)
	}
	assert.Zero(t, s.lane("key:1", now), "it calmed down")
}

func TestCallersWithAWholeShareAreForgotten(t *testing.T) {
	t.Parallel()
	s, now := newShares(), time.Now()
	for range shareBurst + 1 {
		s.lane("crowd", now)
	}
	for i := range sweepFirst - 1 {
		s.lane(strconv.Itoa(i), now)
	}
	now = now.Add(time.Second)
	s.lane("new", now)
	assert.Len(t, s.callers, 2, "the overflowing caller, and the new one")
	assert.Contains(t, s.callers, "crowd")
}
