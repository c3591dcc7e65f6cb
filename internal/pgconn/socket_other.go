//go:build !linux

package pgconn

import "syscall"

// limitUnacked does nothing: this system has no such setting, or another one.
func limitUnacked(string, string, syscall.RawConn) error { return nil }
