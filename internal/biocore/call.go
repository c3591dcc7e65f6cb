package biocore

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	maxHeader     = 32 << 10  // bytes of an answer's header
	maxErrorBody  = 16 << 10  // bytes of the body of an error that are read
	maxRetryAfter = time.Hour // a longer Retry-After is cut, because the header may be wrong

	// patience is how long BioCore must have been silent for a timeout to count
	// against it. Otherwise requests with a tiny timeout_ms could open the
	// breaker for all others.
	patience = 500 * time.Millisecond
)

// The causes of a context that this package ends.
var (
	errTotal    = errors.New("biocore: the time for the answer is over")
	errSlowRead = errors.New("biocore: the answer's body stopped arriving")
)

// response is an HTTP answer with a status of 2xx.
type response struct {
	contentType string
	encoding    string
	body        []byte
	tooLarge    bool // body was cut at Options.MaxAnswer
	latency     time.Duration
}

// question is one HTTP request, which can be sent repeatedly.
type question struct {
	method, path string
	body         []byte
	header       http.Header
}

func newHTTPClient(o *Options) *http.Client {
	dialer := &net.Dialer{Timeout: o.ConnectTimeout}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  o.Proxy, // nil: none, not even from the environment
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    o.ConnectTimeout,
			MaxResponseHeaderBytes: maxHeader,
			DisableCompression:     true, // a small body must not become a large one
			MaxIdleConns:           o.MaxCalls + 1,
			MaxIdleConnsPerHost:    o.MaxCalls + 1,
			IdleConnTimeout:        30 * time.Second,
		},
	}
}

// send sends a question once.
func (c *Client) send(ctx context.Context, q question) (*response, *Error) {
	started := time.Now()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(ctx, q.method, c.base.JoinPath(q.path).String(), bytes.NewReader(q.body))
	if err != nil {
		e := newError(ReasonRequest, err, "cannot be called")
		e.evidence = unknown
		return nil, e
	}
	// net/http would repeat a call with an Idempotency-Key on its own when a
	// reused connection breaks. All repetitions are to be counted here.
	req.GetBody = nil
	for name, values := range q.header {
		req.Header[name] = values
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.options.UserAgent)
	if q.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.options.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.options.Token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.broken(ctx, err, time.Since(started))
	}
	defer res.Body.Close()

	limit := c.options.MaxAnswer
	success := res.StatusCode >= 200 && res.StatusCode < 300
	if !success {
		limit = min(limit, maxErrorBody)
	}
	body, tooLarge, err := c.read(res, limit, cancel)
	if err != nil && success {
		return nil, c.broken(ctx, err, time.Since(started))
	}
	if !success {
		return nil, refusal(res, body) // whatever was read of it
	}
	return &response{
		contentType: res.Header.Get("Content-Type"), encoding: res.Header.Get("Content-Encoding"),
		body: body, tooLarge: tooLarge, latency: time.Since(started),
	}, nil
}

// read reads a body of at most limit bytes. Each read has to end within
// Options.ReadTimeout; otherwise it cancels the call.
func (c *Client) read(res *http.Response, limit int64, cancel context.CancelCauseFunc) (body []byte, tooLarge bool, err error) {
	watch := time.AfterFunc(c.options.ReadTimeout, func() { cancel(errSlowRead) })
	defer watch.Stop()
	if res.ContentLength > limit {
		return nil, true, nil
	}
	var buffer bytes.Buffer
	chunk := make([]byte, 16<<10)
	for {
		watch.Reset(c.options.ReadTimeout)
		n, err := res.Body.Read(chunk)
		watch.Stop()
		buffer.Write(chunk[:n])
		switch {
		case int64(buffer.Len()) > limit:
			return nil, true, nil
		case errors.Is(err, io.EOF):
			return buffer.Bytes(), false, nil
		case err != nil:
			return buffer.Bytes(), false, err
		}
	}
}

// broken describes a call that ended without a whole HTTP answer.
func (c *Client) broken(ctx context.Context, err error, waited time.Duration) *Error {
	var (
		timeout   net.Error
		cert      *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		record    tls.RecordHeaderError
		alert     tls.AlertError
	)
	var e *Error
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, errSlowRead):
		e = newError(ReasonTimeout, err, "stopped sending its answer for %v", c.options.ReadTimeout)
	case errors.Is(cause, errTotal), errors.Is(cause, context.DeadlineExceeded):
		e = newError(ReasonTimeout, err, "did not answer within %v", waited.Round(time.Millisecond))
		if waited < min(patience, c.options.Timeout/4) { // a call that waited for its turn has at least half of the time
			e.evidence = unknown
		}
	case cause != nil:
		e = newError(ReasonCanceled, cause, "was not waited for, because the caller ended the call")
		e.evidence = unknown
	case errors.As(err, &cert), errors.As(err, &authority), errors.As(err, &host):
		e = newError(ReasonTLS, err, "has a certificate that is not valid")
	case errors.As(err, &record), errors.As(err, &alert), errors.Is(err, http.ErrSchemeMismatch):
		e = newError(ReasonTLS, err, "did not make a secure connection")
	case errors.As(err, &timeout) && timeout.Timeout():
		e = newError(ReasonConnection, err, "did not accept a connection in time")
		e.again = true
	default:
		e = newError(ReasonConnection, err, "could not be reached, or the connection broke")
		e.again = true
	}
	e.Retry = true
	return e
}

// refusal describes an answer with a status other than 2xx.
func refusal(res *http.Response, body []byte) *Error {
	e := newError(ReasonStatus, nil, "answered %d", res.StatusCode)
	e.Status = res.StatusCode
	switch {
	case res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests:
		e.evidence = unhealthy
	default:
		e.evidence = healthy
	}
	switch res.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		e.Retry = true
		e.RetryAfter = retryAfter(res.Header.Get("Retry-After"), time.Now())
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		e.Retry = true
	}
	if res.StatusCode >= 300 && res.StatusCode < 400 {
		e.Detail += "; redirects are not followed"
	}
	if status, ok := errorStatus(body); ok {
		if status.Retryable != nil {
			e.Retry = *status.Retryable
		}
		if text := strings.TrimSpace(status.Code + ": " + status.Message); text != ":" {
			e.Detail += fmt.Sprintf(" (%s)", printable(text))
		}
	}
	e.again = e.Retry
	return e
}

// errorStatus reads the status of an error's body, as far as it can be read.
func errorStatus(body []byte) (status ErrorStatus, ok bool) {
	var envelope struct {
		Status   *ErrorStatus `json:"status"`
		Response struct {
			Status *ErrorStatus `json:"status"`
		} `json:"response"`
	}
	if err := json.Unmarshal(body, &envelope); err != nil {
		return ErrorStatus{}, false
	}
	for _, status := range []*ErrorStatus{envelope.Status, envelope.Response.Status} {
		if status != nil {
			return *status, true
		}
	}
	return ErrorStatus{}, false
}

// printable shortens a text of BioCore's for an error: one line, at most 200
// bytes.
func printable(text string) string {
	const limit = 200
	if len(text) > limit {
		text = text[:limit] + "…"
	}
	quoted := strconv.Quote(text)
	return quoted[1 : len(quoted)-1]
}

// retryAfter reads both forms of the header (RFC 9110, section 10.2.3).
func retryAfter(value string, now time.Time) time.Duration {
	var wait time.Duration
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(0, wait), maxRetryAfter)
}

// isJSON reports whether a Content-Type is that of JSON.
func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json"))
}
