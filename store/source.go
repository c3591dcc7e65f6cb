package store

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strconv"
	"sync/atomic"

	"github.com/leomutto/pilot-in-a-box/internal/pgconn"
)

// Source is a process that writes events.
type Source struct {
	Kind    string // subcommand; "" for a process that the trail does not record
	Version string
	Commit  string // of the build
	Host    string
	PID     int
}

// sourceSetting is the setting of a session that names the process to the trail:
// the default of audit_events.source_id reads it. No statement needs a parameter.
const sourceSetting = "mass.source"

// connector tells the server, on each new connection, which process the
// connection belongs to.
type connector struct {
	*pgconn.Connector
	source Source

	// turn is a lock for reading and creating id. It is a channel because the
	// wait for it must end when its context ends.
	turn chan struct{}
	id   atomic.Pointer[string] // id of the row in audit_sources; nil before the first connection
}

func newConnector(databaseURL string, defaults pgconn.Parameters, source Source) (driver.Connector, error) {
	inner, err := pgconn.NewConnector(context.Background(), databaseURL, defaults)
	if err != nil {
		return nil, err
	}
	return &connector{Connector: inner, source: source, turn: make(chan struct{}, 1)}, nil
}

// Connect implements driver.Connector. It sets the source also where there is
// none, because a pooler may hand over a session that another process has used.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	known := c.id.Load()
	id := ""
	if known != nil {
		id = *known
	}
	conn, err := c.ConnectWith(ctx, map[string]string{sourceSetting: id})
	if err != nil || c.source.Kind == "" || known != nil {
		return conn, err
	}
	if err := c.introduce(ctx, conn); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%w: %w", pgconn.ErrNotConnected, err)
	}
	return conn, nil
}

// introduce names the process to the server, on the connections that are opened
// before the process has an id.
func (c *connector) introduce(ctx context.Context, conn driver.Conn) error {
	id, err := c.register(ctx, conn)
	if err != nil || id == "" {
		return err
	}
	_, err = ask(ctx, conn, `SELECT set_config('`+sourceSetting+`', $1, false)`, id)
	return err
}

// register enters the process in the trail with its first connection, and
// returns the id of its row. Before the migration that creates the table it
// returns "".
func (c *connector) register(ctx context.Context, conn driver.Conn) (string, error) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if id := c.id.Load(); id != nil {
		return *id, nil
	}
	exists, err := ask(ctx, conn, `SELECT to_regclass('audit_sources') IS NOT NULL`)
	if err != nil || exists != "true" {
		return "", err
	}
	id, err := ask(ctx, conn, `
            INSERT INTO audit_sources (kind, version, build_commit, host, pid) VALUES ($1, $2, $3, $4, $5) RETURNING id`,
		c.source.Kind, c.source.Version, c.source.Commit, c.source.Host, int64(c.source.PID))
	if err != nil {
		return "", err
	}
	c.id.Store(&id)
	return id, nil
}

// ask runs a statement that returns one row of one column, and returns its
// value.
func ask(ctx context.Context, conn driver.Conn, query string, args ...any) (string, error) {
	named := make([]driver.NamedValue, len(args))
	for i, a := range args {
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	rows, err := conn.(driver.QueryerContext).QueryContext(ctx, query, named)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	row := make([]driver.Value, 1)
	if err := rows.Next(row); err != nil {
		return "", err
	}
	switch v := row[0].(type) {
	case bool:
		return strconv.FormatBool(v), nil
	case []byte:
		return string(v), nil
	default:
		return fmt.Sprint(v), nil
	}
}
