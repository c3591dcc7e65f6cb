package biocore

import (
	"context"
	"encoding/json"
	"net/http"
	"sync/atomic"
	"time"
)

// Health asks BioCore whether it is healthy. A nil error means that it is.
// Neither the breaker nor the bound on calls applies.
func (c *Client) Health(ctx context.Context) error {
	_, err := c.get(ctx, "health")
	if err != nil {
		return err
	}
	return nil
}

// Version asks BioCore for the model that answers at present. Neither the
// breaker nor the bound on calls applies.
func (c *Client) Version(ctx context.Context) (Model, error) {
	res, err := c.get(ctx, "version")
	if err != nil {
		return Model{}, err
	}
	var version struct {
		Model Model `json:"model"`
	}
	if err := json.Unmarshal(res.body, &version); err != nil || version.Model.Name == "" || version.Model.Version == "" {
		return Model{}, newError(ReasonStatus, err, "did not name its model: the answer of GET /version must hold model.name and model.version")
	}
	return version.Model.bounded(), nil
}

func (c *Client) get(ctx context.Context, path string) (*response, *Error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.options.Timeout, errTotal)
	defer cancel()
	res, err := c.send(ctx, question{method: http.MethodGet, path: path})
	if err != nil {
		err.Tries = 1
	}
	return res, err
}

// Condition is what a Poller knows about BioCore.
type Condition struct {
	CheckedAt time.Time // zero: not asked yet
	Up        bool      // GET /health succeeded
	Since     time.Time // when Up changed last, as far as the Poller saw it
	Model     Model     // of the last GET /version that succeeded
	Problem   string    // what failed last time, for people; "" if nothing did
}

// Poller asks BioCore regularly for its health and its model. Its calls are
// few, and tell about BioCore when no request asks for recommendations.
type Poller struct {
	client *Client
	every  time.Duration
	last   atomic.Pointer[Condition]
}

// NewPoller returns a Poller that asks at the given interval, which must be
// above 0, once Run is called.
func NewPoller(c *Client, every time.Duration) *Poller {
	p := &Poller{client: c, every: every}
	p.last.Store(&Condition{})
	return p
}

// Condition returns what is known at present.
func (p *Poller) Condition() Condition { return *p.last.Load() }

// Run asks at once and then at every interval, until the context ends.
func (p *Poller) Run(ctx context.Context) {
	ticker := time.NewTicker(p.every)
	defer ticker.Stop()
	for {
		p.poll(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (p *Poller) poll(ctx context.Context) {
	before := p.Condition()
	now := Condition{Up: true, Model: before.Model}
	if err := p.client.Health(ctx); err != nil {
		now.Up, now.Problem = false, err.Error()
	} else if model, err := p.client.Version(ctx); err != nil {
		now.Problem = err.Error()
	} else {
		now.Model = model
	}
	if ctx.Err() != nil {
		return // the calls were ended, so they say nothing about BioCore
	}
	now.CheckedAt = time.Now()
	now.Since = before.Since
	if before.CheckedAt.IsZero() || before.Up != now.Up {
		now.Since = now.CheckedAt
	}
	p.last.Store(&now)
}
