package chaos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// Servers are the private PostgreSQL and Redis of a run; *devtest.Servers is one.
type Servers interface {
	KillPostgres() error
	RestartPostgres(ctx context.Context) error
	KillRedis() error
	RestartRedis(ctx context.Context) error
	PauseRedis() error
	ResumeRedis() error
}

// Config describes a run. Every field must be set, but the settings.
type Config struct {
	Binary      string // mass, built with the tag chaos
	Servers     Servers
	DatabaseURL string // of a migrated and empty database; it has a query
	RedisURL    string
	RedisData   string // folder with what Redis has on disk
	Dir         string // for logs, and for what the processes share with the harness

	Seed     uint64
	Duration time.Duration // of the load and the faults
	Long     bool          // faults stay in force as long as the issue asks, and leaks are waited out
	Faults   []Fault
	APIs     int
	Workers  int
	Rate     int           // submissions a second
	Bound    time.Duration // within which everything must be final when the faults have stopped

	Settings       []string // more environment of all processes, "NAME=value"
	WorkerSettings []string // the same of the workers alone
	Logger         *slog.Logger
}

const (
	calm     = 3 * time.Second   // load without faults, at the beginning
	overtime = 2 * time.Minute   // for faults that had no turn
	healTime = 90 * time.Second  // for mending one fault
	settle   = 10 * time.Second  // from the last final request to the last task
	recovery = 150 * time.Second // Asynq's own recovery took 131 s when it was measured
)

// Injection is one fault as it happened.
type Injection struct {
	Fault  string
	With   string // the other fault of a double strike; "" for none
	At     time.Time
	Healed time.Time // of a double strike: when both were
	Err    error     // it could not be injected
	Tasks  int       // live ones that it hit, of a fault through Asynqmon

	Caught int           // requests that measureDrains counts
	Drain  time.Duration // from Healed until the last of them was final; negative: one is not
}

// end is when the fault had no effect anymore.
func (i *Injection) end() time.Time {
	if i.Drain < 0 {
		return time.Time{}
	}
	return i.Healed.Add(i.Drain)
}

