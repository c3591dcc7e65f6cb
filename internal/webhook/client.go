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

// Message is what a receiver gets. The same message has the same ID and the same
// bytes, however often it is sent.
type Message struct {
	ID   string // the receiver's means to tell repetitions; ASCII without dots
	Body []byte // JSON
}

// Reply is what became of one try to send a message.
type Reply struct {
	Status     int           // of HTTP; 0 when there was no answer
	RetryAfter time.Duration // how long the receiver asks to be left alone; 0 when it does not
	Reason     string        // why the message does not count as delivered, for the message's owner; "" when it does
	Err        error         // the same for our log: it may tell of our network
}

// Delivered tells whether the receiver took the message.
func (r *Reply) Delivered() bool { return r.Reason == "" }

// Gone tells whether the receiver wants no more messages.
func (r *Reply) Gone() bool { return r.Status == http.StatusGone }

// Config tunes a Client.
type Config struct {
	Guard     Guard
	Timeout   time.Duration // of one try, from the name's resolution to the end of the answer
	UserAgent string
}

const (
	drain      = 16 << 10 // bytes of an answer that are read, so that the connection can be used again
	headerSize = 16 << 10 // bytes of an answer's header at most
)

// Client sends messages. It follows no redirect, uses no proxy, keeps no cookie,
// and keeps nothing of an answer but its status: whoever names an address learns
// nothing of what is behind it.
type Client struct {
	config Config
	signer *Signer
	http   *http.Client
}

// NewClient returns a Client that signs with the signer.
func NewClient(c Config, s *Signer) *Client { return newClient(c, s, nil, nil) }

// newClient lets tests bring a resolver and certificates of their own.
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
			MaxResponseHeaderBytes: headerSize,
			DisableCompression:     true,
			MaxIdleConns:           32,
			MaxIdleConnsPerHost:    2,
			IdleConnTimeout:        30 * time.Second,
		},
	}
	return cl
}

// Send makes one try to deliver the message.
func (c *Client) Send(ctx context.Context, url string, m Message) Reply {
	if err := c.config.Guard.CheckURL(url); err != nil { // the rules may have changed since it was taken
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
		return Reply{Reason: reason(err), Err: err}
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, drain) // what it says does not matter, nor whether it ends well
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

// retryAfter reads the header's two forms (RFC 9110, 10.2.3).
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// reason says in few words why there was no answer. It names no address: a
// stranger could learn from it what a name is in our network.
func reason(err error) string {
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
		return "the try was broken off"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "the receiver did not answer in time"
	case errors.As(err, &dns):
		return "the host's name could not be resolved"
	case errors.As(err, &cert):
		return "the receiver's certificate is not valid"
	case errors.As(err, &record), errors.As(err, &alert):
		return "no secure connection could be made"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the receiver refused the connection"
	}
	return "the connection failed"
}
