// Package refusal maps errors to the problems that clients receive. It is the
// only place where an error of the store, of the domain or of a context becomes
// an HTTP status. The cause goes to the log, never to the client.
package refusal

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/leomutto/pilot-in-a-box/internal/groupcommit"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// Of returns the problem with which a request that failed with err is answered.
// It returns a *web.Problem unchanged.
func Of(err error) *web.Problem {
	var (
		problem    *web.Problem
		transition *jobs.TransitionError
		tooLarge   *http.MaxBytesError
		missing    *store.NotFoundError
		conflict   *store.ConflictError
	)
	switch {
	case errors.As(err, &problem):
		return problem
	case errors.As(err, &transition):
		p := refused(http.StatusConflict, web.CodeTransition, sentence(transition.Error()), err)
		p.CurrentStatus, p.Allowed = transition.From, jobs.PersonTargets(transition.From)
		return p
	case errors.As(err, &tooLarge):
		return web.BodyError(err)
	case errors.Is(err, store.ErrEmailTaken):
		return refused(http.StatusConflict, web.CodeEmailTaken, "There is a user with this e-mail address.", err)
	case errors.Is(err, store.ErrLastAdmin):
		return refused(http.StatusConflict, web.CodeLastAdmin, "This is the last admin. Make another user an admin first.", err)
	case errors.Is(err, store.ErrOwnerEnded):
		return refused(http.StatusUnauthorized, web.CodeUnauthenticated, "The token is not valid: it is malformed, expired or revoked.", err)
	case errors.As(err, &conflict) && (conflict.Noun == store.NounAPIKey || conflict.Noun == store.NounRecommendation):
		return refused(http.StatusConflict, web.CodeConflict, sentence(conflict.Reason), err)
	case errors.As(err, &missing):
		return refused(http.StatusNotFound, web.CodeNotFound, "There is no such "+string(missing.Noun)+".", err)
	case errors.As(err, &conflict) && conflict.Noun == store.NounCallback:
		return refused(http.StatusConflict, web.CodeConflict, "There is no finished callback to replay.", err)
	case errors.As(err, &conflict):
		return refused(http.StatusConflict, web.CodeConflict, "The "+string(conflict.Noun)+" is not in a state that allows this.", err)
	case errors.Is(err, store.ErrNotFound):
		return refused(http.StatusNotFound, web.CodeNotFound, "The requested resource does not exist.", err)
	case errors.Is(err, store.ErrConflict):
		return refused(http.StatusConflict, web.CodeConflict, "The current state does not allow this.", err)
	case errors.Is(err, store.ErrInvalid):
		return refused(http.StatusUnprocessableEntity, web.CodeValidation, "The database refused a value of the request.", err)
	case errors.Is(err, context.Canceled):
		return refused(web.StatusClientClosed, web.CodeClientClosed, "The client closed the connection.", err)
	case errors.Is(err, groupcommit.ErrClosed):
		return refused(http.StatusServiceUnavailable, web.CodeUnavailable, "The server is shutting down. Try again.", err)
	case errors.Is(err, store.ErrUnavailable):
		return Unavailable(err)
	case errors.Is(err, context.DeadlineExceeded): // also of a password that waits to be hashed
		return refused(http.StatusServiceUnavailable, web.CodeUnavailable,
			"The server is too busy, or the database does not answer in time. Try again later.", err)
	}
	return web.Internal(err)
}

// Unavailable is the problem of a database that cannot be reached.
func Unavailable(cause error) *web.Problem {
	return refused(http.StatusServiceUnavailable, web.CodeUnavailable, "The database cannot be reached now. Try again later.", cause)
}

func refused(status int, code, detail string, cause error) *web.Problem {
	return &web.Problem{Status: status, Code: code, Detail: detail, Cause: cause}
}

func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] + "." }
