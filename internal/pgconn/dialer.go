package pgconn

import (
	"context"
	"net"
	"sync"
	"time"
)

const (
	// keepaliveIdle, keepaliveInterval and keepaliveCount find a peer that is
	// gone within half a minute.
	keepaliveIdle     = 15 * time.Second
	keepaliveInterval = 5 * time.Second
	keepaliveCount    = 3
	// unackedTimeout is how long sent bytes may stay unacknowledged by the peer's
	// kernel, where the system has such a setting.
	unackedTimeout = 30 * time.Second
	// cancelTimeout bounds the request to the server to cancel a statement, and
	// closeTimeout the message that ends a session.
	cancelTimeout = 5 * time.Second
	closeTimeout  = time.Second
)

// tcp dials with the settings of every connection.
var tcp = net.Dialer{
	KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepaliveIdle, Interval: keepaliveInterval, Count: keepaliveCount},
	Control:         limitUnacked,
}

// dialer dials for one session. The driver dials with it to connect (once for
// each host and each mode of TLS that it tries), and later, on a connection of
// its own, to ask the server to cancel a statement.
type dialer struct {
	connecting context.Context //nolint:containedctx // of Connect; the driver ends the context of DialContext too early
	silence    time.Duration
	link       *link         // the latest one
	unheed     func() bool   // ends the attention of link to connecting
	cancelled  chan struct{} // closed when a request to cancel has been made; nil while the session is in use
}

// connected ends the time in which dials are attempts to connect, and returns
// what ends the attention to the context of Connect.
func (d *dialer) connected() (unheed func() bool) {
	d.connecting = nil
	if d.unheed == nil {
		return func() bool { return true }
	}
	return d.unheed
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
	if d.unheed != nil {
		d.unheed()
	}
	d.link = &link{Conn: raw, silence: d.silence}
	d.unheed = d.link.heed(d.connecting)
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

// cancelLink is the connection of one request to cancel. Its deadline is its own.
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

// link is a network connection whose reads and writes end with the contexts that
// it heeds, or after too long a silence. After the first failure all others fail
// at once.
//
// One goroutine at a time reads and writes; any goroutine may end that.
type link struct {
	net.Conn
	silence time.Duration
	sent    int64 // bytes written

	mu       sync.Mutex
	deadline time.Time // of the driver, for the handshake; zero: none
	cause    error     // of the first failure; nil while there is none
	ended    bool      // the failure is the end of a context

	held <-chan struct{} // writes wait for it before they fail; see hold
}

// heed gives the link up when the context ends. The function that it returns
// ends that, and reports whether the link was not given up.
func (l *link) heed(ctx context.Context) (unheed func() bool) {
	if ctx.Done() == nil {
		return func() bool { return true }
	}
	stop := context.AfterFunc(ctx, func() { l.giveUp(ctx.Err()) })
	return func() bool {
		if stop() || ctx.Err() == nil {
			return true
		}
		l.giveUp(ctx.Err()) // the function above has started, but may not have reached its end
		return false
	}
}

// giveUp ends the read or write that is under way and all later ones.
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

// arm starts the time in which one read or write has to succeed.
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

// hold makes writes of a link that was given up wait until the channel is closed,
// or for cancelTimeout, before they fail.
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

// SetDeadline implements net.Conn, for the driver's handshake.
func (l *link) SetDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil {
		return l.cause
	}
	l.deadline = t
	return l.Conn.SetDeadline(t)
}
