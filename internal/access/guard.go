package api

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/gorilla/mux"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
)

// anyone stands for no role at all: the route is open, also without a token.
const anyone auth.Role = "anyone"

// rule says who may call a route: whoever has the role, or one that includes it.
// HEAD goes with GET. A path stands for both its forms, and the path of a mount
// for everything below it.
type rule struct {
	method, path string
	role         auth.Role
	page         bool // for people: a browser that nobody is logged in with is sent to the login page
}

// accessTable says who may do what. A route that is not in it keeps the server
// from starting, and so does an entry that is no route.
func accessTable() []rule {
	const get, post, patch, del = http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete
	return []rule{
		{method: get, path: "/health", role: anyone},
		{method: get, path: "/health/live", role: anyone},
		{method: get, path: "/health/ready", role: anyone},
		{method: get, path: "/", role: anyone}, // a redirect
		{method: get, path: pathLogin, role: anyone},
		{method: post, path: pathLogin, role: anyone},
		{method: post, path: pathLogout, role: auth.Viewer, page: true},

		{method: post, path: pathAuth + "login", role: anyone},
		{method: post, path: pathAuth + "refresh", role: anyone}, // shows a refresh token
		{method: post, path: pathAuth + "logout", role: auth.Viewer},
		{method: get, path: pathAuth + "me", role: auth.Viewer},
		{method: post, path: pathAuth + "password", role: auth.Viewer}, // one's own
		{method: post, path: pathAuth + "register", role: auth.Admin},
		{method: get, path: pathUsers, role: auth.Admin},
		{method: get, path: pathUsers + "/{id}", role: auth.Admin},
		{method: patch, path: pathUsers + "/{id}", role: auth.Admin},
		{method: post, path: pathUsers + "/{id}/password", role: auth.Admin},
		{method: get, path: pathKeys, role: auth.Admin},
		{method: post, path: pathKeys, role: auth.Admin},
		{method: del, path: pathKeys + "/{id}", role: auth.Admin},
		{method: get, path: pathAudit, role: auth.Admin},

		{method: get, path: "/openapi.json", role: auth.Viewer},
		{method: get, path: "/docs", role: auth.Viewer, page: true},
		{method: get, path: pathMonitoring, role: auth.Viewer, page: true},
		{method: post, path: pathMonitoring, role: auth.Admin},
		{method: del, path: pathMonitoring, role: auth.Admin},

		{method: get, path: pathRequests, role: auth.Viewer},
		{method: get, path: pathRequests + "{id}", role: auth.Viewer},
		{method: get, path: pathRequests + "{id}/events", role: auth.Viewer},
		{method: get, path: pathRequests + "{id}/callback", role: auth.Viewer},
		{method: post, path: pathRequests, role: auth.Operator},
		{method: post, path: pathBatch, role: auth.Operator},
		{method: post, path: pathBulk, role: auth.Operator},
		{method: patch, path: pathRequests + "{id}/status", role: auth.Operator},
		{method: post, path: pathRequests + "{id}/callback", role: auth.Operator},
		{method: del, path: pathRequests + "{id}", role: auth.Admin},
	}
}

// routeKey is what a rule is found by.
type routeKey struct{ method, path string }

// keyOf makes one key of the forms of a route.
func keyOf(method, path string) routeKey {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if path != "/" {
		path = strings.TrimSuffix(path, "/")
	}
	return routeKey{method, path}
}

// access is the table, by route.
type access map[routeKey]rule

// newAccess holds the table against the routes of a router: each must be in it
// once, and nothing else.
func newAccess(rules []rule, router *mux.Router) (access, error) {
	var errs []error
	table := make(access, len(rules))
	for _, r := range rules {
		key := keyOf(r.method, r.path)
		if _, twice := table[key]; twice {
			errs = append(errs, fmt.Errorf("%s %s stands twice in the table of access", r.method, r.path))
		}
		table[key] = r
	}
	routed := map[routeKey]bool{}
	errs = append(errs, router.Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		path, err := route.GetPathTemplate()
		if err != nil {
			return err
		}
		methods, err := route.GetMethods()
		if err != nil {
			return fmt.Errorf("%s names no methods: %w", path, err)
		}
		for _, method := range methods {
			key := keyOf(method, path)
			if _, known := table[key]; !known && !routed[key] {
				errs = append(errs, fmt.Errorf("%s %s is not in the table of access", key.method, path))
			}
			routed[key] = true
		}
		return nil
	}))
	for _, r := range rules {
		if !routed[keyOf(r.method, r.path)] {
			errs = append(errs, fmt.Errorf("%s %s is in the table of access and no route", r.method, r.path))
		}
	}
	return table, errors.Join(errs...)
}

// admit lets a request pass to its handler when the table opens the route to who
// makes it. It runs before anything of the body is read.
func (s *Server) admit(next http.Handler) http.Handler {
	private := []string{"no-store"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r.Context())
		entry, known := s.access[keyOf(r.Method, x.route)]
		if known && entry.role == anyone {
			if r.Method == http.MethodPost { // these look something up
				if err := s.limits.admitStranger(w, r); err != nil {
					writeProblem(w, r, problemOf(err))
					return
				}
			}
			next.ServeHTTP(w, r)
			return
		}
		w.Header()["Cache-Control"] = private
		who, ok, err := s.identify(r)
		if err == nil && !ok {
			err = unauthenticated()
		}
		if err != nil {
			p := problemOf(err)
			if p.Status == http.StatusUnauthorized {
				if err := s.limits.admitStranger(w, r); err != nil {
					p = problemOf(err)
				}
			}
			if entry.page && p.Status == http.StatusUnauthorized && wantsPage(r) {
				http.Redirect(w, r, loginFor(r), http.StatusSeeOther)
				return
			}
			writeProblem(w, r, p)
			return
		}
		x.subject = who.Subject()
		if !known || !who.Role.Includes(entry.role) {
			writeProblem(w, r, forbidden(entry.role, who.Role))
			return
		}
		if err := s.limits.admitCaller(w, r, who); err != nil {
			writeProblem(w, r, problemOf(err))
			return
		}
		next.ServeHTTP(w, r.WithContext(auth.WithIdentity(r.Context(), who)))
	})
}

// unauthenticated is the answer to who shows nothing.
func unauthenticated() *Problem {
	return &Problem{
		Status: http.StatusUnauthorized, Code: codeUnauthenticated,
		Detail: "This takes a token: an access token or an API key, as bearer; or the session of a browser.",
	}
}

// forbidden names the role that is missing.
func forbidden(needed, has auth.Role) *Problem {
	return &Problem{
		Status: http.StatusForbidden, Code: codeForbidden,
		Detail: fmt.Sprintf("This takes the role %s; yours is %s.", needed, has),
	}
}

// wantsPage tells a person's browser from a program.
func wantsPage(r *http.Request) bool {
	for _, accept := range r.Header.Values("Accept") {
		if strings.Contains(strings.ToLower(accept), "text/html") {
			return true
		}
	}
	return false
}

// loginFor is the login page that leads back to the page that was asked for.
func loginFor(r *http.Request) string {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return pathLogin
	}
	return pathLogin + "?" + url.Values{"next": {r.URL.RequestURI()}}.Encode()
}
