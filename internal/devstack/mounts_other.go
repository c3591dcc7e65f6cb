//go:build !linux

package devstack

// detachMounts does nothing: package devfault mounts nothing here.
func detachMounts(string) {}
