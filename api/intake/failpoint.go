//go:build !chaos

package intake

// failBeforeEnqueue is where the chaos harness kills an API process; see
// failpoint_chaos.go.
func failBeforeEnqueue() {}
