//go:build !linux

package chaos

import "syscall"

// childAttributes protects the child from a Ctrl-C at the terminal, because the
// harness ends the child itself. On this system the children of a killed
// harness continue to run.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
