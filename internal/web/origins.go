package web

import (
	"net/http"
	"slices"
	"strings"
)

// The headers that a script of another site may send and read once its origin
// is configured.
const (
	corsMethods  = "GET, HEAD, POST, PATCH, PUT, DELETE"
	corsHeaders  = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Request-Id, Traceparent, Tracestate"
	corsExposed  = "Location, Retry-After, WWW-Authenticate, X-Request-Id"
	corsLifetime = "600" // seconds that a browser may cache a preflight
)

// ShareWith lets scripts of the configured origins call the server (CORS). Such
// scripts authenticate with a token: cookies are not allowed, so a session
// works on the server's own pages only. Without origins nothing is shared.
func ShareWith(origins []string, next http.Handler) http.Handler {
	if len(origins) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Add("Vary", "Origin")
		origin := r.Header.Get("Origin")
		if !slices.Contains(origins, origin) {
			next.ServeHTTP(w, r)
			return
		}
		h.Set("Access-Control-Allow-Origin", origin)
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			h.Set("Access-Control-Allow-Methods", corsMethods)
			h.Set("Access-Control-Allow-Headers", corsHeaders)
			h.Set("Access-Control-Max-Age", corsLifetime)
			w.WriteHeader(http.StatusNoContent)
			return
		}
		h.Set("Access-Control-Expose-Headers", corsExposed)
		next.ServeHTTP(w, r)
	})
}

// GuardOrigin refuses requests that the page of another site made a browser
// send (CSRF). A request with an Authorization header cannot be one: a page can
// make a browser add that header only where ShareWith allows its origin.
func GuardOrigin(next http.Handler) http.Handler {
	guard := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			if err := guard.Check(r); err != nil {
				WriteProblem(w, r, &Problem{
					Status: http.StatusForbidden, Code: CodeCrossOrigin, Detail: "Pages of other sites may not change anything here.", Cause: err,
				})
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// RequireLoopbackHost refuses requests whose Host header names anything but this
// machine by its loopback address or as localhost. It is for a server that asks
// nobody who they are: the page of another site can make a browser resolve the
// site's own name to 127.0.0.1 (DNS rebinding), and the browser then takes the
// server for that site. So it is the name that counts, and not what the name
// resolves to.
func RequireLoopbackHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !IsLoopback(r.Host) {
			WriteProblem(w, r, &Problem{
				Status: http.StatusForbidden, Code: CodeHost,
				Detail: "While MASS_AUTH is off, only requests to localhost or a loopback address are answered; the Host header names another host.",
			})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// IsLoopback reports whether a host, with or without a port, is this machine.
func IsLoopback(host string) bool {
	hop, ok := parseHop(host)
	if ok {
		return hop.IsLoopback()
	}
	name, _, _ := strings.Cut(host, ":")
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}
