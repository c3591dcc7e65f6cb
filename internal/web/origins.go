package api

import (
	"net/http"
	"slices"
	"strings"
)

// What a script of another site may send, and may see of an answer, once its
// origin is configured.
const (
	corsMethods  = "GET, HEAD, POST, PATCH, PUT, DELETE"
	corsHeaders  = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Request-Id, Traceparent, Tracestate"
	corsExposed  = "Location, Retry-After, WWW-Authenticate, X-Request-Id"
	corsLifetime = "600" // seconds that a browser remembers what it was told
)

// shareWith answers the browsers' questions for scripts of the configured
// origins. They show a token: cookies are never asked for, so a session serves
// this server's own pages only. Without origins nothing is shared.
func shareWith(origins []string, next http.Handler) http.Handler {
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

// guardOrigin refuses what another site's page makes a browser send. A request
// with an Authorization header is none of that: no page can make a browser add
// one without having been let in by shareWith.
func guardOrigin(next http.Handler) http.Handler {
	guard := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			if err := guard.Check(r); err != nil {
				writeProblem(w, r, &Problem{
					Status: http.StatusForbidden, Code: codeCrossOrigin, Detail: "Another site may not change anything here.", cause: err,
				})
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// isLoopback tells whether a host, with or without a port, is this machine.
func isLoopback(host string) bool {
	hop, ok := parseHop(host)
	if ok {
		return hop.IsLoopback()
	}
	name, _, _ := strings.Cut(host, ":")
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}
