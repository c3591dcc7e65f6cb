package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const healthAbout = `Usage: mass health [flags]

Asks a running API whether it is ready, and prints the answer. The exit code is 1 if it is not. By
default it asks the API on this machine that has the same MASS_ADDR and MASS_TLS_CERT.

Flags:
`

// runHealth asks a running API whether it is ready. A container image without a
// shell has no other way to check itself.
func runHealth(ctx context.Context, in invocation) error {
	fs := flag.NewFlagSet("mass health", flag.ContinueOnError)
	fs.SetOutput(in.stdout)
	fs.Usage = func() {
		fmt.Fprint(in.stdout, healthAbout)
		fs.VisitAll(func(f *flag.Flag) {
			fmt.Fprintf(in.stdout, "  --%s\n        %s (default %s)\n", f.Name, f.Usage, f.DefValue)
		})
	}
	own := ownHealthURL(in.getenv("MASS_ADDR"), in.getenv("MASS_TLS_CERT") != "")
	url := fs.String("url", own, "URL to ask")
	timeout := fs.Duration("timeout", 3*time.Second, "how long to wait for the answer")
	if err := fs.Parse(in.args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, *url, nil)
	if err != nil {
		return fmt.Errorf("mass health: %w", err)
	}
	client := http.DefaultClient
	if *url == own {
		client = localClient()
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("mass health: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("mass health: %w", err)
	}
	if _, err := fmt.Fprintln(in.stdout, string(body)); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return errors.New("mass health: the API is not ready: " + res.Status)
	}
	return nil
}

// ownHealthURL is the URL at which an API with the same settings on this
// machine reports its health.
func ownHealthURL(addr string, overTLS bool) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil || port == "" {
		port = "8000"
	}
	scheme := "http"
	if overTLS {
		scheme = "https"
	}
	return scheme + "://127.0.0.1:" + port + "/health/ready"
}

// localClient calls this machine. It does not verify the certificate, which is
// issued for another name. The request contains no secret, and restarting the
// container would not replace an expired certificate.
func localClient() *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // see above
	return &http.Client{Transport: transport}
}
