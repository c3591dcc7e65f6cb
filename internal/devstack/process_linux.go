package devstack

import "syscall"

// signalOnParentDeath asks the kernel to signal the child when the thread that
// starts it ends.
func signalOnParentDeath(attr *syscall.SysProcAttr, sig syscall.Signal) { attr.Pdeathsig = sig }
