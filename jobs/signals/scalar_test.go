package signals

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNumberJSON(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]Number{
		`1.50`: "1.50", `-0`: "-0", `1e3`: "1e3", `" 12.0 "`: "12.0", `12345678901234567890`: "12345678901234567890", `null`: "",
		`1e-300`: "1e-300",
	} {
		var n Number
		require.NoError(t, json.Unmarshal([]byte(raw), &n), raw)
		require.Equal(t, want, n)
		require.Equal(t, want != "", n.Given())
	}
	for _, raw := range []string{`""`, `" "`, `"x"`, `true`, `{}`, `[1]`, `"1e309"`, `1e309`, `-1e400`, `"0x1"`, `"NaN"`, `"1,5"`} {
		var n Number
		require.Error(t, json.Unmarshal([]byte(raw), &n), raw)
	}
	encoded, err := json.Marshal([]Number{"1.50", ""})
	require.NoError(t, err)
	require.Equal(t, `[1.50,null]`, string(encoded))
	require.InDelta(t, 1.5, Number("1.50").Float(), 0)
	require.Zero(t, Number("").Float())
}

func TestBoolJSON(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]Bool{`true`: "true", `false`: "false", `" true "`: "true", `"false"`: "false", `null`: ""} {
		var b Bool
		require.NoError(t, json.Unmarshal([]byte(raw), &b), raw)
		require.Equal(t, want, b)
		require.Equal(t, want == "true", b.True())
		require.Equal(t, want != "", b.Given())
	}
	for _, raw := range []string{`""`, `"True"`, `1`, `"1"`, `"yes"`, `{}`} {
		var b Bool
		require.Error(t, json.Unmarshal([]byte(raw), &b), raw)
	}
	encoded, err := json.Marshal([]Bool{"true", "false", ""})
	require.NoError(t, err)
	require.Equal(t, `[true,false,null]`, string(encoded))
}

func TestTimeUTC(t *testing.T) {
	t.Parallel()
	for sent, want := range map[string]Time{
		"2026-03-01T10:00:00Z":                    "2026-03-01T10:00:00Z",
		"2026-03-01T10:00:00.500Z":                "2026-03-01T10:00:00.500Z",
		"2026-03-01T10:00:00+01:00":               "2026-03-01T09:00:00Z",
		"2026-01-01T00:30:00.10+05:45":            "2025-12-31T18:45:00.10Z",
		"2026-03-01T10:00:00-00:00":               "2026-03-01T10:00:00Z",
		"2026-03-01T10:00:00.1234567890123-08:00": "2026-03-01T18:00:00.1234567890123Z",
		"2024-02-29T23:59:59.999999999999999Z":    "2024-02-29T23:59:59.999999999999999Z",
		"9999-12-31T23:59:59Z":                    "9999-12-31T23:59:59Z",
		"0000-01-01T00:00:00Z":                    "0000-01-01T00:00:00Z",
	} {
		_, utc, ok := parseTime(sent)
		require.True(t, ok, sent)
		require.Equal(t, want, utc)
		require.Equal(t, want, utc.UTC())
		require.Equal(t, Time(sent).Instant(), want.Instant())
	}
	for _, sent := range []string{
		"", "2026-03-01", "2026-03-01T10:00:00", "2026-03-01 10:00:00Z", "2026-03-01t10:00:00z", "2026-03-01T10:00Z",
		"2026-03-01T1:00:00Z", "2026-03-01T10:00:00,5Z", "2026-03-01T10:00:00.Z", "2026-02-29T10:00:00Z", "2026-03-01T24:00:00Z",
		"2016-12-31T23:59:60Z", "0000-01-01T00:00:00+10:00", "9999-12-31T23:59:59-10:00", "2026-03-01T10:00:00+0100",
		" 2026-03-01T10:00:00Z", "20260301T100000Z", "2026-03-01T10:00:00+99:99", "1772359200",
	} {
		_, _, ok := parseTime(sent)
		require.False(t, ok, sent)
	}
	require.True(t, Time("").Instant().IsZero())
	require.Empty(t, Time("").UTC())
}