// Run does a whole run. An error means that the harness itself failed; what the
// system did wrong is in the report.
func Run(ctx context.Context, cfg Config) (_ *Report, err error) {
	begun := time.Now()
	s, err := newSystem(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()

	loading, stop := context.WithCancel(ctx)
	loaded := time.Now()
	var clients sync.WaitGroup
	clients.Go(func() { s.load.run(loading) })
	injected := s.breakThings(ctx, time.Now().Add(cfg.Duration))
	stop()
	clients.Wait()
	loadTime := time.Since(loaded)
	if err := s.startAll(ctx); err != nil {
		return nil, err
	}
	rest := s.comeToRest(ctx)
	var harms []Violation
	if rest.Unfinished == 0 { // otherwise there is no rest, and worse to tell than leaks
		harms = append(s.inspect(ctx, &rest), s.shutDown(ctx)...)
	}

	h, err := s.readHistory(ctx)
	if err != nil {
		return nil, err
	}
	measureDrains(injected, h)
	r := &Report{
		Config: cfg, History: h, Injections: injected, Violations: append(Check(h), harms...), Elapsed: time.Since(begun),
		Acknowledged: int(s.load.acked.Load()), Refused: int(s.load.refused.Load()), Silent: int(s.load.silent.Load()),
		Loaded: loadTime, Rest: rest, Notes: s.notes, Callbacks: s.receiver.String(),
		Batches: int(s.load.batches.Load()), Repeats: int(s.load.repeats.Load()),
	}
	for _, text := range s.load.nonsense {
		r.Violations = append(r.Violations, Violation{Harm: Untrue, Text: text})
	}
	return r, ctx.Err()
}

// breakThings goes through the schedule until the end, and returns when all that
// it broke is mended. Faults that had no turn by then get one, within reason.
func (s *system) breakThings(ctx context.Context, end time.Time) []*Injection {
	var done []*Injection
	missing := map[string]bool{}
	for _, f := range s.cfg.Faults {
		missing[f.Name] = true
	}
	pause(ctx, calm)
	for strike := range Schedule(s.cfg.Seed, s.cfg.Faults) {
		if over := time.Since(end); ctx.Err() != nil || over > overtime || over > 0 && len(missing) == 0 {
			break
		} else if over > 0 && !missing[strike.Faults[0].Name] {
			continue
		}
		pause(ctx, strike.Gap)
		struck := s.strike(ctx, strike)
		for _, in := range struck {
			if in.Err == nil {
				delete(missing, in.Fault)
			}
		}
		done = append(done, struck...)
	}
	return done
}

// strike injects the faults of a strike at the same time.
func (s *system) strike(ctx context.Context, strike Strike) []*Injection {
	struck := make([]*Injection, len(strike.Faults))
	var all sync.WaitGroup
	for i, f := range strike.Faults {
		struck[i] = &Injection{Fault: f.Name}
		if len(strike.Faults) > 1 {
			struck[i].With = strike.Faults[1-i].Name
		}
		all.Go(func() { s.inject(ctx, struck[i], f, rand.New(rand.NewPCG(strike.Seed, uint64(i)))) })
	}
	all.Wait()
	healed := time.Now()
	for _, in := range struck {
		in.Healed = healed
	}
	return struck
}

// inject breaks something, leaves it broken for a while and mends it.
func (s *system) inject(ctx context.Context, in *Injection, f Fault, rng *rand.Rand) {
	in.At = time.Now()
	s.log.Info("fault", "name", f.Name)
	mend, err := f.Inject(ctx, s, rng)
	if err == nil {
		hold := f.Hold
		if s.cfg.Long && f.Long > 0 {
			hold = f.Long
		}
		pause(ctx, hold)
	}
	if mend != nil {
		// Mended also when the run is interrupted.
		healing, cancel := context.WithTimeout(context.WithoutCancel(ctx), healTime)
		defer cancel()
		err = errors.Join(err, mend(healing))
	}
	if f.Tasks {
		in.Tasks = int(s.hit.Swap(0))
	}
	if in.Err = err; err != nil {
		s.note("%s: %v", f.Name, err)
	}
}

// Rest is how the system came to rest after the last fault.
type Rest struct {
	Drain      time.Duration // until every request was final
	Unfinished int           // at the bound
	Callbacks  time.Duration // from the end of the last fault, too, until all were delivered
	Left       leftovers
	Goroutines string // of a process that has worked, and of a fresh one
}

// comeToRest waits until all requests are final, then until all callbacks are
// delivered, and then until no task is left. A callback whose worker was killed
// may have to wait for Asynq's own recovery.
func (s *system) comeToRest(ctx context.Context) Rest {
	var r Rest
	since := time.Now()
	_ = until(ctx, s.cfg.Bound, func() bool {
		n, err := s.unfinished(ctx)
		if err == nil {
			r.Unfinished = n
		}
		return err == nil && n == 0
	})
	r.Drain = time.Since(since)
	if r.Unfinished == 0 {
		_ = until(ctx, recovery, func() bool {
			n, err := s.undelivered(ctx)
			return err == nil && n == 0
		})
	}
	r.Callbacks = time.Since(since)
	limit := settle
	if s.cfg.Long {
		limit = recovery
	}
	_ = until(ctx, limit, func() bool {
		left, err := s.leftovers(ctx)
		if err == nil {
			r.Left = left
		}
		return err == nil && left == leftovers{}
	})
	return r
}

// inspect looks for leaks in a system at rest.
func (s *system) inspect(ctx context.Context, r *Rest) (found []Violation) {
	if r.Left.tasks+r.Left.orphans > 0 {
		found = append(found, Violation{Harm: Untrue, Text: fmt.Sprintf(
			"at rest %d tasks are left that carry nothing, and %d active ones without a lease", r.Left.tasks, r.Left.orphans)})
	}
	leaks, counts := s.leakedGoroutines(ctx)
	r.Goroutines = counts
	found = append(found, leaks...)
	// Those that were killed are forgotten when they have been silent for long enough.
	if err := s.awaitRegistered(ctx, len(s.workers)); err != nil {
		found = append(found, Violation{Harm: Untrue, Text: err.Error()})
	}
	return found
}

// shutDown ends all processes by SIGTERM; at rest each must end cleanly and
// leave no trace of itself.
func (s *system) shutDown(ctx context.Context) (found []Violation) {
	for _, p := range s.processes() {
		if err := p.terminate(ctx, stopLimit); err != nil {
			found = append(found, Violation{Harm: Untrue, Text: err.Error()})
		}
	}
	if err := s.awaitRegistered(ctx, 0); err != nil {
		found = append(found, Violation{Harm: Untrue, Text: err.Error()})
	}
	return found
}

// awaitRegistered waits until that many workers are registered.
func (s *system) awaitRegistered(ctx context.Context, want int) error {
	var n int
	var err error
	waited := until(ctx, 2*settle, func() bool {
		err = s.db.GetContext(ctx, &n, `SELECT count(*) FROM mass_workers`)
		return err == nil && n == want
	})
	if waited != nil {
		return errors.Join(fmt.Errorf("%d workers are registered, and %d run", n, want), err)
	}
	return nil
}

// pause waits, less when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
