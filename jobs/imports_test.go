package jobs_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every pure package imports jobs, so whatever jobs links is linked everywhere.
func TestJobsLinksTheStandardLibraryAlone(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	require.NoError(t, err)
	assert.Equal(t, []string{"github.com/leomutto/pilot-in-a-box/jobs"}, strings.Fields(string(out)))

	out, err = exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	linked := strings.Fields(string(out))
	for _, forbidden := range []string{"net/http", "database/sql"} {
		assert.NotContains(t, linked, forbidden)
	}
}
