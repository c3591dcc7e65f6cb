package config

import (
	"errors"
	"fmt"
	"net/url"
	"time"
)

// DB is about PostgreSQL.
type DB struct {
	URL              string
	MaxConns         int
	MaxIdle          int
	ConnLifetime     time.Duration
	ConnectTimeout   time.Duration
	StatementTimeout time.Duration
}

func (d *DB) settings() []setting {
	return []setting{{
		value: &d.URL, env: "DATABASE_URL", usedBy: "api worker migrate dev doctor user key audit", secret: true,
		help: "address of PostgreSQL, as postgres://user:password@host:port/name",
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
		value: &d.ConnectTimeout, env: "MASS_DB_CONNECT_TIMEOUT", usedBy: "api worker dev doctor user key audit",
		def: "3s", min: "1s",
		help: "time limit for connecting to the database, in whole seconds",
	}, {
		value: &d.StatementTimeout, env: "MASS_DB_STATEMENT_TIMEOUT", usedBy: "api worker dev doctor user key audit",
		def: "10s", min: "100ms",
		help: "time limit for one SQL statement, enforced by the server",
	}}
}

// check leaves the URL to mass doctor, which reports by itself what is wrong
// with it.
func (d *DB) check(command string) error {
	var errs []error
	switch u, err := url.Parse(d.URL); {
	case command == "doctor":
	case d.URL == "" && (command == "api" || command == "worker" || command == "migrate"):
		errs = append(errs, errors.New("DATABASE_URL is not set"))
	case d.URL != "" && (err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql"):
		// Neither the URL nor the parser's error is shown: they hold the password.
		errs = append(errs, errors.New("DATABASE_URL is not of the form postgres://user:password@host:port/name"))
	}
	if d.MaxIdle > d.MaxConns {
		errs = append(errs, fmt.Errorf("MASS_DB_MAX_IDLE (%d) must not be above MASS_DB_MAX_CONNS (%d)", d.MaxIdle, d.MaxConns))
	}
	return errors.Join(errs...)
}
