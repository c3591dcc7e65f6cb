// Command mass is all of MASS in one binary: the API, the workers, the
// migrations, tools for operators, and a development system that brings its own
// servers. There is one file per subcommand, and the wire files connect the
// packages that do the work.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/redis/go-redis/v9/logging"
)

func main() {
	// The Redis client logs each refused connection to standard error. MASS
	// gets those failures as errors too, and logs them where they matter.
	logging.Disable()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	release := tuneGC(os.Args[1:], os.Getenv)
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	release()
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

// version is set by the linker. After a plain `go build` it is empty, and the
// build info contains the commit.
var version string

// subcommand is one command of the program, such as mass api.
type subcommand struct {
	name, help string
	run        func(context.Context, invocation) error
}

// invocation is all that a subcommand gets from its environment.
type invocation struct {
	args           []string
	getenv         func(string) string
	stdin          io.Reader
	stdout, stderr io.Writer
}

func commands() []subcommand {
	return []subcommand{
		{"api", "serve the HTTP API, Swagger UI and Asynqmon", runAPI},
		{"worker", "process requests; any number of workers may run", runWorker},
		{"migrate", "up | down | status: change the database schema, or show its state", runMigrate},
		{"dev", "run API, worker, PostgreSQL and Redis in one process, for development", runDev},
		{"submit", "FILE|-: submit requests from NDJSON, a JSON array or CSV", runSubmit},
		{"user", "add | list | role | passwd | disable | enable: manage the people who may log in", runUser},
		{"key", "add | list | revoke: manage API keys for machines", runKey},
		{"audit", "verify | export: check or export the audit trail", runAudit},
		{"readings", "status | verify | rebuild | zone: look after the readings of sites", runReadings},
		{"doctor", "diagnose a running system in plain words", runDoctor},
		{"biocore", "serve the reference model of BioCore, or check any BioCore server", runBioCore},
		{"mv", "fit | plan | report | verify: measure the energy that was saved, offline, from CSV files", runMV},
		{"health", "ask a running API whether it is ready, for container health checks", runHealth},
		{"version", "print the version", runVersion},
	}
}

// run is the whole program apart from the process around it: it gets the
// environment from its caller.
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
	return fmt.Errorf("unknown subcommand %q; run mass help for a list", args[0])
}

func usage(out io.Writer) error {
	text := "MASS runs energy pilots in data centers in shadow mode: it measures and recommends, but never\ncontrols equipment.\n\nUsage: mass <subcommand> [flags]\n\n"
	for _, c := range commands() {
		text += fmt.Sprintf("  %-8s  %s\n", c.name, c.help)
	}
	text += "\nRun mass <subcommand> --help for its flags, environment variables and defaults.\n"
	_, err := io.WriteString(out, text)
	return err
}

func runVersion(_ context.Context, in invocation) error {
	_, err := fmt.Fprintln(in.stdout, "mass", buildVersion())
	return err
}

// buildVersion is the version that the linker set, else the commit from which
// the binary was built.
func buildVersion() string {
	if version != "" {
		return version
	}
	if commit := buildCommit(); len(commit) >= 12 {
		return commit[:12]
	}
	return "devel"
}

// buildCommit is the commit from which the binary was built, followed by "+"
// when the tree had uncommitted changes; "unknown" when the build had no
// repository.
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
