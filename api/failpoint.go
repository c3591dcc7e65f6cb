//go:build !chaos

package api

// failBeforeEnqueue is where the chaos harness kills an API (failpoint_chaos.go).
func failBeforeEnqueue() {}
