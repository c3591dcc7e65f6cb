package pgconn

import (
	"strings"
	"syscall"
)

// tcpUserTimeout is TCP_USER_TIMEOUT of include/uapi/linux/tcp.h, in
// milliseconds. Package syscall does not have it.
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
