package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestBarOnATerminal(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		total int
		want  string
	}{
		"known total":   {4, "\rrequests ended  50% |████████████████████                    | (2/4)"},
		"unknown total": {0, "\rrequests ended: 2"},
	} {
		var out bytes.Buffer
		b := newBar(&out, test.total, "ended")
		b.terminal = true
		b.reach(2)
		b.reach(1) // never moves backwards
		assert.Equal(t, test.want, out.String(), name)
		b.finish()
		assert.Equal(t, test.want+test.want+"\n", out.String(), name)
	}
}

func TestBarElsewherePrintsALineForEachQuarter(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	b := newBar(&out, 8, "ended")
	for range 8 {
		b.add(1)
	}
	b.finish()
	assert.Equal(t, "  2 of 8 ended\n  4 of 8 ended\n  6 of 8 ended\n  8 of 8 ended\n", out.String())
}
