// Package pgconn connects to PostgreSQL through lib/pq and bounds every wait for
// the server. It must not know any statement or table.
//
// lib/pq does not end a read when a context ends: on a silent connection (a
// frozen server, a network that swallows packets) a statement waits until TCP
// gives up, which takes minutes or forever. The connections of this package
// follow these rules instead:
//
//   - When the context of a call ends, the call returns at once, whatever the
//     server does. This holds for connecting, queries, rows, transactions, pings
//     and preparations. The connection is closed, and the server is asked to
//     cancel the statement.
//   - No single read or write waits longer than the connection's
//     statement_timeout and silenceMargin: by then the server itself has ended
//     the statement, so a server that is still silent will not answer at all.
//     The bound applies to silence and not to the whole answer, which may take
//     long to transfer.
//   - A connection without a statement_timeout has no bound on silence, because
//     the server may be working: a migration, or a wait for a lock, may take as
//     long as its context allows.
//   - Keepalive probes detect a vanished peer while a connection is idle or waits
//     without a bound.
//   - A statement is never repeated once any byte of it was sent. When its answer
//     is lost, the error is ErrOutcomeUnknown.
//   - After a call that was not answered in time, every idle connection must show
//     that it still works before it is used again. A frozen pooler, or a firewall
//     that lost its state, makes all open connections silent at once.
//   - A connection whose server said that it is read-only, or that it ends the
//     session, is not used again. A read-only server also ends the use of all
//     other open connections, because they may lead to the same server.
//   - The settings of a session are made after connecting and are read back, so
//     they work behind a connection pooler. A pooler that does not keep the
//     session between two statements is refused (see session.go).
package pgconn

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lib/pq"
)

// ErrOutcomeUnknown means that a statement was sent and its answer was lost: the
// statement may or may not have taken effect. The error that ended the wait is in
// the same chain.
var ErrOutcomeUnknown = errors.New("the statement was sent and its outcome is unknown")

// ErrNotConnected means that no usable connection could be opened, for whatever
// reason. A later attempt may succeed.
var ErrNotConnected = errors.New("connect to the database")

const (
	// silenceMargin is the time that the server and the network may take beyond
	// the statement_timeout.
	silenceMargin = 3 * time.Second
	// defaultConnectTimeout applies to connection strings without a
	// connect_timeout.
	defaultConnectTimeout = 10 * time.Second
)

// Connector opens connections to one database. It implements driver.Connector.
type Connector struct {
	config   pq.Config
	settings map[string]string // of each session
	silence  time.Duration     // longest wait for the server; 0: no bound
	life     context.Context   //nolint:containedctx // ends all connections, including those in calls without a context

	// epoch grows when a server turns out to be read-only. Connections of an
	// earlier epoch are not used again.
	epoch atomic.Int64
	// suspected is when a call last ended because the server did not answer in
	// time, in nanoseconds of Unix time. A connection that has not answered since
	// is asked for a sign of life before it is used.
	suspected atomic.Int64

	mu        sync.Mutex
	backends  map[string]*conn // the open connections by their server process
	nextProbe time.Time        // when the next connection must prove that a pooler keeps sessions apart
}

// NewConnector returns a Connector for a database URL (see ParseURL). The
// defaults are parameters that the URL may leave out. When the context ends, all
// connections of the Connector end, even in the middle of a call without a
// context.
func NewConnector(ctx context.Context, databaseURL string, defaults Parameters) (*Connector, error) {
	p, err := ParseURL(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	for name, value := range defaults {
		if _, given := p[name]; !given {
			p[name] = value
		}
	}
	config, err := p.config()
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	if config.ConnectTimeout <= 0 {
		config.ConnectTimeout = defaultConnectTimeout
	}
	c := &Connector{config: config, settings: maps.Clone(config.Runtime), life: ctx, backends: map[string]*conn{}}
	// PgBouncer refuses a connection whose startup message has a parameter that
	// it does not know. The settings are made after connecting instead.
	clear(c.config.Runtime)
	if timeout := parseTimeout(c.settings["statement_timeout"]); timeout > 0 {
		c.silence = timeout + silenceMargin
	}
	return c, nil
}

// SkipComparison leaves out the comparison of two connections by which a pooler
// in transaction mode is noticed for certain. It is for short readers, which
// need no session.
func (c *Connector) SkipComparison() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nextProbe = time.Now().Add(365 * 24 * time.Hour)
}

// parseTimeout parses a run-time setting of PostgreSQL that is a duration. It
// returns 0, which means no timeout, for a value that it cannot parse.
func parseTimeout(value string) time.Duration {
	value = strings.TrimSpace(value)
	number := strings.TrimRight(value, "abcdefghijklmnopqrstuvwxyz ")
	n, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0
	}
	units := map[string]time.Duration{
		"us": time.Microsecond, "": time.Millisecond, "ms": time.Millisecond, "s": time.Second,
		"min": time.Minute, "h": time.Hour, "d": 24 * time.Hour,
	}
	return time.Duration(n * float64(units[strings.TrimSpace(value[len(number):])]))
}

// Connect implements driver.Connector.
func (c *Connector) Connect(ctx context.Context) (driver.Conn, error) {
	return c.ConnectWith(ctx, nil)
}

// ConnectWith opens a connection with further settings of the session.
func (c *Connector) ConnectWith(ctx context.Context, settings map[string]string) (driver.Conn, error) {
	opened, err := c.open(ctx, settings)
	if err == nil {
		if err = c.admit(ctx, opened); err == nil {
			return opened, nil
		}
		_ = opened.Close()
	}
	if ended := ctx.Err(); ended != nil {
		return nil, fmt.Errorf("connect to the database: %w", ended)
	}
	return nil, fmt.Errorf("%w: %w", ErrNotConnected, err)
}

// open opens a connection and makes its settings.
func (c *Connector) open(ctx context.Context, settings map[string]string) (*conn, error) {
	opened, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.config.ConnectTimeout)
	defer cancel()
	if err := opened.introduce(ctx, c.settings, settings); err != nil {
		_ = opened.Close()
		return nil, err
	}
	return opened, nil
}

// dial opens a connection. Each host may take the connect timeout.
func (c *Connector) dial(ctx context.Context) (*conn, error) {
	epoch := c.epoch.Load()
	d := &dialer{connecting: ctx, silence: c.silence}
	connector, err := pq.NewConnectorConfig(c.config)
	if err != nil {
		return nil, err
	}
	connector.Dialer(d)
	opened, err := connector.Connect(ctx)
	stopWatching := d.connected()
	if !stopWatching() && err == nil {
		_ = opened.Close()
		err = d.link.failure()
	}
	if err != nil {
		return nil, err
	}
	return &conn{
		pq: opened.(pqConn), link: d.link, dialer: d, connector: c, epoch: epoch,
		stopWatching: d.link.watch(c.life),
	}, nil
}

// Driver implements driver.Connector.
func (c *Connector) Driver() driver.Driver { return &pq.Driver{} }
