package api

import (
	"context"
	"errors"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/jobs"
)

const maxWait = time.Minute

// getInput asks for one request. With wait, the response is delayed until the
// request is final.
type getInput struct {
	Connection
	ID   int64    `path:"id" minimum:"1" doc:"Id of the MassRequest" example:"42"`
	Wait waitTime `query:"wait" doc:"How long to wait for a final status, at most 60s; a number with a unit, such as 500ms or 1m" example:"30s"`
}

// waitTime is a duration as a query parameter. The zero value does not wait.
type waitTime struct{ time.Duration }

// UnmarshalText implements encoding.TextUnmarshaler, for huma.
func (t *waitTime) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil || d < 0 || d > maxWait {
		return errors.New("want a duration from 0s to 60s, such as 30s")
	}
	t.Duration = d
	return nil
}

// awaitEnd returns the request as soon as the request is final, the time is up,
// or the server shuts down.
func (s *Server) awaitEnd(ctx context.Context, in *getInput) (jobs.Request, error) {
	web.Outlast(in.writer, in.Wait.Duration+s.cfg.AnswerTimeout+s.cfg.WriteTimeout)
	return s.waiting.End(ctx, in.ID, in.Wait.Duration)
}
