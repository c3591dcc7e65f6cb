//go:build !linux

package devfault

import "errors"

var errNotLinux = errors.New("this is not Linux")

func mountMemory(string, int64) error  { return errNotLinux }
func resizeMemory(string, int64) error { return errNotLinux }
func unmount(string) error             { return errNotLinux }
func usedBytes(string) (int64, error)  { return 0, errNotLinux }
