package payload

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestInspectVersion(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		`{}`:                                      VersionFreeForm,
		`{"schema_version":"1.0-simple"}`:         VersionFreeForm,
		`{"a":{"schema_version":"1.1"}}`:          VersionFreeForm,
		`{"schemaVersion":"1.1"}`:                 VersionFreeForm,
		`{"schema_version":"1.1"}`:                VersionSignals,
		`{"x":[{}], "schema_version":"1\u002e1"}`: VersionSignals,
	} {
		meta, faults := Inspect([]byte(raw))
		require.Empty(t, faults, raw)
		require.Equal(t, want, meta.SchemaVersion, raw)
		require.Equal(t, want == VersionSignals, meta.Signals())
	}
	for raw, detail := range map[string]string{
		`{"schema_version":"1.2"}`:   `must be "1.1", "1.0-simple" or absent, got "1.2"`,
		`{"schema_version":" 1.1"}`:  `must be "1.1", "1.0-simple" or absent, got " 1.1"`,
		`{"schema_version":""}`:      `must be "1.1", "1.0-simple" or absent, got ""`,
		`{"schema_version":1.1}`:     `must be the string "1.1" or "1.0-simple", or absent, got a number`,
		`{"schema_version":null}`:    `must be the string "1.1" or "1.0-simple", or absent, got null`,
		`{"schema_version":["1.1"]}`: `must be the string "1.1" or "1.0-simple", or absent, got an array`,
	} {
		meta, faults := Inspect([]byte(raw))
		require.Equal(t, Faults{{"/schema_version", detail}}, faults, raw)
		require.Zero(t, meta)
	}
	_, faults := Inspect([]byte(`{"a":`))
	require.Len(t, faults, 1)
}

func TestInspectIdentifiers(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", MaxIdentifier)
	for name, test := range map[string]struct {
		raw    string
		want   Meta
		faults Faults
	}{
		"signals": {
			raw:  `{"request":{"x":[1],"assets":{"cluster_id":"c","site_id":" Cafe\u0301 "}},"schema_version":"1.1","correlation_id":"k","site_id":"no"}`,
			want: Meta{VersionSignals, "k", "Café", "c"},
		},
		"signals of wrong types": {
			raw:  `{"schema_version":"1.1","correlation_id":1,"request":{"assets":{"site_id":{},"cluster_id":null}}}`,
			want: Meta{SchemaVersion: VersionSignals},
		},
		"signals without assets": {
			raw:  `{"schema_version":"1.1","request":{"assets":[]}}`,
			want: Meta{SchemaVersion: VersionSignals},
		},
		"signals without request": {
			raw:  `{"schema_version":"1.1","request":"x"}`,
			want: Meta{SchemaVersion: VersionSignals},
		},
		"signals, long": {
			raw:  `{"schema_version":"1.1","correlation_id":"` + long + `","request":{"assets":{"site_id":"` + long + `x","cluster_id":"` + long + `x"}}}`,
			want: Meta{VersionSignals, long, "", ""},
			faults: Faults{
				{"/request/assets/site_id", "must have at most 200 characters"},
				{"/request/assets/cluster_id", "must have at most 200 characters"},
			},
		},
		"free form": {
			raw:  `{"correlation_id":"k","site_id":"s","cluster_id":"c","request":{"assets":{"site_id":"no"}}}`,
			want: Meta{VersionFreeForm, "k", "s", "c"},
		},
		"free form, odd": {
			raw:  `{"correlation_id":"` + long + `x","site_id":7,"cluster_id":"` + long + `"}`,
			want: Meta{VersionFreeForm, "", "", long},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			meta, faults := Inspect([]byte(test.raw))
			require.Equal(t, test.want, meta)
			require.Equal(t, test.faults, faults)
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	raw := []byte(`{"site_id":"s","readings":[` + strings.Repeat(`{"t":"2026-03-01T10:00:00Z","kw":812.5,"ok":true},`, 30) + `{}]}`)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if Check(raw, Limits{}) != nil {
			b.Fatal()
		}
	}
}
