package submit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// pendingItem is an item that is being sent.
type pendingItem struct {
	Item
	body []byte // what is sent
}

type sender struct {
	Options
	sum   *Summary
	limit int // items per batch that the API's limit on bodies allows; 0 if not known
}

// settle sends a chunk until each of its items is stored or refused.
func (s *sender) settle(ctx context.Context, chunk []pendingItem) error {
	open := make([]pendingItem, 0, len(chunk))
	for _, it := range chunk {
		if it.Fault == "" {
			open = append(open, it)
		} else if err := s.refuse(it, answer{Problem: problem{Code: "invalid_input", Detail: it.Fault}}); err != nil {
			return err
		}
	}
	wait := s.Backoff
	deadline := time.Now().Add(s.Timeout)
	for len(open) > 0 {
		most := len(open)
		if s.limit > 0 {
			most = min(most, s.limit)
		}
		left, pause, err := s.attempt(ctx, deadline, open[:most])
		if errors.Is(err, errTooLarge) && most > 1 { // the API's limit on bodies is lower than ours
			s.limit = most / 2
			continue
		}
		progress := len(left) < most
		open = append(left, open[most:]...)
		if progress {
			wait, deadline = s.Backoff, time.Now().Add(s.Timeout)
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, errTooLarge):
			if err := s.refuse(open[0], answer{Status: http.StatusRequestEntityTooLarge, Problem: problem{Code: "payload_too_large", Detail: err.Error()}}); err != nil {
				return err
			}
			open = open[1:]
			continue
		case err != nil && !errors.Is(err, errAgain):
			return err
		case err == nil && progress:
			continue
		}
		pause = max(pause, wait/2+rand.N(wait/2+1)) //nolint:gosec // jitter
		if time.Now().Add(pause).After(deadline) {
			return fmt.Errorf("gave up after %v without progress: %w", s.Timeout, err)
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		wait = min(2*wait, longestBackoff)
	}
	return nil
}

var (
	errAgain    = errors.New("worth another attempt")
	errTooLarge = errors.New("the item is larger than the API accepts")
)

// answer is what the API says about one item.
type answer struct {
	Index    int     `json:"index"`
	Status   int     `json:"status"`
	ID       int64   `json:"id"`
	Replayed bool    `json:"replayed"`
	Problem  problem `json:"problem"`
}

type problem struct {
	Code   string      `json:"code"`
	Detail string      `json:"detail"`
	Errors []ItemFault `json:"errors"`
}

// attempt sends items once. It returns the items that were neither stored nor
// refused, and how long the API asks to wait. Without an error the API answered
// every item.
func (s *sender) attempt(ctx context.Context, deadline time.Time, open []pendingItem) (left []pendingItem, pause time.Duration, err error) {
	actx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	var body bytes.Buffer
	for _, it := range open {
		body.Write(it.body)
		body.WriteByte('\n')
	}
	req, err := http.NewRequestWithContext(actx, http.MethodPost, s.URL+"/mass-requests/batch", &body)
	if err != nil {
		return open, 0, fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	req.Header.Set("Accept", "application/x-ndjson")
	res, err := s.do(req)
	if err != nil {
		return open, 0, fmt.Errorf("%w: %w", errAgain, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		pause, err := refusedWhole(res)
		return open, pause, err
	}
	return s.read(res.Body, open)
}

func (s *sender) do(req *http.Request) (*http.Response, error) {
	if s.Token != "" {
		req.Header.Set("Authorization", "Bearer "+s.Token)
	}
	return s.Client.Do(req)
}

// read processes the answers as they arrive. Items without an answer, because
// the response was cut off, stay open: their keys make it safe to send them
// again.
func (s *sender) read(body io.Reader, open []pendingItem) (left []pendingItem, pause time.Duration, err error) {
	lines := bufio.NewReader(body)
	left = make([]pendingItem, 0, len(open))
	for i := range open {
		line, err := lines.ReadBytes('\n')
		var a answer
		if err == nil {
			err = json.Unmarshal(line, &a)
		}
		if err == nil && (a.Index != i || a.Status == 0) {
			err = fmt.Errorf("the answer to item %d is missing", i)
		}
		if err != nil {
			return append(left, open[i:]...), 0, fmt.Errorf("%w: the response was cut off: %w", errAgain, err)
		}
		switch {
		case a.Status == http.StatusCreated:
			s.accept(a)
		case retryable(a.Status):
			left = append(left, open[i])
			err = fmt.Errorf("%w: %s", errAgain, a.Problem.Detail)
		default:
			err = s.refuse(open[i], a)
		}
		if err != nil && !errors.Is(err, errAgain) {
			return append(left, open[i+1:]...), 0, err
		}
	}
	if len(left) > 0 {
		return left, 0, fmt.Errorf("%w: %d items were not accepted", errAgain, len(left))
	}
	return left, 0, nil
}

func retryable(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, 499:
		return true
	}
	return status >= http.StatusInternalServerError && status != http.StatusNotImplemented
}

// refusedWhole says what an answer other than 200 means.
func refusedWhole(res *http.Response) (pause time.Duration, err error) {
	raw, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10)) // what cannot be read is only missing from the message
	var p problem
	text := res.Status
	if json.Unmarshal(raw, &p) == nil && p.Detail != "" {
		text += ": " + p.Detail
	}
	switch {
	case res.StatusCode == http.StatusRequestEntityTooLarge:
		return 0, errTooLarge
	case retryable(res.StatusCode):
		return retryAfter(res.Header.Get("Retry-After")), fmt.Errorf("%w: %s", errAgain, text)
	case res.StatusCode == http.StatusUnauthorized:
		text += " (set MASS_TOKEN)"
	}
	return 0, fmt.Errorf("the API refused the batch: %s", text)
}

// retryAfter parses the header, which holds seconds or a date.
func retryAfter(value string) time.Duration {
	if seconds, err := strconv.Atoi(strings.TrimSpace(value)); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

func (s *sender) accept(a answer) {
	if a.Replayed {
		s.sum.Replayed++
	} else {
		s.sum.Created++
	}
	s.sum.IDs = append(s.sum.IDs, a.ID)
	s.progress()
}

func (s *sender) refuse(it pendingItem, a answer) error {
	s.sum.Refused++
	s.progress()
	err := s.Refused(Refusal{
		Line: it.Line, Status: a.Status, Code: a.Problem.Code, Detail: a.Problem.Detail, Errors: a.Problem.Errors, Item: string(it.Body),
	})
	if err != nil {
		return fmt.Errorf("report a refused item: %w", err)
	}
	return nil
}

func (s *sender) progress() { s.Options.Progress(s.sum.Created + s.sum.Replayed + s.sum.Refused) }

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
