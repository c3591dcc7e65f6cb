package chaos

import "syscall"

// childAttributes keep a Ctrl-C at the terminal from the child, which the
// harness ends itself, and end the child when the harness is killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
