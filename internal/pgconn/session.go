package pgconn

import (
	"context"
	"crypto/rand"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// ErrTransactionPooling means that the statements of one connection reach
// different sessions of the server. Settings, prepared statements and the source
// of audit events would be those of other clients.
var ErrTransactionPooling = errors.New("the connection pooler between MASS and PostgreSQL does not keep a session for each connection " +
	"(transaction or statement pooling): set it to session pooling, or let DATABASE_URL name PostgreSQL itself")

// tokenSetting holds a random value in each session. PostgreSQL allows any name
// with a dot.
const tokenSetting = "mass.session"

// introduce makes the settings of the session in one exchange, and reads them
// back in another one. A pooler that gives the two exchanges to different sessions
// is thereby noticed.
//
// A pooler in session mode may hand over a session that another client has used
// and that was not reset. Every setting that MASS relies on is therefore made
// explicitly, and old prepared statements are removed.
func (c *conn) introduce(ctx context.Context, settings, more map[string]string) error {
	c.token = rand.Text()
	all := maps.Clone(settings)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, more)
	all[tokenSetting] = c.token
	names := slices.Sorted(maps.Keys(all))
	set, get := make([]string, len(names)), make([]string, len(names))
	for i, name := range names {
		set[i] = "set_config(" + literal(name) + ", " + literal(all[name]) + ", false)"
		get[i] = "current_setting(" + literal(name) + ", true)"
	}
	made, err := c.ask(ctx, "DEALLOCATE ALL; SELECT "+identity+", "+strings.Join(set, ", "))
	if err != nil {
		return fmt.Errorf("make the settings of the session: %w", err)
	}
	found, err := c.ask(ctx, "SELECT "+identity+", "+strings.Join(get, ", "))
	if err != nil {
		return fmt.Errorf("read the settings of the session: %w", err)
	}
	if !slices.Equal(made, found) {
		return ErrTransactionPooling
	}
	c.backend = made[0]
	return nil
}

// identity names the process of the server. Process ids alone return.
const identity = `pg_backend_pid() || ' ' || extract(epoch FROM pg_stat_get_backend_start(pg_backend_pid()))`

// literal returns a text as a constant of SQL. PgBouncer may change
// standard_conforming_strings, so a backslash needs the form that does not depend
// on that setting.
func literal(text string) string {
	text = strings.ReplaceAll(text, "'", "''")
	if strings.Contains(text, `\`) {
		return ` E'` + strings.ReplaceAll(text, `\`, `\\`) + `'`
	}
	return "'" + text + "'"
}

// ask sends one message of the simple protocol and returns its only row.
func (c *conn) ask(ctx context.Context, query string) ([]string, error) {
	rows, err := c.QueryContext(ctx, query, nil)
	if err != nil {
		return nil, err
	}
	values := make([]driver.Value, len(rows.Columns()))
	if err := errors.Join(rows.Next(values), rows.Close()); err != nil {
		return nil, err
	}
	texts := make([]string, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case nil:
		case []byte:
			texts[i] = string(v)
		default:
			texts[i] = fmt.Sprint(v)
		}
	}
	return texts, nil
}

const (
	// probeEvery is the time after which another connection is compared with a
	// second one, because a pooler may have been set up differently since.
	probeEvery = 10 * time.Minute
	// probeRetry is the same after a comparison without a result.
	probeRetry = time.Minute
	// probeTimeout bounds a comparison: in session mode, a pooler without a free
	// session lets the second connection wait.
	probeTimeout = 2 * time.Second
)

// admit adds a connection to the open ones, after the test that it has a session
// of its own.
func (c *Connector) admit(ctx context.Context, opened *conn) error {
	c.mu.Lock()
	other, shared := c.backends[opened.backend]
	due := shared || !time.Now().Before(c.nextProbe)
	if due {
		c.nextProbe = time.Now().Add(probeRetry) // others need not wait for this comparison
	}
	c.mu.Unlock()
	if due {
		certain, err := c.probe(ctx, opened)
		c.mu.Lock()
		switch {
		case err != nil:
			c.nextProbe = time.Time{}
		case certain:
			c.nextProbe = time.Now().Add(probeEvery)
		}
		c.mu.Unlock()
		if err != nil {
			c.epoch.Add(1) // connections that were admitted meanwhile have the same flaw
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if shared && c.backends[opened.backend] == other {
		// The pooler has noticed earlier than this process that the other connection
		// is closed.
		other.backend = ""
	}
	c.backends[opened.backend] = opened
	return nil
}

// forget removes a connection from the open ones.
func (c *Connector) forget(closed *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if closed.backend != "" && c.backends[closed.backend] == closed {
		delete(c.backends, closed.backend)
	}
}

// probe compares a connection with a second one, which it opens for this purpose.
// One connection alone looks the same in both modes of a pooler that has a single
// free session: all its exchanges reach that session. With two connections that
// take turns, the second one overwrites the token of the first in transaction
// mode. In session mode, and without a pooler, each has a session of its own.
//
// certain is false if there was no second connection to compare with.
func (c *Connector) probe(ctx context.Context, first *conn) (certain bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	second, err := c.open(ctx, nil)
	if errors.Is(err, ErrTransactionPooling) {
		return true, err
	}
	if err != nil {
		return false, nil //nolint:nilerr // no connection is free: the next one is compared
	}
	defer second.Close()
	for range 3 {
		for _, one := range []*conn{first, second} {
			found, err := one.ask(ctx, "SELECT "+identity+", current_setting('"+tokenSetting+"', true)")
			if err != nil {
				return false, err
			}
			if found[0] != one.backend || found[1] != one.token {
				return true, ErrTransactionPooling
			}
		}
	}
	return true, nil
}
