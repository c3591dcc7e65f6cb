package main

import (
	"context"
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
	url := fs.String("url", defaultHealthURL(in.getenv("MASS_ADDR")), "address to ask")
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
	res, err := http.DefaultClient.Do(req)
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

func defaultHealthURL(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil || port == "" {
		port = "8000"
	}
	return "http://127.0.0.1:" + port + "/health/ready"
}
