package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/leomutto/pilot-in-a-box/api"
	"github.com/leomutto/pilot-in-a-box/internal/config"
	"github.com/leomutto/pilot-in-a-box/internal/devstack"
	"github.com/leomutto/pilot-in-a-box/migrations"
)

// runDev runs the API and a worker in one process, on private servers unless
// others are named, until it is interrupted.
func runDev(ctx context.Context, in invocation) (err error) {
	var showDemo bool
	var seed uint64
	c, err := config.Load("dev", in.args, in.getenv, in.stdout, func(fs *flag.FlagSet) {
		fs.BoolVar(&showDemo, "demo", false, "submit a simulated day of two sites and show how it ends")
		fs.Uint64Var(&seed, "seed", 1, "of the simulated day; the same seed gives the same requests (default 1)")
	})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.DataDir, 0o755); err != nil { //nolint:gosec // the database's account has to pass through it
		return fmt.Errorf("make the data folder: %w", err)
	}
	logPath := filepath.Join(c.DataDir, "mass.log")
	logFile, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // the operator names the folder
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	defer func() { err = errors.Join(err, logFile.Close()) }()
	log := devLogger(c, logFile, in.stderr)

	say := func(format string, args ...any) { fmt.Fprintf(in.stdout, format+"\n", args...) }
	say("Starting PostgreSQL and Redis …")
	stack, err := devstack.Start(ctx, devstack.Options{DataDir: c.DataDir, DatabaseURL: c.DatabaseURL, RedisURL: c.RedisURL, Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stack.Close(context.WithoutCancel(ctx))) }()
	if err := shorten(logFile); err != nil { // only now: before, the folder may have been another process'
		return err
	}
	say("  %s\n  %s", stack.Postgres(), stack.Redis())
	c.DatabaseURL, c.RedisURL = stack.DatabaseURL(), stack.RedisURL()
	if _, err := migrations.Up(ctx, c.DatabaseURL); err != nil {
		return err
	}

	b, err := open(c, "dev")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := devSecret(c); err != nil {
		return err
	}
	server, err := newAPI(b, c, log, func(a *api.Config) { a.Access.PlainSessions = true })
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
	g.Go(func() error { return newWorker(b, c, log).Run(gctx) })
	if err := writeDevFile(c, url, access.token); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(devFile(c))) }()
	say("MASS is up: %s (logs in %s)", url, logPath)
	sayLogin(c, access, in.stdout)
	if showDemo {
		g.Go(func() error {
			if err := demo(gctx, client{url: url, token: access.token, dataDir: c.DataDir}, seed, in.stdout); err != nil && gctx.Err() == nil {
				return fmt.Errorf("the demo failed: %w", err)
			}
			return nil
		})
		g.Go(func() error { return nil })
	} else {
		inviteTo(client{url: url, token: access.token, dataDir: c.DataDir}, in.stdout)
	}
	return g.Wait()
}

// shorten empties a log that has grown long over many runs.
func shorten(log *os.File) error {
	const long = 16 << 20
	info, err := log.Stat()
	if err == nil && info.Size() > long {
		err = log.Truncate(0)
	}
	if err != nil {
		return fmt.Errorf("shorten the log: %w", err)
	}
	return nil
}

// devLogger writes everything to the log file, and to the terminal what went wrong.
func devLogger(c *config.Config, file, terminal io.Writer) *slog.Logger {
	return slog.New(slog.NewMultiHandler(
		newLogger(c, file).Handler(),
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

// devInfo is what dev.json tells scripts about the running system.
type devInfo struct {
	URL         string `json:"url"`
	Token       string `json:"token"` // an admin's API key, of this run only
	DatabaseURL string `json:"database_url"`
	RedisURL    string `json:"redis_url"`
	PID         int    `json:"pid"`
}

func devFile(c *config.Config) string { return filepath.Join(c.DataDir, "dev.json") }

// writeDevFile puts the file in place in one step, so that whoever finds it finds all of it.
func writeDevFile(c *config.Config, url, token string) error {
	content, err := json.MarshalIndent(devInfo{URL: url, Token: token, DatabaseURL: c.DatabaseURL, RedisURL: c.RedisURL, PID: os.Getpid()}, "", "  ")
	if err != nil {
		return fmt.Errorf("write dev.json: %w", err)
	}
	temporary := devFile(c) + ".new"
	if err := os.WriteFile(temporary, append(content, '\n'), 0o600); err != nil {
		return fmt.Errorf("write dev.json: %w", err)
	}
	if err := os.Rename(temporary, devFile(c)); err != nil {
		return fmt.Errorf("write dev.json: %w", err)
	}
	return nil
}

// sayLogin tells how a person logs in.
func sayLogin(c *config.Config, a devAccess, out io.Writer) {
	switch {
	case c.Auth == "off":
		fmt.Fprintln(out, "MASS_AUTH is off: everybody is an admin.")
	case a.password != "":
		fmt.Fprintf(out, "Log in as %s with the password %s (kept in %s; mass user passwd changes it)\n",
			devAdmin, a.password, filepath.Join(c.DataDir, passwordFile))
	default:
		fmt.Fprintf(out, "Log in as %s; mass user passwd %[1]s sets a password.\n", devAdmin)
	}
}

// client is what it takes to call the running API.
type client struct{ url, token, dataDir string }

// inviteTo tells a person what to try. The token is read from its file: it does
// not belong on a screen, nor into a shell's history.
func inviteTo(c client, out io.Writer) {
	fmt.Fprintf(out, `
  Log in       %[1]s/login
  Swagger UI   %[1]s/docs
  Asynqmon     %[1]s/monitoring
  Health       %[1]s/health/ready

Try it:
  TOKEN=$(sed -n 's/.*"token": "\(.*\)".*/\1/p' '%[2]s')
  curl -s -X POST %[1]s/mass-requests/ -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{"payload": {"site_id": "oslo-1", "note": "hello"}}'
  curl -s -H "Authorization: Bearer $TOKEN" '%[1]s/mass-requests/?limit=3'

Ctrl-C stops everything; the data stay.
`, c.url, filepath.Join(c.dataDir, "dev.json"))
}

// pollEvery is how often the demo looks at requests that have not ended.
const pollEvery = 50 * time.Millisecond
