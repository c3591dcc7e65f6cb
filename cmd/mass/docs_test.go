package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The documents name tests as proofs. Each of them must exist.
func TestTheDocumentsNameTestsThatExist(t *testing.T) {
	t.Parallel()
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	named := regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z]\\w+)`")
	exists := map[string]bool{}
	claims := map[string][]string{} // name of a test: the documents that name it
	root := filepath.Join("..", "..")
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && strings.HasPrefix(entry.Name(), ".") && entry.Name() != "..":
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go") && !strings.HasSuffix(path, ".md"):
			return nil
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, ".md") {
			for _, m := range named.FindAllStringSubmatch(string(raw), -1) {
				claims[m[1]] = append(claims[m[1]], path)
			}
			return nil
		}
		for _, m := range declared.FindAllStringSubmatch(string(raw), -1) {
			exists[m[1]] = true
		}
		return nil
	}))
	require.Greater(t, len(claims), 50, "the documents name many tests")
	for name, documents := range claims {
		assert.True(t, exists[name], "%s is named in %v, but there is no such test", name, documents)
	}
}
