// Command mass is the whole of MASS in one binary: the API, the workers, the
// migrations, and a development system that needs nothing else. Each file wires
// one subcommand; the work is done elsewhere.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/redis/go-redis/v9/logging"
)

func main() {
	// The client's own logger writes every refused connection to standard error;
	// the same reaches us as errors, which are logged where they matter.
	logging.Disable()
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		// What lives is little, some 8 MB, and what dies is much: with Go's default a
		// fifth of the time goes into collecting it. The ballast, which is never touched
		// and so takes no memory, lets the garbage grow to 80 MB first; of a heap that is
		// large itself no more than twice its size is let grow.
		ballast := make([]byte, 32<<20)
		defer runtime.KeepAlive(ballast)
		debug.SetGCPercent(200)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() { // a second signal ends the process at once
		<-ctx.Done()
		stop()
	}()
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mass:", err)
		if coded, ok := errors.AsType[interface {
			error
			ExitCode() int
		}](err); ok {
			os.Exit(coded.ExitCode())
		}
		os.Exit(1)
	}
}

// version is set by the linker; a plain `go build` leaves it to the build info.
var version string

// command is one subcommand.
type command struct {
	name, help string
	run        func(context.Context, invocation) error
}

// invocation is all that a subcommand gets from the outside.
type invocation struct {
	args           []string
	getenv         func(string) string
	stdin          io.Reader
	stdout, stderr io.Writer
}

func commands() []command {
	return []command{
		{"api", "serve the HTTP API, Swagger UI and Asynqmon", runAPI},
		{"worker", "work on requests; start as many as you like", runWorker},
		{"migrate", "up | down | status: change the database schema", runMigrate},
		{"dev", "everything in one process, on private servers", runDev},
		{"submit", "FILE|-: submit many requests out of NDJSON, a JSON array or CSV", runSubmit},
		{"user", "add | list | role | passwd | disable | enable: manage the people who may log in", runUser},
		{"key", "add | list | revoke: manage the API keys of machines", runKey},
		{"audit", "verify | export: check the chain of the audit trail, or take the trail out", runAudit},
		{"mv", "fit | plan | report | verify: compute a saving with its uncertainty from a CSV file, offline", runMV},
		{"doctor", "say in plain words what is wrong with a running system", runDoctor},
		{"health", "ask a running API whether it is ready; for container health checks", runHealth},
		{"version", "print the version", runVersion},
	}
}

// run is the program: nothing in it reads the process's own environment.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		return usage(stdout)
	}
	for _, c := range commands() {
		if c.name == args[0] {
			err := c.run(ctx, invocation{args: args[1:], getenv: getenv, stdin: os.Stdin, stdout: stdout, stderr: stderr})
			if errors.Is(err, flag.ErrHelp) {
				return nil
			}
			return err
		}
	}
	return fmt.Errorf("unknown subcommand %q; see mass help", args[0])
}

func usage(out io.Writer) error {
	text := "MASS runs energy pilots in shadow mode: it measures and recommends, it never controls.\n\nUsage: mass <subcommand> [flags]\n\n"
	for _, c := range commands() {
		text += fmt.Sprintf("  %-8s  %s\n", c.name, c.help)
	}
	text += "\nmass <subcommand> --help lists its flags, their environment variables and defaults.\n"
	_, err := io.WriteString(out, text)
	return err
}

func runVersion(_ context.Context, in invocation) error {
	_, err := fmt.Fprintln(in.stdout, "mass", buildVersion())
	return err
}

// buildVersion is what the linker was told, else the commit the binary was built from.
func buildVersion() string {
	if version != "" {
		return version
	}
	if commit := buildCommit(); len(commit) >= 12 {
		return commit[:12]
	}
	return "devel"
}

// buildCommit is the commit the binary was built from, "+" behind it when the
// tree was changed since; "unknown" where the build did not see it.
func buildCommit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	commit, changed := "unknown", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "+"
		}
	}
	return commit + changed
}
