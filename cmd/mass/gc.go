package main

import (
	"runtime"
	"runtime/debug"
	"slices"
)

// ballastSize makes the heap of a process that serves look larger than it is.
const ballastSize = 32 << 20 // bytes

// tuneGC makes the garbage collector run less often in the subcommands that
// serve, unless the operator tuned it by GOGC or GOMEMLIMIT. release, which is
// to be called at the end, keeps the ballast alive until then.
//
// A process has about 8 MB of live data and produces much garbage. With Go's
// defaults it spends a fifth of its processor time on collecting it. The
// ballast is never touched, so it takes no physical memory, but it lets the
// garbage grow to about 80 MB between two collections. A large heap still grows
// to no more than three times its live data.
func tuneGC(args []string, getenv func(string) string) (release func()) {
	serves := len(args) > 0 && slices.Contains([]string{"api", "worker", "dev"}, args[0])
	if !serves || getenv("GOGC") != "" || getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	ballast := make([]byte, ballastSize)
	debug.SetGCPercent(200)
	return func() { runtime.KeepAlive(ballast) }
}
