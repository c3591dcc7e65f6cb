//go:build chaos

package intake

import (
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// failBeforeEnqueue kills this process between the commit of a batch and its
// enqueue when the harness has put the file "die-before-enqueue" into the folder
// MASS_CHAOS_DIR. Of several processes, the one that removes the file dies. It
// lets some answers out first, so that their requests are acknowledged and in no
// queue.
func failBeforeEnqueue() {
	dir := os.Getenv("MASS_CHAOS_DIR")
	if dir == "" || os.Remove(filepath.Join(dir, "die-before-enqueue")) != nil {
		return
	}
	time.Sleep(20 * time.Millisecond)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
