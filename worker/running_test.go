package worker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// A request that a claim under way may still bring is not an orphan.
func TestAClaimUnderWayIsKnownSinceItsBeginning(t *testing.T) {
	t.Parallel()
	r := newRunningAttempts()
	before := time.Now()
	assert.False(t, r.claimingSince(before))
	first := r.beginClaim()
	after := time.Now().Add(time.Nanosecond)
	assert.False(t, r.claimingSince(before), "the claim began later")
	assert.True(t, r.claimingSince(after))
	second := r.beginClaim()
	r.endClaim(first)
	assert.False(t, r.claimingSince(after))
	assert.True(t, r.claimingSince(time.Now().Add(time.Nanosecond)))
	r.endClaim(second)
	assert.False(t, r.claimingSince(time.Now().Add(time.Hour)))
}
