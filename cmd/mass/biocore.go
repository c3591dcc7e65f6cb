package main

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"text/tabwriter"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/biocore"
	"github.com/leomutto/pilot-in-a-box/internal/biocore/reference"
)

// runBioCore serves the reference model, or checks a server against BioCore's
// contract.
func runBioCore(ctx context.Context, in invocation) error {
	if len(in.args) > 0 && in.args[0] == "check" {
		return runBioCoreCheck(ctx, invocation{args: in.args[1:], getenv: in.getenv, stdin: in.stdin, stdout: in.stdout, stderr: in.stderr})
	}
	fs := flag.NewFlagSet("mass biocore", flag.ContinueOnError)
	fs.SetOutput(in.stdout)
	fs.Usage = func() {
		fmt.Fprint(in.stdout, "Usage: mass biocore [flags]\n       mass biocore check [flags] URL\n\nServes BioCore's contract with simple, documented rules: a "+reference.Name+" for tests\nand demonstrations. \"check\" runs the tests of the contract against any server.\n\n")
		fs.PrintDefaults()
	}
	addr := fs.String("addr", "127.0.0.1:8090", "address to listen on")
	fail := fs.String("fail", string(reference.NoFailure), "fail on purpose: hang, 429, 500, 502, 503, 504, reset, drip, garbage, huge,\nwrong-schema, wrong-request, control-actions or broken-constraints")
	if err := fs.Parse(in.args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("mass biocore: %q is not a subcommand; want no arguments, or check URL", fs.Arg(0))
	}
	failure, err := reference.ParseFailure(*fail)
	if err != nil {
		return fmt.Errorf("mass biocore: --fail: %w", err)
	}
	server := reference.New(reference.Options{Token: in.getenv("MASS_BIOCORE_TOKEN"), RetryAfter: time.Second})
	server.SetFailure(failure)
	return serveBioCore(ctx, server, *addr, in.stdout)
}

// serveBioCore serves until the context ends. Calls that are under way are then
// cut off, because some failures never end by themselves.
func serveBioCore(ctx context.Context, handler http.Handler, addr string, out io.Writer) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("mass biocore: %w", err)
	}
	fmt.Fprintf(out, "The %s serves BioCore's contract at http://%s\n", reference.Name, listener.Addr())
	return serveListener(ctx, handler, listener)
}

// serveListener serves until the context ends.
func serveListener(ctx context.Context, handler http.Handler, listener net.Listener) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("mass biocore: %w", err)
	}
	return nil
}

// runBioCoreCheck runs the tests of the contract and prints a table. The error,
// after the table, means that a test failed.
func runBioCoreCheck(ctx context.Context, in invocation) error {
	fs := flag.NewFlagSet("mass biocore check", flag.ContinueOnError)
	fs.SetOutput(in.stdout)
	fs.Usage = func() {
		fmt.Fprint(in.stdout, "Usage: mass biocore check [flags] URL\n\nRuns the tests of BioCore's contract against a server. MASS_BIOCORE_TOKEN is sent as a\nbearer token if it is set.\n\n")
		fs.PrintDefaults()
	}
	timeout := fs.Duration("timeout", 5*time.Second, "how long to wait for one answer")
	ca := fs.String("ca", "", "PEM file with the certificates to trust instead of the system's")
	args, err := parseMixed(fs, in.args)
	if err != nil {
		return err
	}
	if len(args) != 1 {
		return errors.New("mass biocore check: want exactly one URL")
	}
	roots, err := certificates(*ca)
	if err != nil {
		return fmt.Errorf("mass biocore check: --ca: %w", err)
	}
	client, err := biocore.New(biocore.Options{
		URL: args[0], Token: in.getenv("MASS_BIOCORE_TOKEN"), RootCAs: roots, UserAgent: "mass/" + buildVersion(),
		ConnectTimeout: *timeout, Timeout: *timeout, ReadTimeout: *timeout, MaxAnswer: 1 << 20,
		MaxCalls: 8, MaxTries: 1, RetryDelay: 100 * time.Millisecond,
		BreakerFailures: 1 << 20, BreakerPause: time.Second, // every test calls the server
	})
	if err != nil {
		return fmt.Errorf("mass biocore check: %w", err)
	}
	defer client.Close()
	return writeFindings(in.stdout, biocore.Contract(ctx, client, "mass-check-"+rand.Text()))
}

// certificates reads a PEM file. It returns nil for "", which means the
// system's certificates to crypto/tls.
func certificates(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file) //nolint:gosec // the file that the operator names
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no PEM certificate", file)
	}
	return pool, nil
}

func writeFindings(out io.Writer, findings []biocore.Finding) error {
	tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	failed := 0
	for _, f := range findings {
		verdict := "ok"
		if !f.Passed() {
			verdict = "FAIL"
			failed++
		}
		fmt.Fprintf(tw, "%s\t%s\t%d ms\n", verdict, f.Test, f.Took.Milliseconds())
		if !f.Passed() {
			fmt.Fprintf(tw, "\t→ %s\t\n", f.Problem)
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("mass biocore check: %d of %d tests failed", failed, len(findings))
	}
	_, err := fmt.Fprintf(out, "\nAll %d tests passed.\n", len(findings))
	return err
}
