package leader

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// The projection gives way while the trail grows fast, but not for good.
func TestTheProjectionGivesWayToAPeak(t *testing.T) {
	t.Parallel()
	d := &projectDuty{dutyBase: dutyBase{config: Config{Interval: time.Second}}}
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	full, little := time.Second/projectShare, time.Second/busyShare
	round := func(events int64) time.Duration {
		now = now.Add(time.Second)
		d.trail.settled += events
		return d.share(now)
	}
	assert.Equal(t, full, round(1_000_000), "a new leader does not know how fast the trail grows")
	assert.Equal(t, full, round(0))
	assert.Equal(t, full, round(busyEvents-1))
	for range int(giveWayFor / time.Second) {
		assert.Equal(t, little, round(2*busyEvents))
	}
	for range 3 {
		assert.Equal(t, full, round(2*busyEvents), "a load that lasts is followed")
	}
	assert.Equal(t, full, round(0))
	assert.Equal(t, little, round(2*busyEvents), "the next peak")
}
