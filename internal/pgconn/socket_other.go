//go:build !linux

package pgconn

import "syscall"

// limitUnacked does nothing, because this system has no such setting or a
// different one.
func limitUnacked(string, string, syscall.RawConn) error { return nil }
