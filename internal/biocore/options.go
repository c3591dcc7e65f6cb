package biocore

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Options tunes a Client. Every field must be set, except those that are said
// to be optional. The package has no defaults of its own.
type Options struct {
	// URL is the address to which /recommend, /health and /version are appended.
	URL string
	// Token is sent as a bearer token with every call; optional.
	Token string
	// RootCAs verifies BioCore's certificate; optional, the system's roots if nil.
	RootCAs *x509.CertPool
	// Proxy chooses a proxy as in http.Transport; optional, no proxy if nil.
	Proxy func(*http.Request) (*url.URL, error)
	// UserAgent names the caller in every call.
	UserAgent string

	// ConnectTimeout bounds name resolution and connection, and then again the TLS
	// handshake.
	ConnectTimeout time.Duration
	// Timeout bounds Recommend as a whole, together with the timeout and the
	// service level objective of the request. It also bounds each call of
	// Health and Version.
	Timeout time.Duration
	// ReadTimeout bounds each read of an answer's body once its header has
	// arrived.
	ReadTimeout time.Duration
	// MaxAnswer bounds the body of an answer, in bytes.
	MaxAnswer int64

	// MaxCalls bounds the calls of Recommend that are under way at once.
	// Further calls wait for their turn within their own time.
	MaxCalls int
	// MaxTries bounds how often one Recommend calls BioCore.
	MaxTries int
	// RetryDelay is the average delay before the first retry. Each further
	// delay is twice as long; each varies by half at random.
	RetryDelay time.Duration

	// BreakerFailures is the number of failed calls in a row that opens the
	// breaker.
	BreakerFailures int
	// BreakerPause is how long the breaker stays open before it lets one call
	// probe whether BioCore is back.
	BreakerPause time.Duration
}

// validate reports all mistakes together, and returns the parsed URL.
func (o *Options) validate() (*url.URL, error) {
	var errs []error
	base, err := url.Parse(o.URL)
	switch {
	case err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https":
		errs = append(errs, errors.New("URL must be an http or https URL such as https://biocore.example:8443")) // without err, which repeats the URL
	case base.User != nil || base.RawQuery != "" || base.Fragment != "":
		errs = append(errs, errors.New("URL must not have a user, a query or a fragment"))
	}
	if strings.ContainsFunc(o.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		errs = append(errs, errors.New("the token must be printable ASCII without spaces"))
	}
	if o.UserAgent == "" {
		errs = append(errs, errors.New("UserAgent must not be empty"))
	}
	for name, value := range map[string]int64{
		"ConnectTimeout": int64(o.ConnectTimeout), "Timeout": int64(o.Timeout), "ReadTimeout": int64(o.ReadTimeout),
		"MaxAnswer": o.MaxAnswer, "MaxCalls": int64(o.MaxCalls), "MaxTries": int64(o.MaxTries), "RetryDelay": int64(o.RetryDelay),
		"BreakerFailures": int64(o.BreakerFailures), "BreakerPause": int64(o.BreakerPause),
	} {
		if value <= 0 {
			errs = append(errs, fmt.Errorf("%s must be above 0", name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("biocore: options: %w", err)
	}
	return base, nil
}
