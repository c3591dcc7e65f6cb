package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/payload"
)

// The codes of problems, which programs switch on. A code never changes its
// meaning; new ones may be added.
const (
	CodeInvalidJSON     = "invalid_json"           // 400
	CodeUnauthenticated = "unauthenticated"        // 401
	CodeCredentials     = "invalid_credentials"    // 401
	CodeCrossOrigin     = "cross_origin"           // 403
	CodeForbidden       = "forbidden"              // 403
	CodeAuthOff         = "auth_off"               // 403
	CodeHost            = "host_not_allowed"       // 403
	CodeNotFound        = "not_found"              // 404
	CodeMethod          = "method_not_allowed"     // 405
	CodeNotAcceptable   = "not_acceptable"         // 406
	CodeTimeout         = "request_timeout"        // 408
	CodeConflict        = "conflict"               // 409
	CodeEmailTaken      = "email_taken"            // 409
	CodeLastAdmin       = "last_admin"             // 409
	CodeTransition      = "transition_not_allowed" // 409
	CodeTooLarge        = "payload_too_large"      // 413
	CodeMediaType       = "unsupported_media_type" // 415
	CodeValidation      = "validation_failed"      // 422
	CodeKeyReused       = "idempotency_key_reused" // 422
	CodeThrottled       = "too_many_attempts"      // 429
	CodeTooFast         = "rate_limited"           // 429
	CodeBacklogFull     = "backlog_full"           // 429
	CodeTooManyHeaders  = "too_many_headers"       // 431
	CodeClientClosed    = "client_closed_request"  // 499
	CodeInternal        = "internal"               // 500
	CodeUnavailable     = "unavailable"            // 503
)

const (
	// StatusClientClosed is nginx's status for a client that has disconnected.
	// Only the log sees it.
	StatusClientClosed = 499

	// DetailInternal is the detail of every 500.
	DetailInternal = "Internal error. Quote the request_id when you report it."

	// DetailValidation is the detail of every problem with a list of errors.
	DetailValidation = "The request was refused; errors lists what is wrong with it."

	retryUnavailable = 2 // seconds; the default Retry-After of a 503
	retryTooMany     = 5 // seconds; the default Retry-After of a 429
)

// Problem is the body of every error answer: RFC 9457 problem details.
type Problem struct {
	Type      string       `json:"type" doc:"Always about:blank; the kind of the problem is in code" example:"about:blank"`
	Title     string       `json:"title" doc:"The status in words" example:"Unprocessable Entity"`
	Status    int          `json:"status" doc:"HTTP status" example:"422"`
	Detail    string       `json:"detail,omitempty" doc:"What went wrong, for people" example:"The request was refused; errors lists what is wrong with it."`
	Instance  string       `json:"instance" doc:"Path of the request" example:"/mass-requests/"`
	Code      string       `json:"code" doc:"Kind of the problem, for programs" enum:"invalid_json,unauthenticated,invalid_credentials,cross_origin,forbidden,auth_off,host_not_allowed,not_found,method_not_allowed,not_acceptable,request_timeout,conflict,email_taken,last_admin,transition_not_allowed,payload_too_large,unsupported_media_type,validation_failed,idempotency_key_reused,too_many_headers,too_many_attempts,rate_limited,backlog_full,client_closed_request,internal,unavailable" example:"validation_failed"`
	RequestID string       `json:"request_id" doc:"Id of the HTTP request: http_request_id in the logs, X-Request-Id in the headers" example:"01JNC4P9W2Y3"`
	Errors    []FieldError `json:"errors,omitempty" doc:"Every fault that was found in the request" nullable:"false"`

	CurrentStatus jobs.Status   `json:"current_status,omitempty" doc:"With transition_not_allowed: the status of the MassRequest" example:"done"`
	Allowed       []jobs.Status `json:"allowed,omitempty" doc:"With transition_not_allowed: the statuses it can be set to" nullable:"false"`

	RetryAfter int   `json:"-"` // seconds; 0 means the default of the status
	Cause      error `json:"-"` // for the log only
}

