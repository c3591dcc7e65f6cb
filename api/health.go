package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/biocore"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/store"
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
	Checks  map[string]*Check `json:"checks,omitempty" doc:"State of each dependency by name: postgres, redis, migrations, seals of the audit trail, and biocore if workers ask it"`
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
	postgres := &postgresProbe{server: s}
	list := []probe{
		{name: "postgres", needed: true, ask: postgres.ask},
		{name: "seals", ask: s.askSeals},
		{name: "biocore", ask: s.askBioCore},
		{name: "redis", ask: func(ctx context.Context) (string, error) {
			err := queue.Health(ctx, s.rdb)
			if fault, ok := errors.AsType[*queue.Fault](err); ok {
				return fault.Problem, nil
			}
			return "", err
		}},
	}
	if s.cfg.PendingMigrations != nil {
		pending := &migrationsProbe{count: s.cfg.PendingMigrations}
		list = append(list, probe{name: "migrations", needed: true, ask: pending.ask})
	}
	return list
}

// askSeals reports that the audit trail is no longer being sealed. Submissions
// do not need the seals.
func (s *Server) askSeals(ctx context.Context) (string, error) {
	status, err := s.store.SealStatus(ctx)
	if err != nil || status.Problem() == "" {
		return "", err
	}
	return "the audit trail is not being sealed; mass doctor tells why", nil // the reason tells strangers how much is going on
}

// errNotUsed leaves a dependency out of the report, because this installation
// does without it.
var errNotUsed = errors.New("not used")

// askBioCore reports what the workers found out about BioCore. Submissions do
// not need it. A circuit breaker that is half-open waits for the next question,
// which may be long in coming, so the poll decides then.
func (s *Server) askBioCore(ctx context.Context) (string, error) {
	reports, err := s.store.BioCoreReports(ctx)
	if err != nil {
		return "", err
	}
	if len(reports) == 0 {
		return "", errNotUsed
	}
	open, troubled := 0, 0
	for _, r := range reports {
		switch {
		case r.State == string(biocore.BreakerOpen):
			open++
		case r.Problem != "":
			troubled++
		}
	}
	switch {
	case open > 0:
		return fmt.Sprintf("the circuit breaker is open in %d of %d workers", open, len(reports)), nil
	case troubled > 0:
		return fmt.Sprintf("does not answer GET /health and GET /version in %d of %d workers", troubled, len(reports)), nil
	}
	return "", nil
}

const (
	// doubtFor is how long the failure of the latest submissions makes the API
	// unready by itself. After that time nobody has tried another submission,
	// for example because a load balancer sends none, and the API tries one.
	doubtFor = 2 * time.Second
	// probeEvery is the least time between two tries, while the API is in doubt.
	probeEvery = 2 * time.Second
)

// postgresProbe asks whether submissions can be stored. readiness never runs it
// twice at the same time, unless an earlier run was given up.
type postgresProbe struct {
	server *Server

	mu    sync.Mutex
	tried time.Time // the latest probe
	why   string    // why that probe failed
}

// ask looks at the database and at what the latest submissions met. A database
// that answers may still be unable to store anything: its disk may be full.
func (p *postgresProbe) ask(ctx context.Context) (string, error) {
	readOnly, err := p.server.store.ReadOnly(ctx)
	switch {
	case err != nil:
		return store.Problem(err), err
	case readOnly:
		return "the database is read-only", nil
	}
	at, failure := p.server.intake.Outcomes.Failure()
	if failure == nil {
		return "", nil
	}
	if time.Since(at) < doubtFor {
		return troubleOf(failure), nil
	}
	return p.try(ctx, at), nil
}

// try probes whether a submission can be stored again, and returns why not.
func (p *postgresProbe) try(ctx context.Context, failed time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.tried) < probeEvery {
		return p.why
	}
	err := p.server.store.ProbeWrite(ctx)
	p.tried, p.why = time.Now(), ""
	if err != nil {
		p.server.log.Warn("submissions cannot be stored", "error", err)
		p.why = troubleOf(err)
		return p.why
	}
	p.server.intake.Outcomes.Recovered(failed)
	return ""
}

func troubleOf(err error) string {
	return cmp.Or(store.Problem(err), "the latest submissions could not be stored")
}

// migrationsProbe counts the pending migrations. A schema that fits once fits
// for as long as the process lives, so its result is kept.
type migrationsProbe struct {
	count func(context.Context) (int, error)

	mu      sync.Mutex
	fits    bool
	asked   time.Time
	pending int
}

// pendingLifetime is how long the number of pending migrations is reused.
const pendingLifetime = time.Second

func (p *migrationsProbe) ask(ctx context.Context) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fits {
		return "", nil
	}
	if time.Since(p.asked) >= pendingLifetime {
		n, err := p.count(ctx)
		if err != nil {
			return store.Problem(err), err
		}
		p.fits, p.pending, p.asked = n == 0, n, time.Now()
	}
	if p.fits {
		return "", nil
	}
	return fmt.Sprintf("%d to be applied", p.pending), nil
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
		if c == nil {
			continue
		}
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

// check returns nil for a dependency that is not used.
func (p probe) check(ctx context.Context) *Check {
	switch detail, err := p.ask(ctx); {
	case errors.Is(err, errNotUsed):
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return &Check{Status: healthUnavailable, Detail: "does not answer in time"}
	case err != nil:
		return &Check{Status: healthUnavailable, Detail: cmp.Or(detail, "does not answer")}
	case detail != "":
		return &Check{Status: healthUnavailable, Detail: detail}
	}
	return &Check{Status: healthOK}
}
