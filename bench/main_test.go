package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestRoundsFitIntoTheBudget(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		done           int
		budget, passed time.Duration
		another        bool
	}{
		{0, time.Second, time.Minute, true}, // the first one always
		{1, 110 * time.Second, 55 * time.Second, true},
		{1, 110 * time.Second, 56 * time.Second, false},
		{2, 110 * time.Second, 73 * time.Second, true},
		{2, 110 * time.Second, 74 * time.Second, false},
		{7, 0, time.Hour, true},
	} {
		b := &bench{options: options{budget: c.budget}, round: c.done}
		assert.Equal(t, c.another, b.another(c.passed), c)
	}
}
