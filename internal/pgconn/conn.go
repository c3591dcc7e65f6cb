package pgconn

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/lib/pq"
)

// pqConn is what connections of the driver implement.
type pqConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
}

// pqStmt is what prepared statements of the driver implement.
type pqStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// conn is a connection whose calls end with their contexts. The driver itself
// never gets a context that can end: it would start a goroutine for each call, and
// a prepared statement would wait until the request to cancel had been sent.
type conn struct {
	pq           pqConn
	link         *link
	dialer       *dialer
	stopWatching func() bool // stops watching the context of the Connector
	connector    *Connector
	epoch        int64  // of the connector, when the connection was opened
	backend      string // names the process of the server; "" before introduce
	token        string // a setting of this session with a random value; see introduce
	answered     int64  // when the server last answered, in nanoseconds of Unix time
	useless      bool   // the server's answer says that it will not serve this connection anymore

	// unused holds closed statements that are still prepared on the server.
	// database/sql closes statements while it holds the lock of the whole pool,
	// so the next call on this connection closes them on the server.
	unused []driver.Stmt
	// unanswered means that the server may still be working on a statement.
	unanswered bool
}

// call is one use of a connection.
type call struct {
	conn         *conn
	stopWatching func() bool
	sent         int64 // bytes of the link before the call
	// repeatable means that the call has no effect that outlives the connection,
	// so database/sql may repeat the call on another connection.
	repeatable bool
}

func (c *conn) start(ctx context.Context, repeatable bool) (call, error) {
	if err := ctx.Err(); err != nil {
		return call{}, err
	}
	begun := call{conn: c, stopWatching: c.link.watch(ctx), repeatable: repeatable}
	for len(c.unused) > 0 {
		stmt := c.unused[0]
		c.unused = c.unused[1:]
		if err := stmt.Close(); err != nil {
			// No part of this call was sent.
			begun.sent = c.link.sent
			return call{}, begun.end(errors.Join(driver.ErrBadConn, err))
		}
	}
	begun.sent = c.link.sent
	return begun, nil
}

// end finishes the call and returns the error that database/sql must see.
func (c *call) end(err error) error {
	err = c.explain(err)
	c.stopWatching()
	return err
}

// explain turns an error of the driver into one that says what happened.
// driver.ErrBadConn makes database/sql repeat a call, so it is returned only when
// the call cannot have taken effect.
func (c *call) explain(err error) error {
	var answer *pq.Error
	if err == nil {
		c.conn.answered = time.Now().UnixNano()
		return nil
	}
	if errors.As(err, &answer) {
		c.conn.answered = time.Now().UnixNano()
		c.conn.learn(string(answer.Code))
		return err
	}
	cause := c.conn.link.failure()
	bad := cause != nil || errors.Is(err, driver.ErrBadConn)
	ended := c.conn.link.gaveUp()
	sent := c.conn.link.sent > c.sent
	if ended && sent {
		c.conn.unanswered = true
	}
	if sent && (isTimeout(cause) || errors.Is(cause, context.DeadlineExceeded)) {
		c.conn.connector.suspected.Store(time.Now().UnixNano())
	}
	switch {
	case !bad:
		return err
	case sent && !c.repeatable:
		if cause == nil {
			cause = errServerEnded
		}
		return fmt.Errorf("%w: %w", ErrOutcomeUnknown, cause)
	case ended, sent && isTimeout(cause):
		return fmt.Errorf("the database did not answer: %w", cause)
	}
	return driver.ErrBadConn
}

// learn decides by an error of the server, given as its SQLSTATE, whether this and
// other connections are of further use.
func (c *conn) learn(code string) {
	switch {
	case code == "25006": // read-only transaction: the server is a standby, or was demoted
		c.useless = true
		c.connector.epoch.CompareAndSwap(c.epoch, c.epoch+1)
	case code[:2] == "08", // connection exception: also a pooler that lost its server
		strings.HasPrefix(code, "57P"),   // shutdown, crash, starting up, database dropped, idle session
		code == "26000", code == "42P05": // a prepared statement is missing or exists already: the session is another one
		c.useless = true
	}
}

// errServerEnded replaces driver.ErrBadConn where the driver hides the reason.
// It wraps an io error, because a closed connection appears as one elsewhere.
var errServerEnded = fmt.Errorf("the server ended the session: %w", io.ErrUnexpectedEOF)

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// PrepareContext implements driver.ConnPrepareContext.
func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	use, err := c.start(ctx, true)
	if err != nil {
		return nil, err
	}
	prepared, err := c.pq.PrepareContext(context.Background(), query)
	if err := use.end(err); err != nil {
		return nil, err
	}
	return &stmt{pqStmt: prepared.(pqStmt), conn: c}, nil
}

// QueryContext implements driver.QueryerContext.
func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	use, err := c.start(ctx, false)
	if err != nil {
		return nil, err
	}
	found, err := c.pq.QueryContext(context.Background(), query, args)
	if err != nil {
		return nil, use.end(err)
	}
	return &rows{Rows: found, call: use}, nil
}

