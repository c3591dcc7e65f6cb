package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humamux"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

const maxWait = time.Minute

// getInput asks for one request, and perhaps waits for its end.
type getInput struct {
	Connection
	ID   int64    `path:"id" minimum:"1" doc:"Id of the MassRequest" example:"42"`
	Wait waitTime `query:"wait" doc:"How long to wait for a final status, at most 60s; a number with a unit, such as 500ms or 1m" example:"30s"`
}

// waitTime is a query parameter; the zero value does not wait.
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

// Connection makes an input of a huma operation know the connection it came by.
type Connection struct {
	request *http.Request
	writer  http.ResponseWriter
}

// Resolve implements huma.Resolver.
func (c *Connection) Resolve(ctx huma.Context) []error {
	c.request, c.writer = humamux.Unwrap(ctx)
	return nil
}

// outlast gives the answer so much time, and the read of the next request all
// the time it takes: when net/http's deadlines pass, it takes the client for gone.
func (c *Connection) outlast(d time.Duration) {
	control := http.NewResponseController(c.writer)
	_ = control.SetReadDeadline(time.Time{}) // a connection without deadlines has none to move
	_ = control.SetWriteDeadline(time.Now().Add(d))
}

// awaitEnd returns the request when it is final, or as it is when the time is
// over or the server shuts down.
func (s *Server) awaitEnd(ctx context.Context, in *getInput) (jobs.Request, error) {
	in.outlast(in.Wait.Duration + s.cfg.AnswerTimeout + s.cfg.WriteTimeout)
	return s.waiting.End(ctx, in.ID, in.Wait.Duration)
}
