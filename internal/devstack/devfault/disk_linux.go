package devfault

import (
	"fmt"
	"syscall"
)

func mountMemory(path string, size int64) error {
	if err := syscall.Mount("mass-devfault", path, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size)); err != nil {
		return fmt.Errorf("mount a tmpfs on %s: %w", path, err)
	}
	return nil
}

func resizeMemory(path string, size int64) error {
	if err := syscall.Mount("mass-devfault", path, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", size)); err != nil {
		return fmt.Errorf("change the size of the tmpfs on %s: %w", path, err)
	}
	return nil
}

func unmount(path string) error {
	if err := syscall.Unmount(path, syscall.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	return nil
}

func usedBytes(path string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return 0, fmt.Errorf("measure %s: %w", path, err)
	}
	return int64(s.Blocks-s.Bfree) * s.Bsize, nil
}