// ExecContext implements driver.ExecerContext.
func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	use, err := c.start(ctx, false)
	if err != nil {
		return nil, err
	}
	result, err := c.pq.ExecContext(context.Background(), query, args)
	return result, use.end(err)
}

// BeginTx implements driver.ConnBeginTx. The context is watched until the end of
// the transaction.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	use, err := c.start(ctx, true)
	if err != nil {
		return nil, err
	}
	begun, err := c.pq.BeginTx(context.Background(), opts)
	if err != nil {
		return nil, use.end(err)
	}
	return &tx{Tx: begun, call: use}, nil
}

// Ping implements driver.Pinger.
func (c *conn) Ping(ctx context.Context) error {
	use, err := c.start(ctx, true)
	if err != nil {
		return err
	}
	return use.end(c.pq.Ping(context.Background()))
}

// CheckNamedValue implements driver.NamedValueChecker.
func (c *conn) CheckNamedValue(v *driver.NamedValue) error { return c.pq.CheckNamedValue(v) }

// ResetSession implements driver.SessionResetter. A connection that the server
// ended while it was idle is not used again. Without this check a statement
// would be sent on it, and its outcome would be unknown.
func (c *conn) ResetSession(ctx context.Context) error {
	if !c.IsValid() || !quiet(c.link.Conn) {
		return driver.ErrBadConn
	}
	if c.answered < c.connector.suspected.Load() {
		ctx, cancel := context.WithTimeout(ctx, signTimeout)
		defer cancel()
		if c.Ping(ctx) != nil {
			return driver.ErrBadConn
		}
	}
	return c.pq.ResetSession(ctx)
}

// signTimeout is how long an idle connection may take to show that it works.
const signTimeout = time.Second

// IsValid implements driver.Validator.
func (c *conn) IsValid() bool {
	return !c.useless && c.epoch == c.connector.epoch.Load() && c.link.failure() == nil && c.pq.IsValid()
}

// Close implements driver.Conn. It does not wait for the server.
func (c *conn) Close() error {
	c.stopWatching()
	c.connector.forget(c)
	if c.unanswered {
		go c.cancel()
		return nil
	}
	_ = c.link.SetDeadline(time.Now().Add(closeTimeout))
	return c.pq.Close()
}

// cancel asks the server to cancel the statement whose answer this connection no
// longer waits for, and closes the connection. Otherwise the statement would keep
// its locks until it is done.
//
// The driver has no method for such a request: it sends one when the context of a
// call ends. Ping is a call that the driver carries out even on a broken
// connection. The link keeps Ping from returning before the request was made.
func (c *conn) cancel() {
	defer c.pq.Close() // fails when the driver has closed the connection, or when the link is broken
	c.dialer.cancelled = make(chan struct{})
	c.link.hold(c.dialer.cancelled)
	ended, end := context.WithCancel(context.Background())
	end()
	_ = c.pq.Ping(ended)
}

// Prepare implements driver.Conn.
func (c *conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

// Begin implements driver.Conn.
func (c *conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

// stmt is a prepared statement.
type stmt struct {
	pqStmt
	conn *conn
}

// QueryContext implements driver.StmtQueryContext.
func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	use, err := s.conn.start(ctx, false)
	if err != nil {
		return nil, err
	}
	found, err := s.pqStmt.QueryContext(context.Background(), args)
	if err != nil {
		return nil, use.end(err)
	}
	return &rows{Rows: found, call: use}, nil
}

// ExecContext implements driver.StmtExecContext.
func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	use, err := s.conn.start(ctx, false)
	if err != nil {
		return nil, err
	}
	result, err := s.pqStmt.ExecContext(context.Background(), args)
	return result, use.end(err)
}

// Close implements driver.Stmt. The next call on the connection closes the
// statement on the server.
func (s *stmt) Close() error {
	s.conn.unused = append(s.conn.unused, s.pqStmt)
	return nil
}

// rows are the rows of a query. The context of the query is watched until the
// rows are closed.
type rows struct {
	driver.Rows
	call call
}

// Next implements driver.Rows.
func (r *rows) Next(dest []driver.Value) error {
	err := r.Rows.Next(dest)
	if err == nil || err == io.EOF { //nolint:errorlint // the driver's contract: io.EOF itself is the end of the rows
		return err
	}
	return r.call.explain(err)
}

// Close implements driver.Rows.
func (r *rows) Close() error { return r.call.end(r.Rows.Close()) }

// tx is a transaction.
type tx struct {
	driver.Tx
	call call
}

// Commit implements driver.Tx.
func (t *tx) Commit() error {
	t.call.sent, t.call.repeatable = t.call.conn.link.sent, false
	return t.call.end(t.Tx.Commit())
}

// Rollback implements driver.Tx.
func (t *tx) Rollback() error {
	t.call.sent = t.call.conn.link.sent
	return t.call.end(t.Tx.Rollback())
}
