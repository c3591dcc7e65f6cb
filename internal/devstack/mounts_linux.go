package devstack

import (
	"os"
	"strings"
	"syscall"
)

// detachMounts detaches the file systems that package devfault mounted in a
// folder. A killed process leaves them mounted, and then the folder cannot be
// removed.
func detachMounts(dir string) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "tmpfs" && strings.HasPrefix(f[1], dir+"/") {
			_ = syscall.Unmount(f[1], syscall.MNT_DETACH)
		}
	}
}
