package api

import (
	"errors"
	"net/http"

	"github.com/leomutto/pilot-in-a-box/api/intake"
	"github.com/leomutto/pilot-in-a-box/internal/refusal"
	"github.com/leomutto/pilot-in-a-box/internal/web"
)

const detailKeyReused = "This Idempotency-Key was used for another body before. Use a new key for a new submission."

// problemOf returns the problem for an error: the one of package refusal, except
// that a full backlog exists in the API alone.
func problemOf(err error) *web.Problem {
	if errors.Is(err, intake.ErrBacklogFull) {
		return &web.Problem{
			Status: http.StatusTooManyRequests, Code: web.CodeBacklogFull,
			Detail: "Too many MassRequests are waiting already. Try again later.", Cause: err,
		}
	}
	return refusal.Of(err)
}
