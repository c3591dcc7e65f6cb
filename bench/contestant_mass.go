package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"

	"github.com/leomutto/pilot-in-a-box/migrations"
)

// massService is the product. With tokens every request carries an API key; without, the API is told to ask for none.
func massService(binary string, tokens bool) *service {
	s := &service{
		name:  "mass",
		table: "mass_requests",
		prepare: func(ctx context.Context, databaseURL string) error {
			_, err := migrations.Up(ctx, databaseURL)
			return err
		},
		worker:  func(*session) (env, command []string) { return massEnvironment(), []string{binary, "worker"} },
		backlog: func(ctx context.Context, t *session, n int) error { return massBacklog(ctx, t, n, bodies()) },
	}
	s.api = func(_ *session, addr string) (env, command []string) {
		env = append(massEnvironment(), "MASS_ADDR="+addr)
		if !tokens {
			env = append(env, "MASS_AUTH=off")
		}
		return env, []string{binary, "api"}
	}
	if tokens {
		s.name = "mass_tokens"
		s.header = func(ctx context.Context, t *session) (http.Header, error) { return massKey(ctx, binary, t) }
	}
	return s
}

// massOfOtherForm is the product with a backlog of payloads whose normal form is another one: a timestamp is not in UTC.
func massOfOtherForm(binary string) *service {
	s := massService(binary, false)
	s.name = "mass_other_form"
	s.backlog = func(ctx context.Context, t *session, n int) error {
		var list [][]byte
		for _, body := range bodies() {
			list = append(list, utc.ReplaceAll(body, []byte(`"timestamp_utc":"$1+00:00"`)))
		}
		if bytes.Equal(list[0], bodies()[0]) {
			return errors.New("the payloads have no timestamp in UTC to write otherwise")
		}
		return massBacklog(ctx, t, n, list)
	}
	return s
}

var utc = regexp.MustCompile(`"timestamp_utc":"([^"]*)Z"`)

// massEnvironment quiets the logs, as the peers write none: a line a request would be counted against MASS alone.
func massEnvironment() []string {
	return []string{"MASS_LOG_LEVEL=warn", "MASS_AUTH_SECRET=" + strings.Repeat("benchmark", 4)}
}

// massKey makes an API key that may submit.
func massKey(ctx context.Context, binary string, s *session) (http.Header, error) {
	cmd := exec.CommandContext(ctx, binary, "key", "add", "bench", "--role", "operator")
	cmd.Env = append(os.Environ(), s.environment()...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	key, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("make an API key: %w: %.300s", err, stderr.Bytes())
	}
	return http.Header{"Authorization": {"Bearer " + strings.TrimSpace(string(key))}}, nil
}

// massBatchItems is how many submissions go in one POST /mass-requests/batch.
const massBatchItems = 5000

// massBacklog fills the system as a client with a lot at once would: by batches, two at a time.
func massBacklog(ctx context.Context, s *session, n int, bodies [][]byte) error {
	errs := make(chan error, 2)
	batches := make(chan int, n/massBatchItems+1)
	for left := n; left > 0; left -= massBatchItems {
		batches <- min(left, massBatchItems)
	}
	close(batches)
	for range cap(errs) {
		go func() {
			for size := range batches {
				if err := massBatch(ctx, s, bodies, size); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	if err := errors.Join(<-errs, <-errs); err != nil {
		return fmt.Errorf("load the backlog: %w", err)
	}
	s.accepted += int64(n)
	return nil
}

func massBatch(ctx context.Context, s *session, bodies [][]byte, size int) error {
	var lines bytes.Buffer
	for i := range size {
		lines.Write(bodies[i%len(bodies)])
		lines.WriteByte('\n')
	}
	content, err := readAll(ctx, http.MethodPost, "http://"+s.addr+"/mass-requests/batch", "application/x-ndjson", s.header, lines.Bytes())
	if err != nil {
		return err
	}
	content = bytes.TrimSpace(content)
	var end struct{ Created int }
	if err := json.Unmarshal(content[bytes.LastIndexByte(content, '\n')+1:], &end); err != nil {
		return fmt.Errorf("read the end of a batch: %w", err)
	}
	if end.Created != size {
		return fmt.Errorf("%d of %d of a batch were created", end.Created, size)
	}
	return nil
}
