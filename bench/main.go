// Command bench measures MASS beside what one would use instead, on one machine and in turns: pgbench, the same service
// on River, the same service on Asynq. See README.md.
//
// It starts its own PostgreSQL and Redis, and every contestant as processes of their own. It knows the product only by
// its binary, its HTTP interface and its tables, and the product knows nothing of it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// options are the flags.
type options struct {
	only, contestants               []string
	rounds                          int
	duration, idleTime, budget      time.Duration
	conns, workers, rates, backlogs []int
	peerBacklog, emptyJobs          int
	cores                           int
	quick, docs                     bool
	name, floors, profileDir        string
	binary                          string
	massEnv, postgres               []string
	out                             io.Writer
}

func main() {
	var err error
	if len(os.Args) > 2 && os.Args[1] == "peer" {
		err = runPeer(os.Args[2:])
	} else {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = run(ctx, os.Args[1:], os.Stdout)
		stop()
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, report, err := parse(args, out)
	if err != nil {
		return err
	}
	root, err := findRoot()
	if err != nil {
		return err
	}
	if report != "" {
		r, err := readResults(report)
		if err != nil {
			return err
		}
		return errors.Join(r.writeDocument(filepath.Join(root, "docs", "benchmarks.md")), r.plots(filepath.Join(root, "docs", "bench")))
	}
	if o.binary == "" {
		o.binary = filepath.Join(root, "bin", "mass")
		if err := build(ctx, root); err != nil {
			return err
		}
	}
	if err := limitCores(o.cores); err != nil {
		return err
	}
	r, err := measure(ctx, o, root)
	if r == nil {
		return err
	}
	r.summary(out)
	if err != nil {
		return err
	}
	return keep(r, o, root)
}

// keep writes what the flags ask for, and judges.
func keep(r *results, o *options, root string) error {
	if o.name != "" {
		if err := r.writeJSON(filepath.Join(root, "bench", "results", o.name+".json")); err != nil {
			return err
		}
	}
	if o.docs {
		err := errors.Join(r.writeDocument(filepath.Join(root, "docs", "benchmarks.md")), r.plots(filepath.Join(root, "docs", "bench")))
		if err != nil {
			return err
		}
	}
	if o.floors == "" {
		return nil
	}
	floors, err := readFloors(o.floors)
	if err != nil {
		return err
	}
	return checkFloors(r, floors)
}

// parse reads the flags. -quick changes the defaults of the others.
func parse(args []string, out io.Writer) (o *options, report string, err error) {
	o = &options{out: out, quick: slices.Contains(args, "-quick") || slices.Contains(args, "--quick")}
	duration, rounds, idle, budget := 8*time.Second, 3, 20*time.Second, time.Duration(0)
	only, conns, workers, rates, backlogs := "", "1,8,64,512", "1,2", "1,50,500", "10000,100000,1000000"
	if o.quick {
		duration, idle, budget = 1500*time.Millisecond, 5*time.Second, 110*time.Second
		only, conns, workers, rates, backlogs = "post,done,latency,drain,empty", "64", "1", "50", "10000"
	}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(out)
	fs.Usage = func() {
		fmt.Fprintln(out, "Usage: go run . [flags]\n\nParts:")
		for _, p := range parts() {
			fmt.Fprintf(out, "  %-8s %s\n", p.name, p.help)
		}
		fmt.Fprintln(out, "\nFlags:")
		fs.PrintDefaults()
	}
	fs.BoolVar(&o.quick, "quick", o.quick, "few and short measurements, in under two minutes")
	fs.StringVar(&only, "only", only, "parts, separated by commas; none: all")
	contestants := fs.String("contestants", "", "of mass, river, asynq and pgbench, separated by commas; none: all")
	fs.IntVar(&o.rounds, "rounds", rounds, "times that everything is measured")
	fs.DurationVar(&o.budget, "budget", budget, "begin no other round that would be over later than this; 0: all rounds")
	fs.DurationVar(&o.duration, "duration", duration, "of one measurement of a load; a quarter of it goes before, to warm up")
	fs.DurationVar(&o.idleTime, "idle", idle, "how long idle processes are watched")
	fs.StringVar(&conns, "conns", conns, "connections of the part post")
	fs.StringVar(&workers, "workers", workers, "worker processes of the part done")
	fs.StringVar(&rates, "rates", rates, "requests/s of the part latency")
	fs.StringVar(&backlogs, "backlog", backlogs, "requests waiting in the part drain")
	fs.IntVar(&o.peerBacklog, "peer-backlog", 10_000, "largest backlog that the Asynq service gets; River gets ten times as many")
	fs.IntVar(&o.emptyJobs, "empty-jobs", 50_000, "jobs of the part empty")
	fs.IntVar(&o.cores, "cores", 2, "cores that everything together runs on, this program too; 0: all")
	fs.StringVar(&o.name, "name", "", "write the raw figures to results/<name>.json")
	fs.BoolVar(&o.docs, "docs", false, "write the figures into docs/benchmarks.md, and the plots into docs/bench")
	fs.StringVar(&o.floors, "floors", "", "fail when a goal is below its floor in this file")
	fs.StringVar(&o.profileDir, "profile", "", "write perf profiles of MASS under load to this folder, if perf is installed")
	fs.StringVar(&o.binary, "binary", "", "measure this mass instead of building bin/mass")
	fs.StringVar(&report, "report", "", "measure nothing: write document and plots again from this file of raw figures")
	fs.Func("mass-env", "NAME=value for the processes of MASS; may be repeated", func(v string) error {
		o.massEnv = append(o.massEnv, v)
		return nil
	})
	fs.Func("postgres", "name=value for the PostgreSQL of all contestants, such as max_wal_size=4GB; may be repeated", func(v string) error {
		o.postgres = append(o.postgres, v)
		return nil
	})
	if err := fs.Parse(args); err != nil {
		return nil, "", err
	}
	o.only, o.contestants = words(only), words(*contestants)
	for _, list := range []struct {
		to   *[]int
		from string
	}{{&o.conns, conns}, {&o.workers, workers}, {&o.rates, rates}, {&o.backlogs, backlogs}} {
		for _, w := range words(list.from) {
			n, err := strconv.Atoi(w)
			if err != nil || n < 1 {
				return nil, "", fmt.Errorf("%q is not a number from 1", w)
			}
			*list.to = append(*list.to, n)
		}
	}
	return o, report, o.check()
}

func (o *options) check() error {
	for _, name := range o.only {
		if !slices.ContainsFunc(parts(), func(p part) bool { return p.name == name }) {
			return fmt.Errorf("there is no part %q", name)
		}
	}
	for _, name := range o.contestants {
		if !slices.Contains([]string{"mass", "river", "asynq", "pgbench"}, name) {
			return fmt.Errorf("there is no contestant %q", name)
		}
	}
	return nil
}

func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}

