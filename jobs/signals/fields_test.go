package signals_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

func TestFields(t *testing.T) {
	t.Parallel()
	types := map[string]signals.FieldType{}
	for _, f := range signals.Fields() {
		path := strings.Join(f.Path, ".")
		require.NotContains(t, types, path)
		types[path] = f.Type
	}
	for path, want := range map[string]signals.FieldType{
		"schema_version": signals.TypeText, "trace.traceparent": signals.TypeText, "request.time_window.start_utc": signals.TypeText,
		"request.signals.energy.it_load_kw": signals.TypeNumber, "request.signals.workload.job_mix.batch_pct": signals.TypeNumber,
		"request.constraints.hard.no_control_actions": signals.TypeBoolean,
	} {
		require.Equal(t, want, types[path], path)
	}
	require.NotContains(t, types, "request.signals")
	require.Greater(t, len(types), 50)
}
