package mv

import (
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestThePackageIsPure: no file of the package imports anything that reads
// files, clocks, the network or the environment, or another package of ours.
func TestThePackageIsPure(t *testing.T) {
	allowed := map[string]bool{
		"bytes": true, "crypto/sha256": true, "encoding/csv": true, "encoding/hex": true, "encoding/json": true, "errors": true, "fmt": true, "io": true,
		"math": true, "math/rand/v2": true, "slices": true, "sort": true, "strconv": true, "strings": true, "time": true,
		"gonum.org/v1/gonum/mat": true, "gonum.org/v1/gonum/stat/distuv": true,
	}
	files, err := os.ReadDir(".")
	require.NoError(t, err)
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".go") || strings.HasSuffix(file.Name(), "_test.go") {
			continue
		}
		source, err := os.ReadFile(file.Name())
		require.NoError(t, err)
		require.NotContains(t, string(source), "time.Now", file.Name())
		parsed, err := parser.ParseFile(token.NewFileSet(), file.Name(), source, parser.ImportsOnly)
		require.NoError(t, err)
		for _, i := range parsed.Imports {
			path, err := strconv.Unquote(i.Path.Value)
			require.NoError(t, err)
			require.True(t, allowed[path], "%s imports %s", file.Name(), path)
		}
	}
}
