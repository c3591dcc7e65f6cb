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

// client makes every HTTP request of the harness, in the name of one admin.
type client struct {
	addrs []string // of the APIs; taken in turns
	token string   // "" when nobody has to prove who they are
	http  *http.Client
	turn  *atomic.Uint64
}

func newClient(addrs []string) client {
	transport := &http.Transport{MaxIdleConnsPerHost: clients, MaxConnsPerHost: 2 * clients, IdleConnTimeout: 10 * time.Second}
	return client{addrs: addrs, http: &http.Client{Transport: transport, Timeout: httpTimeout}, turn: &atomic.Uint64{}}
}

// answer is an HTTP answer; with an error, what had arrived of it.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// call asks the API whose turn it is.
func (c *client) call(ctx context.Context, method, path string, header http.Header, body []byte) (answer, error) {
	a, err := c.callAt(ctx, c.addrs[c.turn.Add(1)%uint64(len(c.addrs))], method, path, header, body)
	if err != nil {
		time.Sleep(tick) // do not spin on an API that is away
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

// credentials makes an admin's API key, as a person at the machine does.
func (s *system) credentials(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, s.cfg.Binary, "key", "add", "chaos", "--role", "admin") //nolint:gosec // our own binary
	cmd.Env = []string{"DATABASE_URL=" + s.cfg.DatabaseURL}
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && strings.Contains(string(exit.Stderr), `unknown subcommand "key"`) {
			return "", nil // a version in which nobody has to prove who they are
		}
		return "", fmt.Errorf("make an API key: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
