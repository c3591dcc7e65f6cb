package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"github.com/leomutto/pilot-in-a-box/internal/pgconn"
	"github.com/leomutto/pilot-in-a-box/jobs"
)

// Pool returns the connections of the store, for package migrations.
func (s *Store) Pool() *sql.DB { return s.db.DB }

// ReadOnly reports whether the server takes no writes now: it is a standby, or
// it is set to be read-only.
func (s *Store) ReadOnly(ctx context.Context) (bool, error) {
	var setting string
	err := s.db.GetContext(ctx, &setting, `SELECT current_setting('transaction_read_only')`)
	return setting == "on", wrap("ask whether the database is read-only", err)
}

// probeBytes is the size of the payload of ProbeWrite. It is larger than the
// free space that an average page has, so that a full disk refuses it.
const probeBytes = 32 << 10

// ProbeWrite tries whether a submission can be stored. It runs the statement of
// submissions in a transaction that it rolls back, so nothing remains but a gap
// in the ids.
func (s *Store) ProbeWrite(ctx context.Context) error {
	const act = "try a write"
	noise := make([]byte, probeBytes/2)
	_, _ = rand.Read(noise) // never fails
	items := []NewRequest{{
		Payload: []byte(`{"probe":"` + hex.EncodeToString(noise) + `"}`), SchemaVersion: "1.0-simple",
		Priority: jobs.Low, Origin: Origin{Actor: "health"},
	}}
	values := queryValues{"payload": jsonArray{items[0].Payload}, "new_batches": make(int32Array, 1)}
	addColumns(values, insertColumns, items)
	tx, err := s.db.BeginTxx(ctx, nil)
	if err != nil {
		return wrap(act, err)
	}
	defer tx.Rollback() //nolint:errcheck // the probe must not remain
	if _, err := tx.ExecContext(ctx, insertQuery.text, insertQuery.args(values)...); err != nil {
		return wrap(act, err)
	}
	return nil
}

// problems are the faults of Postgres that stop submissions, by SQLSTATE
// (PostgreSQL manual, appendix A).
var problems = map[pqerror.Code]string{
	"25006": "the database is read-only",
	"53100": "the disk of the database is full",
	"53200": "the database is out of memory",
	"53300": "the database has too many connections",
	"42501": "the role of MASS lacks a privilege in the database",
	"42P01": "the schema of the database does not fit this version",
	"42703": "the schema of the database does not fit this version",
	"08P01": "a connection pooler breaks the connections to the database",
	"26000": "a connection pooler mixes the sessions of its clients",
	"42P05": "a connection pooler mixes the sessions of its clients",
	"57014": "the database does not finish a statement in time",
	"57P01": "the database is shutting down",
	"57P02": "the database is restarting after a crash",
	"57P03": "the database is starting or shutting down",
}

// Problem says in plain words, without any secret, why a statement failed that
// should have succeeded. It returns "" for an error that it does not know.
func Problem(err error) string {
	var answer *pq.Error
	switch {
	case errors.Is(err, pgconn.ErrTransactionPooling):
		return "a connection pooler runs in transaction mode, but MASS needs session mode"
	case errors.As(err, &answer):
		if known := problems[answer.Code]; known != "" {
			return known
		}
		return fmt.Sprintf("the database refuses submissions (SQLSTATE %s)", answer.Code)
	case errors.Is(err, context.DeadlineExceeded):
		return "does not answer in time"
	case errors.Is(err, pgconn.ErrNotConnected):
		return "the database does not answer, or is read-only"
	}
	return ""
}
