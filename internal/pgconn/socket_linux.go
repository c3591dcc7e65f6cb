package pgconn

import (
	"strings"
	"syscall"
)

// tcpUserTimeout is the option TCP_USER_TIMEOUT of include/uapi/linux/tcp.h, which
// package syscall does not define. The unit of its value is the millisecond.
const tcpUserTimeout = 18

func limitUnacked(network, _ string, c syscall.RawConn) (err error) {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	failed := c.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(unackedTimeout.Milliseconds()))
	})
	if failed != nil {
		return failed
	}
	return err
}