// findRoot is the folder of the product's go.mod, which is above this module's.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "cmd", "mass")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("run it in the checkout")
}

// limited tells the program, started anew, that it has its cores.
const limited = "BENCH_LIMITED"

// limitCores restricts this process, and so all that it starts, to some of the cores it has. Threads that exist already
// would keep theirs, hence the new start.
func limitCores(n int) error {
	if n == 0 || os.Getenv(limited) != "" {
		return nil
	}
	var had, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &had); err != nil {
		return fmt.Errorf("find the cores: %w", err)
	}
	if had.Count() <= n {
		return nil
	}
	for cpu := 0; set.Count() < n; cpu++ {
		if had.IsSet(cpu) {
			set.Set(cpu)
		}
	}
	runtime.LockOSThread() // the new program inherits the cores of the thread that starts it
	defer runtime.UnlockOSThread()
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("restrict to %d cores: %w", n, err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return unix.Exec(self, os.Args, append(os.Environ(), limited+"=1"))
}

// build makes bin/mass of what is checked out; once, when the program starts itself anew.
func build(ctx context.Context, root string) error {
	if os.Getenv(limited) != "" {
		return nil
	}
	cmd := exec.CommandContext(ctx, "make", "--no-print-directory", "build")
	cmd.Dir, cmd.Stdout, cmd.Stderr = root, os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build mass: %w", err)
	}
	return nil
}

// measure runs the rounds. With an error it returns what there is so far.
func measure(ctx context.Context, o *options, root string) (_ *results, err error) {
	began := time.Now()
	m, err := startMachine(ctx, o.postgres)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.close(ctx)) }()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b := &bench{options: *o, machine: m, self: self}
	for _, s := range []*service{riverService(self), asynqService(self), massService(b.binary, false)} {
		if b.wants(s.name) {
			b.services = append(b.services, s)
		}
	}
	r := &results{Began: began, Machine: describe(ctx, m, root)}
	for _, name := range []string{"cores", "PostgreSQL", "fsync", "synchronous_commit", "Redis"} {
		fmt.Fprintf(o.out, "%s: %s\n", name, r.Machine[name])
	}
	for b.round = range o.rounds {
		if !b.another(time.Since(began)) {
			fmt.Fprintf(o.out, "%d of %d rounds: another one would be over later than after %s\n", b.round, o.rounds, o.budget)
			break
		}
		for _, p := range parts() {
			if len(o.only) > 0 && !slices.Contains(o.only, p.name) {
				continue
			}
			if err = p.run(b, ctx); err != nil {
				err = fmt.Errorf("%s, round %d: %w", p.name, b.round+1, err)
				break
			}
		}
		if err != nil {
			break
		}
		r.Rounds++
	}
	r.Samples, r.Took = b.samples, time.Since(began).Round(time.Second).String()
	return r, err
}

// another tells whether there is time for a further round, if it takes as long as those so far.
func (b *bench) another(passed time.Duration) bool {
	return b.round == 0 || b.budget == 0 || passed+passed/time.Duration(b.round) <= b.budget
}
