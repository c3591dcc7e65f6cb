package main

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Go's runtime tells of each garbage collection when GODEBUG has gctrace=1. That is how allocations are measured: from
// outside, and alike for all contestants. It is rough, as the lines tell whole MB, rounded down, and count spans that are
// only set aside: beside the runtime's /gc/heap/allocs:bytes, one check of 6 s found 2–13 % too much at 64 connections,
// and about a fifth too much or too little at one, where the peers' heaps are of 3 MB.

// traceGC adds gctrace=1 to the environment of a process, beside whatever its GODEBUG says.
func traceGC(env []string) []string {
	setting := "gctrace=1"
	for _, e := range slices.Backward(env) { // the last one of a name is the one that counts
		if had, ok := strings.CutPrefix(e, "GODEBUG="); ok && had != "" {
			setting = had + "," + setting
		}
		if strings.HasPrefix(e, "GODEBUG=") {
			break
		}
	}
	return append(slices.Clone(env), "GODEBUG="+setting)
}

// collection is one garbage collection: the size of the heap in MB of 1<<20 bytes when it began and when it ended, and
// what of it lived.
type collection struct{ start, end, live int64 }

// gcLine is such as "gc 12 @1.234s 2%: 0.03+1.2+0.01 ms clock, 0.1+0.2/1.3/0+0.02 ms cpu, 4->5->2 MB, 4 MB goal, …".
var gcLine = regexp.MustCompile(`^gc \d+ @[0-9.]+s \d+%.*: .* ms cpu, (\d+)->(\d+)->(\d+) MB, `)

func parseCollection(line []byte) (c collection, ok bool) {
	m := gcLine.FindSubmatch(line)
	if m == nil {
		return c, false
	}
	for i, to := range []*int64{&c.start, &c.end, &c.live} {
		n, err := strconv.ParseInt(string(m[i+1]), 10, 64)
		if err != nil {
			return c, false
		}
		*to = n
	}
	return c, true
}

// leastCollections is how many have to fall in the measured time: what was allocated is known from one to the next only,
// so that of fewer a large part would belong to another time.
const leastCollections = 3

// allocatedBytes is what a process allocated in the collections whose lines end in log behind the offset from; what came
// before is read for what lived then. It is false with too few of them.
func allocatedBytes(log []byte, from int64) (int64, bool) {
	var total, live, at int64
	n := 0
	for line := range bytes.Lines(log) {
		at += int64(len(line))
		c, ok := parseCollection(line)
		if !ok || line[len(line)-1] != '\n' { // the runtime writes its lines in pieces
			continue
		}
		if at > from {
			total += c.start - live // since the one before
			total += c.end - c.start
			n++
		}
		live = c.live
	}
	return total << 20, n >= leastCollections
}

// sides are the processes of the service by what they do.
func (s *session) sides() map[string][]*child {
	return map[string][]*child{"api": {s.apiProc}, "worker": s.workers}
}

// logSizes is how far each process has written its log.
func (s *session) logSizes() map[*child]int64 {
	sizes := map[*child]int64{}
	for _, side := range s.sides() {
		for _, c := range side {
			if info, err := os.Stat(c.log); err == nil {
				sizes[c] = info.Size()
			}
		}
	}
	return sizes
}

// allocated is how many bytes each side allocated while its logs grew from one size to another. A side of which any
// process had too few collections is left out.
func (s *session) allocated(from, to map[*child]int64) map[string]int64 {
	total := map[string]int64{}
	for name, side := range s.sides() {
		var sum int64
		all := len(side) > 0
		for _, c := range side {
			content, err := os.ReadFile(c.log)
			if err != nil || int64(len(content)) < to[c] {
				all = false
				break
			}
			n, ok := allocatedBytes(content[:to[c]], from[c])
			sum += n
			all = all && ok
		}
		if all {
			total[name] = sum
		}
	}
	return total
}
