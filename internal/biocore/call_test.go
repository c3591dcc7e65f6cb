package biocore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                              0,
		"soon":                          0,
		"-3":                            0,
		"1.5":                           0,
		"0":                             0,
		"7":                             7 * time.Second,
		"999999999":                     time.Hour,
		"99999999999999999999":          0,
		"Sun, 01 Mar 2026 10:00:30 GMT": 30 * time.Second,
		"Sun, 01 Mar 2026 09:00:00 GMT": 0,
		"Mon, 01 Mar 2027 10:00:00 GMT": time.Hour,
	} {
		require.Equal(t, want, retryAfter(value, now), "%q", value)
	}
}

func TestTextsOfBioCoreAreBounded(t *testing.T) {
	t.Parallel()
	require.Equal(t, `a\nb\x1b[31m`, printable("a\nb\x1b[31m"))
	require.LessOrEqual(t, len(printable(string(make([]byte, 10_000)))), 4*200+len("…"))
	require.Equal(t, "a\ufffdb", boundText(" a\x00b "))
	require.Len(t, []rune(boundText(string(make([]rune, 10_000)))), defaultMaxLength)
}
