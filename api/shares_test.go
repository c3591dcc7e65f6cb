package api

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

func TestACrowdLeavesTheSharedLane(t *testing.T) {
	t.Parallel()
	s, now := newShares(), time.Now()
	for range shareBurst {
		assert.Zero(t, s.lane("key:1", now))
	}
	assert.Equal(t, jobs.CrowdLane("key:1"), s.lane("key:1", now))
	assert.NotZero(t, jobs.CrowdLane("key:1"))
	assert.Zero(t, s.lane("user:2", now), "one caller's crowd is not another's")
	now = now.Add(time.Second)
	for range shareRate {
		assert.Zero(t, s.lane("key:1", now), "a share grows back")
	}
	assert.NotZero(t, s.lane("key:1", now))
}

func TestCallersWhoseShareIsWholeAreForgotten(t *testing.T) {
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
	assert.Len(t, s.callers, 2, "the crowd, and the new one")
	assert.Contains(t, s.callers, "crowd")
}
