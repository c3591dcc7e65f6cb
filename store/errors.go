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
	// ErrNotAllowed: the role of this connection may not read these rows.
	ErrNotAllowed = errors.New("not allowed")
	// ErrOutcomeUnknown: a statement was sent and its answer was lost, so the
	// statement may or may not have taken effect. This error comes together
	// with ErrUnavailable or with context.Canceled.
	ErrOutcomeUnknown = pgconn.ErrOutcomeUnknown
	// ErrOldSchema: a migration has not been applied. It comes together with
	// ErrUnavailable, because the process works once it has been.
	ErrOldSchema = errors.New("the schema of the database is older than this program: run mass migrate up")
	// ErrUnavailable: Postgres does not answer now; another attempt may help
	// later.
	ErrUnavailable = errors.New("database unavailable")

	// ErrEmailTaken: another user has this e-mail address. It is an
	// ErrConflict.
	ErrEmailTaken error = &ConflictError{Noun: NounUser, Reason: "another user has this e-mail address"}
	// ErrLastAdmin: no other admin is enabled, so there would be no account
	// left that can manage users. It is an ErrConflict.
	ErrLastAdmin error = &ConflictError{Noun: NounUser, Reason: "no other admin is enabled"}
	// ErrOwnerEnded: the user or API key that would own an API key was
	// disabled, revoked or expired a moment ago. It is an ErrConflict.
	ErrOwnerEnded error = &ConflictError{Noun: NounAPIKey, Reason: "the owner of the key does not act"}
	// ErrKeyChain: too many API keys created one another. It is an
	// ErrConflict.
	ErrKeyChain error = &ConflictError{
		Noun: NounAPIKey, Reason: "the key that asks was itself created by a key that was created by a key, and so on; use a key or a token nearer to a user",
	}
)

// Noun names the subject of an error in plain words.
type Noun string

// The nouns of errors.
const (
	NounRequest        Noun = "MassRequest"
	NounCallback       Noun = "callback"
	NounDelivery       Noun = "delivery"
	NounUser           Noun = "user"
	NounSession        Noun = "session"
	NounAPIKey         Noun = "API key"
	NounWorker         Noun = "worker"
	NounLeader         Noun = "leader"
	NounSeal           Noun = "seal"
	NounMark           Noun = "mark of the trail"
	NounSite           Noun = "site"
	NounRecommendation Noun = "recommendation"
	NounNote           Noun = "note"
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

// notFound turns sql.ErrNoRows into a NotFoundError with the noun of the missing
// row. It leaves other errors, and nil, as they are.
func notFound(noun Noun, err error) error {
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
	if errors.Is(err, pgconn.ErrNotConnected) || errors.Is(err, ErrOldSchema) {
		return ErrUnavailable
	}
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
		code[:2] == "28", // invalid authorization: a password that is being changed
		code[:2] == "3D", // unknown database: one that is being restored
		code[:2] == "53", // insufficient resources: too many connections, disk full
		code[:2] == "57", // operator intervention: shutdown, starting up, statement timeout
		code[:2] == "58", // system error, such as a failed read
		code == "55P03",  // lock timeout: a migration, VACUUM FULL
		code == "25006",  // read-only transaction: a standby, in the middle of a failover
		code == "26000",  // a prepared statement is missing: the connection's session was exchanged
		code == "42P05",  // the same: a prepared statement exists already
		code[:2] == "40": // deadlock, serialization failure
		return ErrUnavailable
	case code[:2] == "22", // data exception
		code[:2] == "23", // integrity constraint violation
		code[:2] == "54": // program limit exceeded
		return ErrInvalid
	}
	return nil
}
