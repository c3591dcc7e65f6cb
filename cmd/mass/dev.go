package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/leomutto/pilot-in-a-box/api"
	"github.com/leomutto/pilot-in-a-box/internal/biocore/reference"
	"github.com/leomutto/pilot-in-a-box/internal/config"
	"github.com/leomutto/pilot-in-a-box/internal/devstack"
	"github.com/leomutto/pilot-in-a-box/migrations"
)

const devAbout = `Runs the API and a worker in one process, for development. It starts its own PostgreSQL and Redis,
unless DATABASE_URL and REDIS_URL name others, and keeps their data between runs.`

// runDev runs the API and a worker in one process until it is interrupted. It
// starts private servers unless the settings name others.
func runDev(ctx context.Context, in invocation) (err error) {
	var showDemo bool
	var seed uint64
	c, err := config.Load(config.Command{Name: "dev", About: devAbout, Flags: func(fs *flag.FlagSet) {
		fs.BoolVar(&showDemo, "demo", false, "submit a simulated day of two sites and print the results")
		fs.Uint64Var(&seed, "seed", 1, "seed of the simulated day; equal seeds produce equal requests")
	}}, in.args, in.getenv, in.stdout)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.DataDir, 0o755); err != nil { //nolint:gosec // the account that runs the database must be able to enter it
		return fmt.Errorf("create the data directory: %w", err)
	}
	logPath := filepath.Join(c.DataDir, "mass.log")
	logFile, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // the operator names the directory
	if err != nil {
		return fmt.Errorf("open the log file: %w", err)
	}
	defer func() { err = errors.Join(err, logFile.Close()) }()
	log := devLogger(c, logFile, in.stderr)

	say := func(format string, args ...any) { fmt.Fprintf(in.stdout, format+"\n", args...) }
	if c.DB.URL == "" {
		c.DB.DirectURL = "" // it would lead to another server than the private one
	}
	say("Starting PostgreSQL and Redis …")
	stack, err := devstack.Start(ctx, devstack.Options{DataDir: c.DataDir, DatabaseURL: c.DB.URL, RedisURL: c.Queue.RedisURL, Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stack.Close(context.WithoutCancel(ctx))) }()
	if err := shorten(logFile); err != nil { // only now does the directory belong to this process
		return err
	}
	say("  %s\n  %s", stack.Postgres(), stack.Redis())
	c.DB.URL, c.Queue.RedisURL = stack.DatabaseURL(), stack.RedisURL()
	if _, err := migrations.Up(ctx, c.DB.Direct()); err != nil {
		return err
	}

	b, err := open(c, "dev")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.refuseSharedSessions(ctx); err != nil {
		return err
	}
	if err := devSecret(c); err != nil {
		return err
	}
	server, err := newAPI(b, c, log, func(a *api.Config) { a.Access.PlainSessions = true })
	if err != nil {
		return err
	}
	advice, err := devBioCore(ctx, c)
	if err != nil {
		return err
	}
	w, err := newWorker(b, c, log)
	if err != nil {
		return err
	}
	addr, err := server.Listen()
	if err != nil {
		return err
	}
	url := localURL(addr)
	access, err := devLogin(ctx, b.store, c)
	if err != nil {
		return err
	}

	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return server.Serve(gctx) })
	g.Go(func() error { return w.Run(gctx) })
	if advice != nil {
		say("  BioCore: the %s, at %s", reference.Name, c.BioCore.URL)
		g.Go(func() error { return serveListener(gctx, reference.New(reference.Options{}), advice) })
	}
	info := devInfo{URL: url, Token: access.token, DatabaseURL: c.DB.URL, RedisURL: c.Queue.RedisURL, PID: os.Getpid()}
	if err := writeDevFile(c.DataDir, info); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(devFile(c.DataDir))) }()
	say("MASS is up: %s (log file: %s)", url, logPath)
	sayLogin(c, access, in.stdout)
	if showDemo {
		g.Go(func() error {
			if err := demo(gctx, devClient{url: url, token: access.token, dataDir: c.DataDir, advised: c.BioCore.On()}, seed, in.stdout); err != nil && gctx.Err() == nil {
				return fmt.Errorf("the demo failed: %w", err)
			}
			return nil
		})
	} else {
		inviteTo(devClient{url: url, token: access.token, dataDir: c.DataDir}, in.stdout)
	}
	return g.Wait()
}

// devBioCore returns the listener of the reference model, at which the settings
// then point; nil when they name another BioCore, or none.
func devBioCore(ctx context.Context, c *config.Config) (net.Listener, error) {
	if c.BioCore.URL != "" {
		return nil, nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("serve the %s of BioCore: %w", reference.Name, err)
	}
	c.BioCore.URL = "http://" + listener.Addr().String()
	return listener, nil
}

// shorten empties a log file that has grown large over many runs.
func shorten(log *os.File) error {
	const limit = 16 << 20 // bytes
	info, err := log.Stat()
	if err == nil && info.Size() > limit {
		err = log.Truncate(0)
	}
	if err != nil {
		return fmt.Errorf("shorten the log file: %w", err)
	}
	return nil
}

// devLogger writes all messages to the log file, and errors also to the
// terminal.
func devLogger(c *config.Config, file, terminal io.Writer) *slog.Logger {
	return slog.New(slog.NewMultiHandler(
		newLogger(&c.Log, file).Handler(),
		slog.NewTextHandler(terminal, &slog.HandlerOptions{Level: slog.LevelError}),
	))
}

func localURL(addr net.Addr) string {
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "http://" + addr.String()
	}
	return "http://localhost:" + port
}

// sayLogin prints how to log in.
func sayLogin(c *config.Config, a devAccess, out io.Writer) {
	switch {
	case c.Auth.Off():
		fmt.Fprintln(out, "Authentication is off (MASS_AUTH): every caller is an admin.")
	case a.password != "":
		fmt.Fprintf(out, "Log in as %s with the password %s (stored in %s; change it with mass user passwd)\n",
			devAdmin, a.password, filepath.Join(c.DataDir, passwordFile))
	default:
		fmt.Fprintf(out, "Log in as %s. To set a new password, run mass user passwd %[1]s.\n", devAdmin)
	}
}

// devClient holds what is needed to call the running API.
type devClient struct {
	url, token, dataDir string
	advised             bool // workers ask BioCore
}

// inviteTo prints commands for the next steps. The commands read the token from
// its file, so that the token appears neither on the screen nor in the shell's
// history.
func inviteTo(c devClient, out io.Writer) {
	fmt.Fprintf(out, `
  Log in       %[1]s/login
  Swagger UI   %[1]s/docs
  Asynqmon     %[1]s/monitoring
  Health       %[1]s/health/ready

Try it:
  TOKEN=$(sed -n 's/.*"token": "\(.*\)".*/\1/p' '%[2]s')
  curl -s -X POST %[1]s/mass-requests/ -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{"payload": {"site_id": "oslo-1", "note": "hello"}}'
  curl -s -H "Authorization: Bearer $TOKEN" '%[1]s/mass-requests/?limit=3'

Ctrl-C stops everything. The data is kept for the next run.
`, c.url, devFile(c.dataDir))
}
