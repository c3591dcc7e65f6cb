package api

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"runtime/debug"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humamux"
	"github.com/gorilla/mux"
)

const headerRequestID = "X-Request-Id"

// exchange is what the layers of one request tell each other and the log.
type exchange struct {
	id      string
	client  string // address of the client; of the proxy, when it is not one that is trusted
	overTLS bool   // as far as the client can see
	path    string
	route   string // template of the route; "" when none matched
	trace   string // W3C trace id of the client's traceparent; "" without one
	span    string // and its span id
	subject string // who makes the request; "" when nobody had to say so
	code    string // of the problem, if any
	err     error  // what the client was not told
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		return x
	}
	return new(exchange)
}

var saneID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

// withExchange gives the request its id, and writes its line in the log. Paths
// are logged as templates: they end up as labels, and raw ones hold anything.
func (s *Server) withExchange(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		x := &exchange{id: r.Header.Get(headerRequestID), path: r.URL.EscapedPath()}
		x.client, x.overTLS = sourceOf(r, s.cfg.TrustedProxies)
		if !saneID.MatchString(x.id) {
			x.id = rand.Text()
		}
		x.trace, x.span = traceOf(r.Header.Get("Traceparent"))
		w.Header().Set(headerRequestID, x.id)
		rec := &recorder{ResponseWriter: w}
		defer func() { s.logRequest(r, x, rec, time.Since(start)) }()
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

func (s *Server) logRequest(r *http.Request, x *exchange, rec *recorder, took time.Duration) {
	level := slog.LevelInfo
	switch {
	case rec.status >= http.StatusInternalServerError:
		level = slog.LevelError
	case strings.HasPrefix(x.route, "/health"):
		level = slog.LevelDebug
	}
	if !s.log.Enabled(r.Context(), level) {
		return
	}
	attrs := make([]slog.Attr, 0, 10)
	attrs = append(attrs,
		slog.String("method", r.Method), slog.String("route", x.route), slog.Int("status", rec.status),
		slog.Duration("duration", took), slog.Int64("bytes", rec.bytes),
		slog.String("request_id", x.id), slog.String("remote", x.client))
	if x.subject != "" {
		attrs = append(attrs, slog.String("subject", x.subject))
	}
	if x.code != "" {
		attrs = append(attrs, slog.String("code", x.code))
	}
	if x.err != nil {
		attrs = append(attrs, slog.Any("error", x.err))
	}
	s.log.LogAttrs(r.Context(), level, "request", attrs...)
}

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int // 0 until the header is written
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 { // huma tries a second time when the client is gone
		r.status = status
		r.ResponseWriter.WriteHeader(status)
	}
}

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

// recoverPanics answers 500 instead of a closed connection, where that is still possible.
func recoverPanics(next http.Handler) http.Handler {
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
		exchangeOf(r.Context()).err = err
		panic(http.ErrAbortHandler) // half an answer must not look whole
	}
	writeProblem(w, r, problemOf(err))
}

// policyOfAnswers is the Content-Security-Policy of everything that is no page:
// an answer that a browser is made to show runs nothing and loads nothing.
const policyOfAnswers = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// secure sets the headers that close what browsers leave open. The lists are
// shared by all answers; nobody writes into them.
func secure(next http.Handler) http.Handler {
	always := http.Header{
		"Content-Security-Policy":      {policyOfAnswers},
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
		if exchangeOf(r.Context()).overTLS && !isLoopback(r.Host) { // it would hold for every port of a developer's machine
			h["Strict-Transport-Security"] = year
		}
		next.ServeHTTP(w, r)
	})
}

// limitHeaders refuses requests with more header fields than anybody needs.
func limitHeaders(most int, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := 0
		for _, values := range r.Header {
			n += len(values)
		}
		if n > most {
			writeProblem(w, r, &Problem{
				Status: http.StatusRequestHeaderFieldsTooLarge, Code: codeTooManyHeaders, Detail: fmt.Sprintf("At most %d header fields are read.", most),
			})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// nameRoute tells the log which route matched.
func nameRoute(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if route := mux.CurrentRoute(r); route != nil {
			exchangeOf(r.Context()).route, _ = route.GetPathTemplate()
		}
		next.ServeHTTP(w, r)
	})
}

// checkQuery is a huma middleware: it refuses queries that would be read in two
// ways, or not at all.
func checkQuery(ctx huma.Context, next func(huma.Context)) {
	r, w := humamux.Unwrap(ctx)
	if r.URL.RawQuery == "" {
		next(ctx)
		return
	}
	refuse := func(name, detail string) {
		writeProblem(w, r, invalidParameter(printable(name), detail))
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		refuse("", "the query is not well-formed: percent signs and semicolons must be escaped")
		return
	}
	for name, values := range query {
		switch value := values[0]; {
		case len(values) > 1:
			refuse(name, "must be given once")
		case value == "":
			refuse(name, "must not be empty")
		case strings.ContainsRune(value, 0) || !utf8.ValidString(value):
			refuse(name, "must be UTF-8 without U+0000")
		default:
			continue
		}
		return
	}
	next(ctx)
}

// printable returns a name that a client made up as an answer may repeat it.
func printable(name string) string {
	const most = 100
	name = strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return utf8.RuneError
		}
		return c
	}, name)
	if len(name) > most {
		name = strings.ToValidUTF8(name[:most], "") + "…"
	}
	return name
}
