package submit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	waiters      = 8               // requests that are watched at the same time
	longPoll     = "10s"           // the API answers as soon as a request is final
	waitPause    = 2 * time.Second // after an error
	gone         = "deleted"
	requestsPath = "/mass-requests/"
)

// Wait watches the requests until all have ended, and returns how many ended in
// each status. It gives up when none ends within the timeout.
func Wait(ctx context.Context, ids []int64, o Options) (map[string]int, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &sender{Options: o, sum: new(Summary)}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stuck := time.AfterFunc(o.Timeout, func() { cancel(fmt.Errorf("no request ended for %v", o.Timeout)) })
	defer stuck.Stop()

	var mu sync.Mutex
	ended, count := map[string]int{}, 0
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(waiters)
	for _, id := range ids {
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error {
			status, err := s.follow(gctx, id)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			stuck.Reset(o.Timeout)
			ended[status]++
			count++
			o.Progress(count)
			return nil
		})
	}
	err = g.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return ended, err
}

// follow waits until one request has ended, and returns its status.
func (s *sender) follow(ctx context.Context, id int64) (string, error) {
	for {
		status, err := s.look(ctx, id)
		switch {
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		case errors.Is(err, errAgain):
			if err := sleep(ctx, waitPause); err != nil {
				return "", err
			}
		case err != nil:
			return "", err
		case status != "pending" && status != "processing":
			return status, nil
		}
	}
}

func (s *sender) look(ctx context.Context, id int64) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s%s%d?wait=%s", s.URL, requestsPath, id, longPoll), nil)
	if err != nil {
		return "", fmt.Errorf("make the request: %w", err)
	}
	res, err := s.do(req)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errAgain, err)
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode == http.StatusNotFound:
		return gone, nil
	case retryable(res.StatusCode):
		return "", fmt.Errorf("%w: %s", errAgain, res.Status)
	case res.StatusCode != http.StatusOK:
		_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the connection can be used again
		return "", fmt.Errorf("look at request %d: %s", id, res.Status)
	}
	var r struct {
		Status string `json:"status"`
	}
	if err := json.NewDecoder(res.Body).Decode(&r); err != nil {
		return "", fmt.Errorf("%w: %w", errAgain, err)
	}
	return r.Status, nil
}
