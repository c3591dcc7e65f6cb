//go:build !linux

package chaos

import "syscall"

// childAttributes keep a Ctrl-C at the terminal from the child, which the
// harness ends itself. Here a killed harness leaves its children behind.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
