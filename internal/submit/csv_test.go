package submit

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

// No two present fields share their last name. The rule is for future fields.
func TestAmbiguousColumns(t *testing.T) {
	t.Parallel()
	fields := []signals.Field{
		{Path: []string{"a", "load"}, Type: signals.TypeNumber}, {Path: []string{"b", "load"}, Type: signals.TypeNumber},
	}
	_, err := mapColumns([]string{"load"}, fields)
	require.EqualError(t, err, `column "load" is ambiguous (a.load or b.load): use the whole path`)
	columns, err := mapColumns([]string{"b.load"}, fields)
	require.NoError(t, err)
	require.Equal(t, []string{"b", "load"}, columns[0].path)
	seen := map[string]bool{}
	for _, f := range signals.Fields() {
		leaf := f.Path[len(f.Path)-1]
		require.False(t, seen[leaf], leaf)
		seen[leaf] = true
	}
}
