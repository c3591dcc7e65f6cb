package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

// Message is sent to a receiver. A message keeps its ID and its bytes however often
// it is sent.
type Message struct {
	ID   string // lets the receiver recognize repetitions; ASCII without dots
	Body []byte // JSON
}

// Reply is the result of one attempt to send a message.
type Reply struct {
	Status     int           // HTTP status; 0: no response
	RetryAfter time.Duration // how long the receiver asks us to wait; 0: it does not ask
	Reason     string        // why the message was not delivered, for its owner; "": it was delivered
	Err        error         // the same for our log; it may reveal details of our network
}

// Delivered reports whether the receiver accepted the message.
func (r *Reply) Delivered() bool { return r.Reason == "" }

// Gone reports whether the receiver wants no more messages.
func (r *Reply) Gone() bool { return r.Status == http.StatusGone }

// Config tunes a Client.
type Config struct {
	Guard     Guard
	Timeout   time.Duration // of one attempt, from name resolution to the end of the response
	UserAgent string
}

const (
	drainMax  = 16 << 10 // bytes of a response body that are read, so that the connection can be reused
	headerMax = 16 << 10 // bytes of a response header
)

// Client sends messages. It follows no redirects, uses no proxy and keeps no
// cookies. Of a response it keeps only the status, so that a client who chooses an
// address learns nothing about the server at that address.
type Client struct {
	config Config
	signer *Signer
	http   *http.Client
}

// NewClient returns a Client that signs with the signer.
func NewClient(c Config, s *Signer) *Client { return newClient(c, s, nil, nil) }

// newClient lets tests use their own resolver and certificates.
func newClient(c Config, s *Signer, r *net.Resolver, t *tls.Config) *Client {
	cl := &Client{config: c, signer: s}
	dialer := &net.Dialer{Timeout: c.Timeout, Control: cl.config.Guard.control, Resolver: r}
	cl.http = &http.Client{
		Timeout:       c.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  nil,
			DialContext:            dialer.DialContext,
			TLSClientConfig:        t,
			TLSHandshakeTimeout:    c.Timeout,
			ResponseHeaderTimeout:  c.Timeout,
			MaxResponseHeaderBytes: headerMax,
			DisableCompression:     true,
			MaxIdleConns:           32,
			MaxIdleConnsPerHost:    2,
			IdleConnTimeout:        30 * time.Second,
		},
	}
	return cl
}

// Send makes one attempt to deliver the message.
func (c *Client) Send(ctx context.Context, url string, m Message) Reply {
	if err := c.config.Guard.CheckURL(url); err != nil { // the rules may have changed since the URL was accepted
		return Reply{Reason: "the callback_url is refused: it " + err.Error(), Err: err}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(m.Body))
	if err != nil {
		return Reply{Reason: "the callback_url cannot be called", Err: err}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", c.config.UserAgent)
	if err := c.signer.sign(req.Header, m.ID, time.Now(), m.Body); err != nil {
		return Reply{Reason: "the message could not be signed", Err: err}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return Reply{Reason: failureReason(err), Err: err}
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, drainMax) // neither the content nor an error matters
	r := Reply{Status: resp.StatusCode}
	switch {
	case r.Status >= 200 && r.Status < 300:
		return r
	case r.Status >= 300 && r.Status < 400:
		r.Reason = fmt.Sprintf("the receiver answered %d; redirects are not followed", r.Status)
	default:
		r.Reason = fmt.Sprintf("the receiver answered %d", r.Status)
		r.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	}
	r.Err = errors.New(r.Reason)
	return r
}

// retryAfter reads both forms of the header (RFC 9110, section 10.2.3).
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// failureReason says briefly why there was no response. It contains no address: a
// client could learn from it how names resolve in our network.
func failureReason(err error) string {
	var (
		dns     *net.DNSError
		timeout net.Error
		cert    *tls.CertificateVerificationError
		record  tls.RecordHeaderError
		alert   tls.AlertError
	)
	switch {
	case errors.Is(err, errForbidden):
		return errForbidden.Error()
	case errors.Is(err, context.Canceled):
		return "the attempt was interrupted"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "the receiver did not answer in time"
	case errors.As(err, &dns):
		return "the host name could not be resolved"
	case errors.As(err, &cert):
		return "the receiver's certificate is not valid"
	case errors.As(err, &record), errors.As(err, &alert):
		return "no secure connection could be made"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the receiver refused the connection"
	}
	return "the connection failed"
}
