//go:build linux || darwin

package pgconn

import (
	"errors"
	"net"
	"syscall"
)

// quiet reports whether an idle connection is open and nothing was received on
// it. An unsolicited message of a server ends the session, or is so rare that
// replacing the connection costs nothing.
func quiet(c net.Conn) bool {
	source, ok := c.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := source.SyscallConn()
	if err != nil {
		return false
	}
	var peeked error
	// Control is used instead of Read, because Read obeys the deadline of the last
	// call.
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, peeked = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return err == nil && (errors.Is(peeked, syscall.EAGAIN) || errors.Is(peeked, syscall.EINTR))
}
