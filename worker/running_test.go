package worker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// What a claim under way may still bring is nobody's orphan.
func TestUnanswered(t *testing.T) {
	t.Parallel()
	h := newHoldings()
	before := time.Now()
	assert.False(t, h.unanswered(before))
	answered := h.claiming()
	seen := time.Now().Add(time.Nanosecond)
	assert.False(t, h.unanswered(before), "it began later")
	assert.True(t, h.unanswered(seen))
	other := h.claiming()
	answered()
	assert.False(t, h.unanswered(seen))
	assert.True(t, h.unanswered(time.Now().Add(time.Nanosecond)))
	other()
	assert.False(t, h.unanswered(time.Now().Add(time.Hour)))
}