// FieldError is one fault of a request.
type FieldError struct {
	Pointer   string `json:"pointer,omitempty" doc:"RFC 6901 JSON pointer into the body; absent when the fault is that of the whole body" example:"/payload/request/signals/energy/it_load_kw"`
	Parameter string `json:"parameter,omitempty" doc:"Name of the path or query parameter" example:"limit"`
	Detail    string `json:"detail" doc:"What is wrong with it" example:"is required"`
}

// Error implements error.
func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// Unwrap returns the cause, which the client does not see.
func (p *Problem) Unwrap() error { return p.Cause }

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders returns the headers that belong to the status.
func (p *Problem) GetHeaders() http.Header {
	switch p.Status {
	case http.StatusUnauthorized:
		return http.Header{"Www-Authenticate": {"Bearer"}}
	case http.StatusServiceUnavailable:
		return http.Header{"Retry-After": {strconv.Itoa(cmp.Or(p.RetryAfter, retryUnavailable))}}
	case http.StatusTooManyRequests:
		return http.Header{"Retry-After": {strconv.Itoa(cmp.Or(p.RetryAfter, retryTooMany))}}
	}
	return nil
}

// ContentType returns the media type of every problem.
func (p *Problem) ContentType(string) string { return MediaProblem }

// Complete fills in the members that every problem has, and records the problem
// for the log.
func (p *Problem) Complete(ctx context.Context) *Problem {
	x := ExchangeOf(ctx)
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	p.Instance, p.RequestID = x.Path, x.ID
	x.Code, x.Err = p.Code, p.Cause
	return p
}

// WriteProblem answers a request with a problem.
func WriteProblem(w http.ResponseWriter, r *http.Request, p *Problem) {
	for name, values := range p.GetHeaders() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", MediaProblem)
	w.WriteHeader(p.Status)
	_ = Encode(w, p.Complete(r.Context())) // fails only when the client is gone
}

// Internal is the problem of an error that the client can do nothing about.
func Internal(cause error) *Problem {
	return &Problem{Status: http.StatusInternalServerError, Code: CodeInternal, Detail: DetailInternal, Cause: cause}
}

// NotFound answers a path that no route has.
func NotFound(w http.ResponseWriter, r *http.Request) {
	WriteProblem(w, r, &Problem{Status: http.StatusNotFound, Code: CodeNotFound, Detail: "There is nothing at this path."})
}

// TooManyHeaders is the problem of a request with more than limit header
// fields.
func TooManyHeaders(limit int) *Problem {
	return &Problem{
		Status: http.StatusRequestHeaderFieldsTooLarge, Code: CodeTooManyHeaders,
		Detail: fmt.Sprintf("A request may have at most %d header fields.", limit),
	}
}

// TooLarge is the problem of a body with more than limit bytes.
func TooLarge(limit int64) *Problem {
	return &Problem{
		Status: http.StatusRequestEntityTooLarge, Code: CodeTooLarge, Detail: fmt.Sprintf("The body may have at most %d bytes.", limit),
	}
}

// InvalidBody is the problem of a body with faults, whose pointers start at the
// root of the body.
func InvalidBody(faults payload.Faults) *Problem {
	p := &Problem{Status: http.StatusUnprocessableEntity, Code: CodeValidation, Detail: DetailValidation}
	for _, f := range faults {
		p.Errors = append(p.Errors, FieldError{Pointer: f.Pointer, Detail: f.Detail})
	}
	return p
}

// InvalidParameter is the problem of a path or query parameter.
func InvalidParameter(name, detail string) *Problem {
	return &Problem{
		Status: http.StatusUnprocessableEntity, Code: CodeValidation, Detail: DetailValidation,
		Errors: []FieldError{{Parameter: Printable(name), Detail: detail}},
	}
}

// Printable returns a name that a client made up in a form that an answer may
// repeat.
func Printable(name string) string {
	const limit = 100 // bytes
	name = strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return utf8.RuneError
		}
		return c
	}, name)
	if len(name) > limit {
		name = strings.ToValidUTF8(name[:limit], "") + "…"
	}
	return name
}
