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

// Config describes the run of one stage. Every field except the settings must
// be set.
type Config struct {
	Binary  string        // mass, built with the tag chaos
	Servers *Installation // with an empty, migrated database
	Dir     string        // for logs, and for files that the processes share with the harness

	Seed    uint64
	Stage   Stage
	Long    bool // faults stay in force for their long duration, and the run waits long enough to detect leaks
	APIs    int
	Workers int
	Rate    int           // submissions per second
	Bound   time.Duration // time after the last fault within which every request must be final

	Settings       []string // additional environment of all processes, as "NAME=value"
	WorkerSettings []string // additional environment of the workers only
	Logger         *slog.Logger
}

const (
	calm     = 3 * time.Second   // of load without faults at the beginning
	overtime = 4 * time.Minute   // for faults that had no turn before the end
	healTime = 90 * time.Second  // for repairing one fault
	settle   = 10 * time.Second  // from the last final request to the end of the last task
	recovery = 150 * time.Second // Asynq's own recovery took 131 s when it was measured
)

// Injection is one fault as it happened.
type Injection struct {
	Fault  string
	With   string // the other fault of a double strike, if any
	At     time.Time
	Healed time.Time // in a double strike: when both were repaired
	Err    error     // why the fault could not be injected
	Tasks  int       // live tasks that a fault through Asynqmon hit

	Caught  int           // requests that measureDrains counts
	Drain   time.Duration // from Healed until the last of them was final; negative if one never was
	First   time.Duration // from Healed until the first answer 201; negative if there was none
	Longest time.Duration // longest time without an answer 201 while the fault was in force or not drained
}

// end is when the fault no longer had any effect.
func (i *Injection) end() time.Time {
	if i.Drain < 0 {
		return time.Time{}
	}
	return i.Healed.Add(i.Drain)
}

// Run executes a whole run. An error means that the harness itself failed.
// Failures of the system are in the report.
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
	injected := s.breakThings(ctx, time.Now().Add(cfg.Stage.Duration))
	stop()
	clients.Wait()
	loadTime := time.Since(loaded)
	if err := s.startAll(ctx); err != nil {
		return nil, err
	}
	rest := s.comeToRest(ctx)
	var harms []Violation
	if rest.Unfinished == 0 { // otherwise the system is not at rest, and leaks are the smaller problem
		harms = append(s.inspect(ctx, &rest), s.checkReadings(ctx)...)
		harms = append(harms, s.shutDown(ctx)...)
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

// breakThings follows the schedule until the end, and returns when everything
// is repaired. Faults that were not injected by then are still injected, within
// a time limit.
func (s *system) breakThings(ctx context.Context, end time.Time) []*Injection {
	var done []*Injection
	missing := map[string]int{}
	for _, f := range s.cfg.Stage.Required {
		missing[f.Name]++
	}
	pause(ctx, calm)
	for strike := range Schedule(s.cfg.Seed, s.cfg.Stage) {
		if over := time.Since(end); ctx.Err() != nil || over > overtime || over > 0 && len(missing) == 0 {
			break
		} else if over > 0 && missing[strike.Faults[0].Name] == 0 {
			continue
		}
		pause(ctx, strike.Gap)
		struck := s.strike(ctx, strike)
		for _, in := range struck {
			if in.Err != nil {
				continue
			}
			if missing[in.Fault]--; missing[in.Fault] <= 0 {
				delete(missing, in.Fault)
			}
		}
		done = append(done, struck...)
	}
	// The load must go on until submissions work again after the last fault.
	acked := s.load.acked.Load()
	_ = until(ctx, s.cfg.Bound, func() bool { return s.load.acked.Load() > acked })
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
	for i, in := range struck {
		in.Healed = healed
		if tidy := strike.Faults[i].Tidy; tidy != nil && in.Err == nil {
			tidying, cancel := context.WithTimeout(context.WithoutCancel(ctx), healTime)
			if err := tidy(tidying, s); err != nil {
				s.note("after %s: %v", in.Fault, err)
			}
			cancel()
		}
	}
	return struck
}

// inject breaks something, leaves it broken for a while and repairs it.
func (s *system) inject(ctx context.Context, in *Injection, f Fault, rng *rand.Rand) {
	in.At = time.Now()
	s.log.Info("fault", "name", f.Name)
	mend, err := f.Inject(ctx, s, rng)
	if err == nil {
		pause(ctx, f.hold(s.cfg.Long))
	}
	if mend != nil {
		// Repair it even when the run is interrupted.
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
	Unfinished int           // number of requests that were not final within the bound
	Callbacks  time.Duration // from the end of the last fault until all callbacks were delivered
	Left       leftovers
	Goroutines string // counts of processes that have worked and of fresh ones
}

// comeToRest waits until all requests are final, then until all callbacks are
// delivered, and then until no task is left. A callback of a killed worker may
// have to wait for Asynq's own recovery.
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
	// The leader removes killed workers after they have been silent for a
	// while.
	if err := s.awaitRegistered(ctx, len(s.workers)); err != nil {
		found = append(found, Violation{Harm: Untrue, Text: err.Error()})
	}
	return found
}

// shutDown ends all processes with SIGTERM. At rest, each must exit cleanly and
// remove its registration.
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

// awaitRegistered waits until exactly want workers are registered.
func (s *system) awaitRegistered(ctx context.Context, want int) error {
	var n int
	var err error
	waited := until(ctx, 2*settle, func() bool {
		err = s.db.GetContext(ctx, &n, `SELECT count(*) FROM mass_workers`)
		return err == nil && n == want
	})
	if waited != nil {
		return errors.Join(fmt.Errorf("%d workers are registered, but %d are running", n, want), err)
	}
	return nil
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
