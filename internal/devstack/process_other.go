//go:build !linux

package devstack

import "syscall"

// signalOnParentDeath does nothing here: the servers of a killed process live
// on until the next Start on their data folder, which stops them (see
// server.lock).
func signalOnParentDeath(*syscall.SysProcAttr, syscall.Signal) {}
