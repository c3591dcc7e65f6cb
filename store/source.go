package store

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strconv"
	"sync"

	"github.com/lib/pq"
)

// Source is a process that writes events.
type Source struct {
	Kind    string // subcommand; "" for a process that the trail need not know
	Version string
	Commit  string // of the build
	Host    string
	PID     int
}

// connector tells each new connection which process it is of, so that the trail
// knows without a word in any statement: the column's default reads the setting.
type connector struct {
	driver.Connector
	source Source

	mu sync.Mutex
	id string // of the row in audit_sources; "" before the first connection
}

func newConnector(dsn string, source Source) (driver.Connector, error) {
	inner, err := pq.NewConnector(dsn)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	return &connector{Connector: inner, source: source}, nil
}

// Connect implements driver.Connector.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil || c.source.Kind == "" {
		return conn, err
	}
	if err := c.introduce(ctx, conn); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// introduce enters the process in the trail with its first connection. Before the
// migration that makes the table there is nothing to enter it in.
func (c *connector) introduce(ctx context.Context, conn driver.Conn) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.id == "" {
		there, err := ask(ctx, conn, `SELECT to_regclass('audit_sources') IS NOT NULL`)
		if err != nil || there != "true" {
			return err
		}
		id, err := ask(ctx, conn, `
            INSERT INTO audit_sources (kind, version, build_commit, host, pid) VALUES ($1, $2, $3, $4, $5) RETURNING id`,
			c.source.Kind, c.source.Version, c.source.Commit, c.source.Host, int64(c.source.PID))
		if err != nil {
			return err
		}
		c.id = id
	}
	_, err := ask(ctx, conn, `SELECT set_config('mass.source', $1, false)`, c.id)
	return err
}

// ask returns the one value of a statement's one row.
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
