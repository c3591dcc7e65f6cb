package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	probeTimeout  = time.Second
	probeLifetime = 500 * time.Millisecond // for how long a result is reused, because these endpoints are public
)

// The statuses of health reports.
const (
	healthOK          = "ok"
	healthDegraded    = "degraded"
	healthUnavailable = "unavailable"
)

// Health is the body of the health endpoints.
type Health struct {
	Status  string            `json:"status" enum:"ok,degraded,unavailable" doc:"degraded: a dependency is unavailable, but submissions are accepted" example:"ok"`
	Version string            `json:"version" doc:"Version of the server" example:"1.0.0"`
	Checks  map[string]*Check `json:"checks,omitempty" doc:"State of each dependency by name: postgres, redis, migrations"`
}

// Check is the state of one dependency.
type Check struct {
	Status string `json:"status" enum:"ok,unavailable" doc:"State of the dependency" example:"ok"`
	Detail string `json:"detail,omitempty" doc:"What is wrong with the dependency" example:"does not answer"`
}

type healthOutput struct {
	Status int
	Body   Health
}

func (s *Server) live(context.Context, *struct{}) (*healthOutput, error) {
	return &healthOutput{Status: http.StatusOK, Body: Health{Status: healthOK, Version: s.cfg.Version}}, nil
}

// ready tells a load balancer whether to send work. The body reports every
// dependency, but the HTTP status depends only on Postgres and its schema,
// which submissions need. Without Redis, submissions are committed and wait.
func (s *Server) ready(ctx context.Context, _ *struct{}) (*healthOutput, error) {
	checks, needed := s.readiness.check(ctx)
	out := &healthOutput{Status: http.StatusOK, Body: Health{Status: healthOK, Version: s.cfg.Version, Checks: checks}}
	for _, c := range checks {
		if c.Status != healthOK {
			out.Body.Status = healthDegraded
		}
	}
	if !needed || s.draining.Load() {
		out.Status, out.Body.Status = http.StatusServiceUnavailable, healthUnavailable
	}
	return out, nil
}

// probe checks one dependency. The report shows the detail, which must suit any
// client; it never shows the error.
type probe struct {
	name   string
	needed bool // no submission can be accepted without it
	ask    func(ctx context.Context) (detail string, err error)
}

func (s *Server) probes() []probe {
	list := []probe{
		{name: "postgres", needed: true, ask: func(ctx context.Context) (string, error) { return "", s.store.Ping(ctx) }},
		{name: "redis", ask: func(ctx context.Context) (string, error) { return "", s.rdb.Ping(ctx).Err() }},
	}
	if s.cfg.PendingMigrations != nil {
		list = append(list, probe{name: "migrations", needed: true, ask: func(ctx context.Context) (string, error) {
			n, err := s.cfg.PendingMigrations(ctx)
			if err != nil || n == 0 {
				return "", err
			}
			return fmt.Sprintf("%d to be applied", n), nil
		}})
	}
	return list
}

// readiness runs the probes concurrently and reuses their results for
// probeLifetime.
type readiness struct {
	probes []probe

	mu     sync.Mutex
	at     time.Time // when the checks below were made
	checks map[string]*Check
	needed bool // every needed dependency is available
}

func newReadiness(probes []probe) *readiness { return &readiness{probes: probes} }

func (r *readiness) check(ctx context.Context) (checks map[string]*Check, needed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.at) < probeLifetime {
		return r.checks, r.needed
	}
	answers := make([]chan *Check, len(r.probes))
	// The probes must not end with the request that started them: other
	// requests read the same results.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
	defer cancel()
	for i, p := range r.probes {
		answers[i] = make(chan *Check, 1)
		go func() { answers[i] <- p.check(ctx) }()
	}
	r.checks, r.needed = make(map[string]*Check, len(r.probes)), true
	for i, p := range r.probes {
		c := answer(ctx, answers[i])
		r.checks[p.name] = c
		r.needed = r.needed && (c.Status == healthOK || !p.needed)
	}
	r.at = time.Now()
	return r.checks, r.needed
}

// answer waits for a probe's result until ctx ends and no longer, because a
// driver whose server is frozen may ignore its context.
func answer(ctx context.Context, from <-chan *Check) *Check {
	select {
	case c := <-from:
		return c
	case <-ctx.Done():
	}
	select {
	case c := <-from: // the result arrived while check waited for another probe
		return c
	default:
		return &Check{Status: healthUnavailable, Detail: "does not answer in time"}
	}
}

func (p probe) check(ctx context.Context) *Check {
	switch detail, err := p.ask(ctx); {
	case errors.Is(err, context.DeadlineExceeded):
		return &Check{Status: healthUnavailable, Detail: "does not answer in time"}
	case err != nil:
		return &Check{Status: healthUnavailable, Detail: "does not answer"}
	case detail != "":
		return &Check{Status: healthUnavailable, Detail: detail}
	}
	return &Check{Status: healthOK}
}
