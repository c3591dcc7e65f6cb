// Package web is the HTTP kit of MASS: the middleware around every handler,
// problem details, the reader and the decoder of JSON bodies, the encoder of
// answers, content negotiation, cursors, trusted proxies, cross-origin rules,
// certificates, and the HTML pages of other projects.
//
// The package must not know what a request is about: no table, no role, no
// route, and no part of the framework with which the API describes its
// operations.
package web

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gorilla/mux"
)

const headerRequestID = "X-Request-Id"

// Exchange is one HTTP request and its answer, shared by the layers around a
// handler. Each layer adds what it learns, and the log line and the problem
// details are made from the Exchange. Only one goroutine at a time may use an
// Exchange.
type Exchange struct {
	ID      string // of the HTTP request, also in the header X-Request-Id
	Client  string // address of the client, as far as trusted proxies tell it
	OverTLS bool   // whether the client's own connection is encrypted
	Path    string // escaped, as requested
	Route   string // template of the matched route; "" when none matched
	TraceID string // W3C trace id of the client's traceparent; "" without one
	SpanID  string // W3C span id of the client's traceparent; "" without one
	Subject string // the caller; "" when no identity was needed
	Code    string // of the problem that was answered, if any
	Err     error  // the cause of a failure, which only the log sees
}

type exchangeKey struct{}

// ExchangeOf returns the exchange that a context belongs to. Outside of any
// request it returns an empty one.
func ExchangeOf(ctx context.Context) *Exchange {
	if x, ok := ctx.Value(exchangeKey{}).(*Exchange); ok {
		return x
	}
	return new(Exchange)
}

// acceptableID matches the request ids that are taken over from a client.
var acceptableID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

// WithExchange gives each request an Exchange and writes one line about it to
// the log. It logs the template of the route instead of the path, because the
// value becomes a label in other systems and a raw path can hold anything.
func WithExchange(log *slog.Logger, trustedProxies []netip.Prefix, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		x := &Exchange{ID: r.Header.Get(headerRequestID), Path: r.URL.EscapedPath()}
		x.Client, x.OverTLS = sourceOf(r, trustedProxies)
		if !acceptableID.MatchString(x.ID) {
			x.ID = rand.Text()
		}
		x.TraceID, x.SpanID = traceOf(r.Header.Get("Traceparent"))
		w.Header().Set(headerRequestID, x.ID)
		rec := &recorder{ResponseWriter: w}
		defer func() { logExchange(log, r, x, rec, time.Since(start)) }()
		next.ServeHTTP(rec, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x)))
	})
}

var traceparent = regexp.MustCompile(`^00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$`)

// traceOf returns the ids of a traceparent (W3C Trace Context, version 00).
func traceOf(header string) (trace, span string) {
	if header == "" {
		return "", ""
	}
	m := traceparent.FindStringSubmatch(header)
	if m == nil || strings.Trim(m[1], "0") == "" || strings.Trim(m[2], "0") == "" {
		return "", ""
	}
	return m[1], m[2]
}

func logExchange(log *slog.Logger, r *http.Request, x *Exchange, rec *recorder, took time.Duration) {
	level := slog.LevelInfo
	switch {
	case rec.status >= http.StatusInternalServerError:
		level = slog.LevelError
	case strings.HasPrefix(x.Route, "/health"):
		level = slog.LevelDebug
	}
	if !log.Enabled(r.Context(), level) {
		return
	}
	attrs := make([]slog.Attr, 0, 10)
	attrs = append(attrs,
		slog.String("method", r.Method), slog.String("route", x.Route), slog.Int("status", rec.status),
		slog.Duration("duration", took), slog.Int64("bytes", rec.bytes),
		slog.String("http_request_id", x.ID), slog.String("remote", x.Client))
	if x.Subject != "" {
		attrs = append(attrs, slog.String("subject", x.Subject))
	}
	if x.Code != "" {
		attrs = append(attrs, slog.String("code", x.Code))
	}
	if x.Err != nil {
		attrs = append(attrs, slog.Any("error", x.Err))
	}
	log.LogAttrs(r.Context(), level, "request", attrs...)
}

// recorder remembers the status and the size of an answer.
type recorder struct {
	http.ResponseWriter
	status int // 0 until the header is written
	bytes  int64
}

// WriteHeader implements http.ResponseWriter. Only the first call counts: a
// framework may call it again when writing to a lost client has failed.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
		r.ResponseWriter.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// Unwrap serves http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// RecoverPanics answers a panic of a handler with a 500 problem. When part of
// the answer has been sent already, it cuts the connection instead.
func RecoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				answerPanic(w, r, p)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

func answerPanic(w http.ResponseWriter, r *http.Request, p any) {
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	err := fmt.Errorf("panic: %v\n%s", p, debug.Stack())
	if rec, ok := w.(*recorder); ok && rec.status != 0 {
		ExchangeOf(r.Context()).Err = err
		panic(http.ErrAbortHandler) // a partial answer must not look complete
	}
	WriteProblem(w, r, Internal(err))
}

// answerPolicy is the Content-Security-Policy of every answer that is not a
// page: a browser that displays such an answer runs no script and loads
// nothing.
const answerPolicy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Secure sets the security headers of every answer. All answers share the
// slices of header values, which must not be modified.
func Secure(next http.Handler) http.Handler {
	always := http.Header{
		"Content-Security-Policy":      {answerPolicy},
		"Cross-Origin-Opener-Policy":   {"same-origin"},
		"Cross-Origin-Resource-Policy": {"same-origin"},
		"Permissions-Policy":           {"camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"},
		"Referrer-Policy":              {"same-origin"},
		"X-Content-Type-Options":       {"nosniff"},
		"X-Frame-Options":              {"DENY"},
	}
	year := []string{"max-age=31536000"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		maps.Copy(h, always)
		// On localhost the header would apply to every port of a developer's
		// machine.
		if ExchangeOf(r.Context()).OverTLS && !IsLoopback(r.Host) {
			h["Strict-Transport-Security"] = year
		}
		next.ServeHTTP(w, r)
	})
}

// LimitHeaders refuses requests with more than limit header fields.
func LimitHeaders(limit int, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := 0
		for _, values := range r.Header {
			n += len(values)
		}
		if n > limit {
			WriteProblem(w, r, TooManyHeaders(limit))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// NameRoute records the template of the matched route in the Exchange.
func NameRoute(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if route := mux.CurrentRoute(r); route != nil {
			ExchangeOf(r.Context()).Route, _ = route.GetPathTemplate()
		}
		next.ServeHTTP(w, r)
	})
}

// Outlast gives an answer d more time to be written, and removes the deadline
// for reading the next request: when one of net/http's deadlines passes, the
// server takes the client for gone.
func Outlast(w http.ResponseWriter, d time.Duration) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // a connection without deadlines has none to move
	_ = control.SetWriteDeadline(time.Now().Add(d))
}
