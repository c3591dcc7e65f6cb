package pgconn

import (
	"context"
	"net"
	"sync"
	"time"
)

const (
	// keepaliveIdle, keepaliveInterval and keepaliveCount together detect a
	// vanished peer within half a minute.
	keepaliveIdle     = 15 * time.Second
	keepaliveInterval = 5 * time.Second
	keepaliveCount    = 3
	// unackedTimeout is how long sent bytes may stay unacknowledged by the peer's
	// kernel, where the system has such a setting.
	unackedTimeout = 30 * time.Second
	// cancelTimeout bounds a request to the server to cancel a statement.
	// closeTimeout bounds the message that ends a session.
	cancelTimeout = 5 * time.Second
	closeTimeout  = time.Second
)

// tcp dials every connection, with the settings that all of them share.
var tcp = net.Dialer{
	KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepaliveIdle, Interval: keepaliveInterval, Count: keepaliveCount},
	Control:         limitUnacked,
}

// dialer dials for one session. The driver uses it to connect (once for each host
// and each TLS mode that it attempts), and later to open the separate connection
// on which it asks the server to cancel a statement.
type dialer struct {
	connecting   context.Context //nolint:containedctx // the context of Connect; the driver ends that of DialContext too early
	silence      time.Duration
	link         *link         // the latest link
	stopWatching func() bool   // stops link from watching connecting
	cancelled    chan struct{} // closed when a request to cancel has been made; nil while the session is in use
}

// connected says that the session is open, so that later dials are requests to
// cancel. It returns the function that stops watching the context of Connect.
func (d *dialer) connected() (stopWatching func() bool) {
	d.connecting = nil
	if d.stopWatching == nil {
		return func() bool { return true }
	}
	d.link.open()
	return d.stopWatching
}

// Dial implements pq.Dialer.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialTimeout implements pq.Dialer.
func (d *dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

// DialContext implements pq.DialerContext.
func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if d.connecting == nil {
		return d.dialToCancel(ctx, network, address)
	}
	raw, err := tcp.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if d.stopWatching != nil {
		d.stopWatching()
	}
	d.link = &link{Conn: raw, silence: d.silence}
	d.stopWatching = d.link.watch(d.connecting)
	return d.link, nil
}

func (d *dialer) dialToCancel(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, cancelTimeout)
	defer cancel()
	raw, err := tcp.DialContext(ctx, network, address)
	if err != nil {
		close(d.cancelled)
		return nil, err
	}
	_ = raw.SetDeadline(time.Now().Add(cancelTimeout))
	return &cancelLink{Conn: raw, closed: sync.OnceFunc(func() { close(d.cancelled) })}, nil
}

// cancelLink is the connection of one request to cancel. The driver cannot change
// its deadline.
type cancelLink struct {
	net.Conn
	closed func()
}

// SetDeadline implements net.Conn.
func (l *cancelLink) SetDeadline(time.Time) error { return nil }

// Close implements net.Conn.
func (l *cancelLink) Close() error {
	defer l.closed()
	return l.Conn.Close()
}

// link is a network connection whose reads and writes end when a context that it
// watches ends, or when the server is silent for too long. After the first failure
// all later reads and writes fail at once.
//
// Only one goroutine at a time may read and write; any goroutine may call giveUp.
type link struct {
	net.Conn
	silence time.Duration
	sent    int64 // bytes written

	mu       sync.Mutex
	deadline time.Time // set by the driver for the handshake; zero: none
	opened   bool      // the handshake is over
	cause    error     // the first failure; nil while there is none
	ended    bool      // a context ended, and that was the first failure

	held <-chan struct{} // writes wait for this channel before they fail; see hold
}

// watch gives the link up when the context ends. The function that it returns
// stops watching, and reports whether the link is still usable.
func (l *link) watch(ctx context.Context) (stopWatching func() bool) {
	if ctx.Done() == nil {
		return func() bool { return true }
	}
	stop := context.AfterFunc(ctx, func() { l.giveUp(ctx.Err()) })
	return func() bool {
		if stop() || ctx.Err() == nil {
			return true
		}
		l.giveUp(ctx.Err()) // the function above has started, but may not have finished
		return false
	}
}

// giveUp ends the read or write that is under way, and makes all later ones fail.
func (l *link) giveUp(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause == nil {
		l.cause, l.ended = cause, true
	}
	_ = l.Conn.SetDeadline(time.Unix(1, 0))
}

func (l *link) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// gaveUp reports whether the end of a context ended the link.
func (l *link) gaveUp() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

// arm sets the deadline of one read or write.
func (l *link) arm(set func(time.Time) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.cause != nil:
		return l.cause
	case !l.deadline.IsZero():
		return set(l.deadline)
	case l.silence > 0:
		return set(time.Now().Add(l.silence))
	}
	return nil
}

func (l *link) fail(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause == nil {
		l.cause = err
	}
	return err
}

// Read implements net.Conn.
func (l *link) Read(b []byte) (int, error) {
	if err := l.arm(l.Conn.SetReadDeadline); err != nil {
		return 0, err
	}
	n, err := l.Conn.Read(b)
	if err != nil {
		return n, l.fail(err)
	}
	return n, nil
}

// hold makes the writes of a link that was given up wait until the channel is
// closed, but at most for cancelTimeout, before they fail.
func (l *link) hold(until <-chan struct{}) { l.held = until }

// Write implements net.Conn.
func (l *link) Write(b []byte) (int, error) {
	if err := l.arm(l.Conn.SetWriteDeadline); err != nil {
		if l.held != nil {
			select {
			case <-l.held:
			case <-time.After(cancelTimeout):
			}
		}
		return 0, err
	}
	n, err := l.Conn.Write(b)
	l.sent += int64(n)
	if err != nil {
		return n, l.fail(err)
	}
	return n, nil
}

// open ends the deadline of the handshake.
func (l *link) open() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opened, l.deadline = true, time.Time{}
	if l.cause == nil {
		_ = l.Conn.SetDeadline(time.Time{})
	}
}

// SetDeadline implements net.Conn, for the driver's handshake. The driver ends
// the deadline before its last step, which asks the server whether it is
// read-only. That step must be bounded, too, so the deadline lasts until open.
func (l *link) SetDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil {
		return l.cause
	}
	if t.IsZero() && !l.opened {
		return nil
	}
	l.deadline = t
	return l.Conn.SetDeadline(t)
}
