package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// traced is the line of a collection as Go 1.26 writes it.
func traced(n int, heap string) string {
	return fmt.Sprintf("gc %d @0.%03ds 2%%: 0.021+1.1+0.004 ms clock, 0.042+0.10/0.90/0+0.008 ms cpu, %s MB, 4 MB goal, 0 MB stacks, 0 MB globals, 2 P\n", n, n, heap)
}

func TestParseCollection(t *testing.T) {
	t.Parallel()
	full := traced(12, "14->15->2")
	for name, c := range map[string]struct {
		line string
		want collection
		ok   bool
	}{
		"ordinary":        {full, collection{14, 15, 2}, true},
		"forced":          {strings.TrimSuffix(full, "\n") + " (forced)\n", collection{14, 15, 2}, true},
		"looks for leaks": {strings.Replace(full, "2%:", "2% (checking for goroutine leaks):", 1), collection{14, 15, 2}, true},
		"cut off":         {full[:len(full)/2], collection{}, false},
		"a log line":      {`level=ERROR msg="gc 12 @0.1s 2%: is not one"`, collection{}, false},
		"too large":       {traced(1, "99999999999999999999->1->1"), collection{}, false},
		"empty":           {"", collection{}, false},
	} {
		got, ok := parseCollection([]byte(c.line))
		assert.Equal(t, c.ok, ok, name)
		if c.ok {
			assert.Equal(t, c.want, got, name)
		}
	}
}

func TestAllocatedBytes(t *testing.T) {
	t.Parallel()
	warm := traced(1, "4->4->1") + "level=WARN msg=something\n" + traced(2, "4->5->2")
	three := traced(3, "8->9->3") + traced(4, "8->8->2") + traced(5, "9->10->4") // 7 + 5 + 8
	for name, c := range map[string]struct {
		log  string
		from int
		want int64 // MB
		ok   bool
	}{
		"nothing":                           {"", 0, 0, false},
		"no collection":                     {"level=WARN msg=something\n", 0, 0, false},
		"from the beginning":                {warm + three, 0, 4 + 4 + 20, true},
		"what lived before is not counted":  {warm + three, len(warm), 20, true},
		"a line that ends within counts":    {warm + three, len(warm) - 10, 4 + 20, true},
		"a line without an end does not":    {warm + strings.TrimSuffix(three, "\n"), 0, 4 + 4 + 12, true},
		"other lines between":               {warm + "panic: no\n\n" + three, len(warm), 20, true},
		"two collections are too few":       {warm + three[:len(three)*2/3], len(warm), 12, false},
		"nothing after the beginning":       {warm + three, len(warm + three), 0, false},
		"a shrinking heap adds what it had": {traced(1, "9->9->9") + traced(2, "9->9->1") + traced(3, "1->1->1"), 0, 9, true},
	} {
		got, ok := allocatedBytes([]byte(c.log), int64(c.from))
		assert.Equal(t, c.want<<20, got, name)
		assert.Equal(t, c.ok, ok, name)
	}
}

func TestTraceGCKeepsOtherSettings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		env  []string
		want string
	}{
		{[]string{"A=1"}, "GODEBUG=gctrace=1"},
		{[]string{"XGODEBUG=a=1", "GODEBUG=a=1,b=2"}, "GODEBUG=a=1,b=2,gctrace=1"},
		{[]string{"GODEBUG=a=1", "GODEBUG=b=2", "A=1"}, "GODEBUG=b=2,gctrace=1"},
		{[]string{"GODEBUG=a=1", "GODEBUG="}, "GODEBUG=gctrace=1"},
		{[]string{"GODEBUG=gctrace=0"}, "GODEBUG=gctrace=0,gctrace=1"}, // the last one counts here too
	} {
		got := traceGC(c.env)
		assert.Equal(t, c.want, got[len(got)-1])
		assert.Equal(t, c.env, got[:len(got)-1])
	}
}

func TestTailSkipsCollections(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	content := "one\n" + traced(1, "4->4->1") + "two\n\nthree\n" + traced(2, "4->4->1") + traced(3, "4->4->1")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	assert.Equal(t, []string{"two", "three"}, tail(path, 2))
	assert.Equal(t, []string{"one", "two", "three"}, tail(path, 5))
	assert.Empty(t, tail(path+".none", 5))
}
