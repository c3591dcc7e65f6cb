package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/lib/pq"

	"github.com/leomutto/pilot-in-a-box/internal/pgconn"
)

// The errors callers may test for. All others are faults of ours.
var (
	// ErrNotFound: no such row.
	ErrNotFound = errors.New("not found")
	// ErrConflict: the row is not in a state that allows this.
	ErrConflict = errors.New("conflict")
	// ErrInvalid: Postgres refused a value; trying again cannot help.
	ErrInvalid = errors.New("invalid value")
	// ErrOutcomeUnknown: a statement was sent and its answer was lost, so that it
	// may have taken effect or not. It comes together with ErrUnavailable, or with
	// context.Canceled.
	ErrOutcomeUnknown = pgconn.ErrOutcomeUnknown
	// ErrUnavailable: Postgres cannot be asked now; trying again later may help.
	ErrUnavailable = errors.New("database unavailable")
)

// fault wraps a driver error with the act that failed and with the error of
// this package that it means. nil stays nil.
func fault(act string, err error) error {
	if err == nil {
		return nil
	}
	if kind := classify(err); kind != nil {
		return fmt.Errorf("%s: %w: %w", act, kind, err)
	}
	return fmt.Errorf("%s: %w", act, err)
}

// classify goes by the SQLSTATE (PostgreSQL manual, appendix A), never by text.
func classify(err error) error {
	var pe *pq.Error
	if errors.As(err, &pe) {
		switch code := string(pe.Code); {
		case code[:2] == "08", // connection exception
			code[:2] == "53", // insufficient resources, too many connections
			code[:2] == "57", // operator intervention: shutdown, starting up, statement timeout
			code == "25006",  // read-only transaction: a standby, in the middle of a failover
			code[:2] == "40": // deadlock, serialization failure
			return ErrUnavailable
		case code[:2] == "22", // data exception
			code[:2] == "23", // integrity constraint violation
			code[:2] == "54": // program limit exceeded
			return ErrInvalid
		}
		return nil
	}
	var ne net.Error
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	case errors.Is(err, context.Canceled):
		return nil
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone), errors.Is(err, pgconn.ErrOutcomeUnknown),
		errors.Is(err, sql.ErrTxDone), // the end of its context rolled the transaction back before we could commit it
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne):
		return ErrUnavailable
	}
	return nil
}
