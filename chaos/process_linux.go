package chaos

import "syscall"

// childAttributes protects the child from a Ctrl-C at the terminal, because the
// harness ends the child itself, and kills the child when the harness is
// killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
