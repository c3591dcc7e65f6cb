package auth

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheLowerRoleCounts(t *testing.T) {
	t.Parallel()
	for _, c := range [][3]Role{
		{Admin, Viewer, Viewer}, {Viewer, Admin, Viewer}, {Operator, Operator, Operator}, {Admin, "", ""}, {"", Admin, ""}, {"root", Admin, ""}, {Admin, "root", ""},
	} {
		assert.Equal(t, c[2], c[0].AtMost(c[1]), "%v", c)
	}
}

func TestWhenAKeyExpires(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		wanted, want time.Time
		most         time.Duration
		refused      bool
	}{
		{},
		{most: time.Hour, want: now.Add(time.Hour)},
		{wanted: now.Add(time.Hour), want: now.Add(time.Hour)},
		{wanted: now.Add(time.Hour), most: time.Hour, want: now.Add(time.Hour)},
		{wanted: now.Add(time.Hour + 1), most: time.Hour, refused: true},
		{wanted: now, refused: true},
	} {
		got, err := KeyExpiry(now, c.wanted, c.most)
		require.Equal(t, c.refused, err != nil, "%+v: %v", c, err)
		if !c.refused {
			assert.Equal(t, c.want, got)
		}
	}
}
