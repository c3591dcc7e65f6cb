package biocore

import (
	"fmt"
	"time"
)

// Reason is why there is no answer, in few enough values for a metric's label.
type Reason string

// The reasons.
const (
	ReasonTimeout     Reason = "timeout"     // BioCore did not answer in time
	ReasonConnection  Reason = "connection"  // the connection failed or broke
	ReasonTLS         Reason = "tls"         // the certificate or the handshake is not valid
	ReasonStatus      Reason = "status"      // BioCore answered with an error
	ReasonBreakerOpen Reason = "breaker"     // BioCore was not called, because it failed too often
	ReasonBusy        Reason = "busy"        // BioCore was not called, because too many calls were under way
	ReasonCanceled    Reason = "canceled"    // the caller's context ended
	ReasonRequest     Reason = "bad_request" // the ask cannot be sent
)

// Error says why Recommend, Health or Version has no answer.
type Error struct {
	Reason Reason
	// Detail completes a sentence that starts with "BioCore".
	Detail string
	// Status is the HTTP status of BioCore's last answer, or 0.
	Status int
	// Retry reports whether to ask again later. Every retry that fits into the
	// time of the request was already made.
	Retry bool
	// RetryAfter is how long to wait at least before asking again.
	RetryAfter time.Duration
	// Tries is how often BioCore was called.
	Tries int
	// Cause is for logs. It may be nil, and may reveal details of the network.
	Cause error

	again    bool     // a retry within the same Recommend makes sense
	evidence evidence // what the failure says about BioCore's health
}

// evidence is what the end of a call says about BioCore's health.
type evidence uint8

const (
	unhealthy evidence = iota // the breaker counts a failure
	healthy                   // the breaker counts a success
	unknown                   // the breaker ignores the call
)

// Error returns one line for people.
func (e *Error) Error() string { return "BioCore " + e.Detail }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

func newError(reason Reason, cause error, format string, args ...any) *Error {
	return &Error{Reason: reason, Cause: cause, Detail: fmt.Sprintf(format, args...)}
}
