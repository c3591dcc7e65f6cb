//go:build linux || darwin

package pgconn

import (
	"errors"
	"net"
	"syscall"
)

// quiet reports whether an idle connection is open and nothing was received on
// it. What a server says unasked is the end of the session, or so rare that a new
// connection costs nothing.
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
	// Control and not Read: Read heeds the deadline of the last call.
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, peeked = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return err == nil && (errors.Is(peeked, syscall.EAGAIN) || errors.Is(peeked, syscall.EINTR))
}
