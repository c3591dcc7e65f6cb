package config

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/pgconn"
)

// DB is about PostgreSQL.
type DB struct {
	URL              string
	DirectURL        string // see Direct
	MaxConns         int
	MaxIdle          int
	ConnLifetime     time.Duration
	ConnectTimeout   time.Duration
	StatementTimeout time.Duration
}

func (d *DB) settings() []setting {
	return []setting{{
		value: &d.URL, env: "DATABASE_URL", usedBy: "api worker migrate dev doctor user key audit readings", secret: true,
		help: "address of PostgreSQL, as postgres://user:password@host:port/name; several hosts, of which the writable one is used, as host1:port1,host2:port2",
	}, {
		value: &d.DirectURL, env: "DATABASE_DIRECT_URL", usedBy: "worker migrate dev doctor", secret: true,
		help: "address of PostgreSQL without a connection pooler, for the leadership of the workers and for migrations; default: DATABASE_URL",
	}, {
		value: &d.MaxConns, env: "MASS_DB_MAX_CONNS", usedBy: "api worker dev doctor", def: "16", min: "4",
		help: "maximum number of database connections of this process",
	}, {
		value: &d.MaxIdle, env: "MASS_DB_MAX_IDLE", usedBy: "api worker dev doctor", def: "8", min: "0",
		help: "maximum number of idle database connections that are kept open",
	}, {
		value: &d.ConnLifetime, env: "MASS_DB_CONN_LIFETIME", usedBy: "api worker dev", def: "30m",
		help: "age at which a database connection is replaced; 0 means never",
	}, {
		value: &d.ConnectTimeout, env: "MASS_DB_CONNECT_TIMEOUT", usedBy: "api worker dev doctor user key audit readings",
		def: "3s", min: "1s",
		help: "time limit for connecting to the database, in whole seconds",
	}, {
		value: &d.StatementTimeout, env: "MASS_DB_STATEMENT_TIMEOUT", usedBy: "api worker dev doctor user key audit readings",
		def: "10s", min: "100ms",
		help: "time limit for one SQL statement, enforced by the server",
	}}
}

// Direct returns the address for what must not go through a connection pooler.
func (d *DB) Direct() string { return cmp.Or(d.DirectURL, d.URL) }

// check leaves DATABASE_URL to mass doctor, which reports by itself what is wrong
// with it.
func (d *DB) check(command string) error {
	var errs []error
	if d.URL == "" && (command == "api" || command == "worker" || command == "migrate") {
		errs = append(errs, errors.New("DATABASE_URL is not set"))
	}
	if command != "doctor" {
		errs = append(errs, checkDatabaseURL("DATABASE_URL", d.URL))
	}
	errs = append(errs, checkDatabaseURL("DATABASE_DIRECT_URL", d.DirectURL))
	if d.MaxIdle > d.MaxConns {
		errs = append(errs, fmt.Errorf("MASS_DB_MAX_IDLE (%d) must not be above MASS_DB_MAX_CONNS (%d)", d.MaxIdle, d.MaxConns))
	}
	return errors.Join(errs...)
}

// checkDatabaseURL returns an error that shows no part of the URL, because every
// part may contain the password.
func checkDatabaseURL(setting, value string) error {
	if value == "" {
		return nil
	}
	if _, err := pgconn.ParseURL(value); err != nil {
		return errors.New(strings.Replace(err.Error(), "the database URL", setting, 1))
	}
	return nil
}
