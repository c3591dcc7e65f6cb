package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/leomutto/pilot-in-a-box/internal/groupcommit"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/store"
)

// The codes of problems: what a program switches on. They never change their
// meaning; new ones may come.
const (
	codeInvalidJSON      = "invalid_json"           // 400
	codeUnauthenticated  = "unauthenticated"        // 401
	codeCredentials      = "invalid_credentials"    // 401
	codeCrossOrigin      = "cross_origin"           // 403
	codeForbidden        = "forbidden"              // 403
	codeNotFound         = "not_found"              // 404
	codeMethod           = "method_not_allowed"     // 405
	codeNotAcceptable    = "not_acceptable"         // 406
	codeTimeout          = "request_timeout"        // 408
	codeConflict         = "conflict"               // 409
	codeEmailTaken       = "email_taken"            // 409
	codeLastAdmin        = "last_admin"             // 409
	codeTransition       = "transition_not_allowed" // 409
	codeTooLarge         = "payload_too_large"      // 413
	codeMediaType        = "unsupported_media_type" // 415
	codeValidation       = "validation_failed"      // 422
	codeClientClosed     = "client_closed_request"  // 499
	codeKeyReused        = "idempotency_key_reused" // 422
	codeTooManyHeaders   = "too_many_headers"       // 431
	codeThrottled        = "too_many_attempts"      // 429
	codeTooFast          = "rate_limited"           // 429
	codeBacklogFull      = "backlog_full"           // 429
	codeInternal         = "internal"               // 500
	codeUnavailable      = "unavailable"            // 503
	statusClientClosed   = 499                      // nginx's status for a client that went away; only the log sees it
	problemMediaType     = "application/problem+json"
	retryAfter           = 2 // seconds, when the database is away
	retryBacklog         = 5 // seconds, when the backlog is full
	detailInternal       = "Something went wrong on our side. The request_id helps to find out what."
	detailUnavailable    = "The database cannot be reached now. Try again later."
	detailLate           = "The server could not do this in time: it is too busy, or the database does not answer. Try again later."
	detailValidation     = "The request was refused; errors lists what is wrong with it."
	detailKeyReused      = "This Idempotency-Key was used for another body before. Use a new key for a new submission."
	detailNoReplay       = "The MassRequest has no callback that has come to its end: it is under way, or there is none."
	detailInvalidStorage = "The database refused a value of the request."
)

// Problem is the body of every error answer: RFC 9457 problem details.
type Problem struct {
	Type      string       `json:"type" doc:"about:blank: code says what kind of problem it is" example:"about:blank"`
	Title     string       `json:"title" doc:"The status in words" example:"Unprocessable Entity"`
	Status    int          `json:"status" doc:"HTTP status" example:"422"`
	Detail    string       `json:"detail,omitempty" doc:"What went wrong, for people" example:"The request was refused; errors lists what is wrong with it."`
	Instance  string       `json:"instance" doc:"Path of the request" example:"/mass-requests/"`
	Code      string       `json:"code" doc:"Kind of the problem, for programs" enum:"invalid_json,unauthenticated,invalid_credentials,cross_origin,forbidden,not_found,method_not_allowed,not_acceptable,request_timeout,conflict,email_taken,last_admin,transition_not_allowed,payload_too_large,unsupported_media_type,validation_failed,idempotency_key_reused,too_many_headers,too_many_attempts,rate_limited,backlog_full,client_closed_request,internal,unavailable" example:"validation_failed"`
	RequestID string       `json:"request_id" doc:"Id of the request in the logs, also in the header X-Request-Id" example:"01JNC4P9W2Y3"`
	Errors    []FieldError `json:"errors,omitempty" doc:"Every single thing that is wrong" nullable:"false"`

	CurrentStatus jobs.Status   `json:"current_status,omitempty" doc:"With transition_not_allowed: the status of the MassRequest" example:"done"`
	Allowed       []jobs.Status `json:"allowed,omitempty" doc:"With transition_not_allowed: the statuses it can be set to" nullable:"false"`

	retryAfter int   // seconds; 0 is the usual of the status
	cause      error // for the log
}

// FieldError is one thing that is wrong with a request.
type FieldError struct {
	Pointer   string `json:"pointer,omitempty" doc:"RFC 6901 JSON pointer into the body; absent when it is the body as a whole" example:"/payload/request/signals/energy/it_load_kw"`
	Parameter string `json:"parameter,omitempty" doc:"Name of the path or query parameter" example:"limit"`
	Detail    string `json:"detail" doc:"What is wrong with it" example:"is required"`
}

// Error implements error.
func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// Unwrap returns what the client is not told.
func (p *Problem) Unwrap() error { return p.cause }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header {
	switch p.Status {
	case http.StatusUnauthorized:
		return http.Header{"Www-Authenticate": {"Bearer"}}
	case http.StatusServiceUnavailable:
		return http.Header{"Retry-After": {strconv.Itoa(retryAfter)}}
	case http.StatusTooManyRequests:
		return http.Header{"Retry-After": {strconv.Itoa(cmp.Or(p.retryAfter, retryBacklog))}}
	}
	return nil
}

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return problemMediaType }

