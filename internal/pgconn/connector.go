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
package pgconn

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/lib/pq"
)

// ErrOutcomeUnknown means that a statement was sent and its answer was lost: the
// statement may or may not have taken effect. The error that ended the wait is in
// the same chain.
var ErrOutcomeUnknown = errors.New("the statement was sent and its outcome is unknown")

const (
	// silenceMargin is the time that the server and the network may take beyond
	// the statement_timeout.
	silenceMargin = 5 * time.Second
	// defaultConnectTimeout applies to connection strings without a
	// connect_timeout.
	defaultConnectTimeout = 10 * time.Second
)

// Connector opens connections to one database. It implements driver.Connector.
type Connector struct {
	config  pq.Config
	silence time.Duration   // longest wait for the server; 0: no bound
	life    context.Context //nolint:containedctx // ends all connections, including those in calls without a context
}

// NewConnector returns a Connector for a connection string of lib/pq. When the
// context ends, all connections of the Connector end, even in the middle of a call
// without a context.
func NewConnector(ctx context.Context, dsn string) (*Connector, error) {
	config, err := pq.NewConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	if config.ConnectTimeout <= 0 {
		config.ConnectTimeout = defaultConnectTimeout
	}
	c := &Connector{config: config, life: ctx}
	if timeout := parseTimeout(config.Runtime["statement_timeout"]); timeout > 0 {
		c.silence = timeout + silenceMargin
	}
	return c, nil
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
	d := &dialer{connecting: ctx, silence: c.silence}
	connector, err := pq.NewConnectorConfig(c.config)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	connector.Dialer(d)
	opened, err := connector.Connect(ctx)
	stopWatching := d.connected()
	if !stopWatching() && err == nil {
		_ = opened.Close()
		err = d.link.failure()
	}
	if err != nil {
		if ended := ctx.Err(); ended != nil {
			return nil, fmt.Errorf("connect to the database: %w", ended)
		}
		return nil, err
	}
	return &conn{pq: opened.(pqConn), link: d.link, dialer: d, stopWatching: d.link.watch(c.life)}, nil
}

// Driver implements driver.Connector.
func (c *Connector) Driver() driver.Driver { return &pq.Driver{} }
