package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"
)

// client makes all HTTP requests of the harness, as one admin.
type client struct {
	addrs []string // of the APIs, used in turn
	token string   // "" when the API needs no authentication
	http  *http.Client
	turn  *atomic.Uint64
}

func newClient(addrs []string) client {
	transport := &http.Transport{MaxIdleConnsPerHost: clients, MaxConnsPerHost: 2 * clients, IdleConnTimeout: 10 * time.Second}
	return client{addrs: addrs, http: &http.Client{Transport: transport, Timeout: httpTimeout}, turn: &atomic.Uint64{}}
}

// answer is an HTTP response. When it comes with an error, it holds the part
// that arrived.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// call sends a request to the next API in turn.
func (c *client) call(ctx context.Context, method, path string, header http.Header, body []byte) (answer, error) {
	a, err := c.callAt(ctx, c.addrs[c.turn.Add(1)%uint64(len(c.addrs))], method, path, header, body)
	if err != nil {
		time.Sleep(tick) // do not spin while an API is down
	}
	return a, err
}

func (c *client) callAt(ctx context.Context, addr, method, path string, header http.Header, body []byte) (a answer, err error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, bytes.NewReader(body))
	if err != nil {
		return a, fmt.Errorf("make a request: %w", err)
	}
	if header != nil {
		req.Header = header
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return a, fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer resp.Body.Close()
	a.status, a.header = resp.StatusCode, resp.Header
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		return a, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return a, nil
}

func jsonHeader() http.Header { return http.Header{"Content-Type": {"application/json"}} }

// credentials creates an admin's API key with the command line.
func (s *system) credentials(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, s.cfg.Binary, "key", "add", "chaos", "--role", "admin") //nolint:gosec // our own binary
	cmd.Env = []string{"DATABASE_URL=" + s.cfg.Servers.AdminURL()}
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && strings.Contains(string(exit.Stderr), `unknown subcommand "key"`) {
			return "", nil // a version without authentication
		}
		return "", fmt.Errorf("make an API key: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