// problemOf says of every error what the client is told. It is the only place
// that decides so.
func problemOf(err error) *Problem {
	var (
		problem    *Problem
		transition *jobs.TransitionError
		tooLarge   *http.MaxBytesError
	)
	switch {
	case errors.As(err, &problem):
		return problem
	case errors.As(err, &transition):
		return &Problem{
			Status: http.StatusConflict, Code: codeTransition, Detail: sentence(transition.Error()),
			CurrentStatus: transition.From, Allowed: jobs.PersonTargets(transition.From), cause: err,
		}
	case errors.As(err, &tooLarge):
		detail := fmt.Sprintf("The body may have at most %d bytes.", tooLarge.Limit)
		return &Problem{Status: http.StatusRequestEntityTooLarge, Code: codeTooLarge, Detail: detail, cause: err}
	case errors.Is(err, store.ErrNotFound):
		return &Problem{Status: http.StatusNotFound, Code: codeNotFound, Detail: "There is no such MassRequest.", cause: err}
	case errors.Is(err, store.ErrConflict):
		return &Problem{Status: http.StatusConflict, Code: codeConflict, Detail: "The MassRequest is not in a state that allows this.", cause: err}
	case errors.Is(err, store.ErrInvalid):
		return &Problem{Status: http.StatusUnprocessableEntity, Code: codeValidation, Detail: detailInvalidStorage, cause: err}
	case errors.Is(err, errBacklog):
		return &Problem{Status: http.StatusTooManyRequests, Code: codeBacklogFull, Detail: "Too many MassRequests wait already. Try again later.", cause: err}
	case errors.Is(err, context.Canceled):
		return &Problem{Status: statusClientClosed, Code: codeClientClosed, Detail: "The client went away.", cause: err}
	case errors.Is(err, groupcommit.ErrClosed):
		return &Problem{Status: http.StatusServiceUnavailable, Code: codeUnavailable, Detail: "The server is shutting down. Try again.", cause: err}
	case errors.Is(err, store.ErrUnavailable):
		return &Problem{Status: http.StatusServiceUnavailable, Code: codeUnavailable, Detail: detailUnavailable, cause: err}
	case errors.Is(err, context.DeadlineExceeded): // of passwords that wait to be hashed, too
		return &Problem{Status: http.StatusServiceUnavailable, Code: codeUnavailable, Detail: detailLate, cause: err}
	}
	return &Problem{Status: http.StatusInternalServerError, Code: codeInternal, Detail: detailInternal, cause: err}
}

// invalidBody is the problem of a body with faults, whose pointers start at the body.
func invalidBody(faults payload.Faults) *Problem {
	p := &Problem{Status: http.StatusUnprocessableEntity, Code: codeValidation, Detail: detailValidation}
	for _, f := range faults {
		p.Errors = append(p.Errors, FieldError{Pointer: f.Pointer, Detail: f.Detail})
	}
	return p
}

// invalidParameter is the problem of a path or query parameter.
func invalidParameter(name, detail string) *Problem {
	return &Problem{
		Status: http.StatusUnprocessableEntity, Code: codeValidation, Detail: detailValidation,
		Errors: []FieldError{{Parameter: name, Detail: detail}},
	}
}

// ofHuma is the problem of a request whose parameters huma refused. Nothing of
// the request is repeated but the names of parameters.
func ofHuma(m *huma.ErrorModel) *Problem {
	if m.Status != http.StatusUnprocessableEntity {
		return &Problem{Status: m.Status, Code: codeInternal, Detail: detailInternal, cause: m}
	}
	p := &Problem{Status: m.Status, Code: codeValidation, Detail: detailValidation}
	for _, e := range m.Errors {
		_, name, _ := strings.Cut(e.Location, ".")
		p.Errors = append(p.Errors, FieldError{Parameter: printable(name), Detail: e.Message})
	}
	return p
}

// finish fills in what every problem says about its request, and tells the log.
func (p *Problem) finish(ctx context.Context) *Problem {
	x := exchangeOf(ctx)
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	p.Instance, p.RequestID = x.path, x.id
	x.code, x.err = p.Code, p.cause
	return p
}

// transformProblems is a huma.Transformer: it finishes the problems of handlers,
// and makes problems of huma's own errors.
func transformProblems(ctx huma.Context, _ string, v any) (any, error) {
	switch v := v.(type) {
	case *Problem:
		return v.finish(ctx.Context()), nil
	case *huma.ErrorModel:
		return ofHuma(v).finish(ctx.Context()), nil
	}
	return v, nil
}

// writeProblem answers with a problem where no huma operation does.
func writeProblem(w http.ResponseWriter, r *http.Request, p *Problem) {
	for name, values := range p.GetHeaders() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", problemMediaType)
	w.WriteHeader(p.Status)
	_ = encode(w, p.finish(r.Context())) // fails only when the client is gone
}

func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] + "." }
