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

// runHealth asks a running API whether it is ready. A container image without a
// shell has no other way to check itself.
func runHealth(ctx context.Context, in invocation) error {
	fs := flag.NewFlagSet("mass health", flag.ContinueOnError)
	fs.SetOutput(in.stdout)
	own := ownHealthURL(in.getenv("MASS_ADDR"), in.getenv("MASS_TLS_CERT") != "")
	url := fs.String("url", own, "address to ask")
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
		client = clientForOwn()
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
		return errors.New("mass health: not ready: " + res.Status)
	}
	return nil
}

// ownHealthURL is where an API on this machine answers with the same settings.
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

// clientForOwn asks this machine, whose certificate is made out to another name.
// Nothing is told that had to be kept, and whether the certificate is still valid
// is not for a restart to mend.
func clientForOwn() *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // see above
	return &http.Client{Transport: transport}
}
