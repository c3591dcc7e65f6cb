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

// The errors that callers may test for. Any other error is a fault of this
// program.
var (
	// ErrNotFound: there is no such row. Its NotFoundError says of what.
	ErrNotFound = errors.New("not found")
	// ErrConflict: the row is not in a state that allows this. Its
	// ConflictError says which row and why.
	ErrConflict = errors.New("conflict")
	// ErrInvalid: Postgres refused a value; another attempt cannot help.
	ErrInvalid = errors.New("invalid value")
	// ErrOutcomeUnknown: a statement was sent and its answer was lost, so the
	// statement may or may not have taken effect. This error comes together
	// with ErrUnavailable or with context.Canceled.
	ErrOutcomeUnknown = pgconn.ErrOutcomeUnknown
	// ErrUnavailable: Postgres does not answer now; another attempt may help
	// later.
	ErrUnavailable = errors.New("database unavailable")

	// ErrEmailTaken: another user has this e-mail address. It is an
	// ErrConflict.
	ErrEmailTaken error = &ConflictError{Noun: NounUser, Reason: "another user has this e-mail address"}
	// ErrLastAdmin: no other admin is enabled, so there would be no account
	// left that can manage users. It is an ErrConflict.
	ErrLastAdmin error = &ConflictError{Noun: NounUser, Reason: "no other admin is enabled"}
)

// Noun names the subject of an error in plain words.
type Noun string

// The nouns of errors.
const (
	NounRequest  Noun = "MassRequest"
	NounCallback Noun = "callback"
	NounDelivery Noun = "delivery"
	NounUser     Noun = "user"
	NounSession  Noun = "session"
	NounAPIKey   Noun = "API key"
	NounWorker   Noun = "worker"
	NounLeader   Noun = "leader"
	NounSeal     Noun = "seal"
	NounMark     Noun = "mark of the trail"
)

// NotFoundError says what was not found. errors.Is matches it with ErrNotFound.
type NotFoundError struct{ Noun Noun }

// Error implements error.
func (e *NotFoundError) Error() string { return string(e.Noun) + " not found" }

// Is reports whether target is ErrNotFound.
func (e *NotFoundError) Is(target error) bool { return target == ErrNotFound }

// ConflictError says which row is not in a state that allows an act, and why.
// errors.Is matches it with ErrConflict.
type ConflictError struct {
	Noun   Noun
	Reason string
}

// Error implements error.
func (e *ConflictError) Error() string { return e.Reason }

// Is reports whether target is ErrConflict.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// missing turns sql.ErrNoRows into a NotFoundError with the noun of the missing
// row. It leaves other errors, and nil, as they are.
func missing(noun Noun, err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return &NotFoundError{Noun: noun}
	}
	return err
}

// constraintErrors maps the name of a constraint in the schema to the error
// that its violation means. A violation of any other constraint is ErrInvalid.
var constraintErrors = map[string]error{
	"users_email_taken": ErrEmailTaken,
}

// wrap wraps a driver error with the act that failed and with the matching
// error of this package. nil stays nil.
func wrap(act string, err error) error {
	if err == nil {
		return nil
	}
	var answer *pq.Error
	if errors.As(err, &answer) && constraintErrors[answer.Constraint] != nil {
		return fmt.Errorf("%s: %w", act, constraintErrors[answer.Constraint]) // which says all that the driver's error does
	}
	if kind := classify(err); kind != nil {
		return fmt.Errorf("%s: %w: %w", act, kind, err)
	}
	return fmt.Errorf("%s: %w", act, err)
}

// classify returns the error of this package that a driver's error means, or
// nil.
func classify(err error) error {
	var answer *pq.Error
	if errors.As(err, &answer) {
		return classifyAnswer(answer)
	}
	var ne net.Error
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	case errors.Is(err, context.Canceled):
		return nil
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone), errors.Is(err, pgconn.ErrOutcomeUnknown),
		errors.Is(err, sql.ErrTxDone), // the end of its context rolled the transaction back before it could be committed
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne):
		return ErrUnavailable
	}
	return nil
}

// classifyAnswer classifies an error by its SQLSTATE (PostgreSQL manual,
// appendix A), never by its text.
func classifyAnswer(answer *pq.Error) error {
	switch code := string(answer.Code); {
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
