package api

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gorilla/mux"

	"github.com/leomutto/pilot-in-a-box/internal/access"
	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/figures"
	"github.com/leomutto/pilot-in-a-box/internal/web"
)

const (
	pathRequests   = "/mass-requests/"
	pathRequest    = pathRequests + "{id}"
	pathBatch      = pathRequests + "batch"
	pathBulk       = pathRequests + "bulk"
	pathAuth       = "/auth/"
	pathUsers      = "/users"
	pathKeys       = "/api-keys"
	pathAudit      = "/audit"
	pathSites      = figures.Path
	pathReadings   = figures.ReadingsPath
	pathKPIs       = "/kpis"
	pathTrends     = "/trends"
	pathCompare    = "/compare"
	pathAdvice     = figures.RecommendationsPath
	pathDocs       = "/docs"
	pathMonitoring = "/monitoring"
)

// routeRow is one row of the API: a method and a path, the required role, the
// handler and the documentation. Each path is served with and without a
// trailing slash, and each GET route also serves HEAD.
type routeRow struct {
	method, path string
	role         auth.Role // lowest role that may call it; without a role the server does not start
	page         bool      // a page for people; a browser without a session is sent to the login page
	serve        endpoint  // operation, page or tree
	doc          routeDoc
}

// routes lists every route of the API.
func (s *Server) routes() []routeRow {
	const (
		get, post, patch, del   = http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete
		viewer, operator, admin = auth.Viewer, auth.Operator, auth.Admin
		anyone                  = access.Anyone
		created, accepted, none = http.StatusCreated, http.StatusAccepted, http.StatusNoContent
		seeOther, found         = http.StatusSeeOther, http.StatusFound
	)
	login, monitoring := newLoginPage(s.guard), s.monitoring()
	return []routeRow{
		{get, "/health", anyone, false, operation(s.ready), routeDoc{id: "health", tag: tagOperations,
			summary: "The same as /health/ready", text: describeReady, errors: []int{422}, complete: documentReady}},
		{get, "/health/live", anyone, false, operation(s.live), routeDoc{id: "health-live", tag: tagOperations,
			summary: "Is the process alive?", errors: []int{422}, complete: documentLive}},
		{get, "/health/ready", anyone, false, operation(s.ready), routeDoc{id: "health-ready", tag: tagOperations,
			summary: "Can it accept submissions?", text: describeReady, errors: []int{422}, complete: documentReady}},
		{get, "/", anyone, false, pageOf(http.RedirectHandler(pathDocs, found)), routeDoc{id: "page-root",
			summary: "Redirects to /docs", status: found}},
		{get, pathLogin, anyone, false, pageOf(login), routeDoc{id: "page-login", summary: "The page to log in and out"}},
		{post, pathLogin, anyone, false, pageOf(login), routeDoc{id: "page-login-post",
			summary: "The page to log in and out", status: seeOther, complete: documentLogin}},
		{post, pathLogout, viewer, true, pageOf(http.HandlerFunc(s.endBrowserSession)), routeDoc{id: "page-logout-post",
			summary: "Ends the session of a browser", status: seeOther}},

		{post, pathAuth + "login", anyone, false, operation(s.logIn), routeDoc{id: "login", tag: tagUsers, status: 200,
			summary: "Log in with a password", text: describeLogin, errors: bodyErrors(401, 422, 429, 503), complete: documentLogIn}},
		{post, pathAuth + "refresh", anyone, false, operation(s.refresh), routeDoc{id: "refresh", tag: tagUsers, status: 200, // the refresh token is the proof
			summary: "Get a new access token", text: describeRefresh, errors: bodyErrors(401, 422, 503), complete: documentRefresh}},
		{post, pathAuth + "logout", viewer, false, operation(s.logOut), routeDoc{id: "logout", tag: tagUsers, status: none,
			summary: "Log out", text: describeLogout, errors: bodyErrors(422, 503), complete: documentLogOut}},
		{get, pathAuth + "me", viewer, false, operation(s.me), routeDoc{id: "me", tag: tagUsers,
			summary: "Who am I?", errors: []int{422}, complete: documentMe}},
		{post, pathAuth + "password", viewer, false, operation(s.changePassword), routeDoc{id: "change-password", tag: tagUsers, status: none,
			summary: "Change your own password", text: describePassword, errors: bodyErrors(401, 403, 422, 429, 503), complete: documentChangePassword}},
		{post, pathAuth + "register", admin, false, operation(s.register), routeDoc{id: "register", tag: tagUsers, status: created,
			summary: "Add a user", errors: bodyErrors(409, 422, 503), complete: documentRegister}},
		{get, pathUsers, admin, false, operation(s.listUsers), routeDoc{id: "list-users", tag: tagUsers,
			summary: "List the users in the order they were added", errors: []int{503}, complete: documentListUsers}},
		{get, pathUsers + "/{id}", admin, false, operation(s.getUser), routeDoc{id: "get-user", tag: tagUsers,
			summary: "Get a user", errors: []int{404, 503}, complete: documentGetUser}},
		{patch, pathUsers + "/{id}", admin, false, operation(s.changeUser), routeDoc{id: "change-user", tag: tagUsers,
			summary: "Change a user's role, or disable or enable the user", text: describeUser, errors: bodyErrors(404, 409, 422, 503), complete: documentChangeUser}},
		{post, pathUsers + "/{id}/password", admin, false, operation(s.setPassword), routeDoc{id: "set-password", tag: tagUsers, status: none,
			summary: "Set another user's password", text: describeSetPassword, errors: bodyErrors(404, 422, 503), complete: documentSetPassword}},
		{get, pathKeys, admin, false, operation(s.listKeys), routeDoc{id: "list-api-keys", tag: tagUsers,
			summary: "List the API keys in the order they were added", errors: []int{503}, complete: documentListKeys}},
		{post, pathKeys, admin, false, operation(s.addKey), routeDoc{id: "add-api-key", tag: tagUsers, status: created,
			summary: "Add an API key", text: describeKey, errors: bodyErrors(409, 422, 503), complete: documentAddKey}},
		{del, pathKeys + "/{id}", admin, false, operation(s.revokeKey), routeDoc{id: "revoke-api-key", tag: tagUsers,
			summary: "Revoke an API key", text: describeRevokeKey, errors: []int{404, 503}}},
		{post, pathKeys + "/{id}/adopt", admin, false, operation(s.adoptKey), routeDoc{id: "adopt-api-key", tag: tagUsers, status: 200,
			summary: "Take over an API key", text: describeAdoptKey, errors: []int{404, 409, 503}, complete: documentAdoptKey}},
		{get, pathAudit, admin, false, operation(s.audit), routeDoc{id: "audit", tag: tagOperations,
			summary: "The audit trail", text: describeAudit, errors: []int{406, 503}, complete: documentAudit}},

		{get, pathSites, viewer, false, operation(s.figures.Sites), routeDoc{id: "list-sites", tag: tagFigures,
			summary: "List the sites of which there are readings", errors: []int{422, 503}, complete: documentSites}},
		{get, pathSites + "/{site}", viewer, false, operation(s.getSite), routeDoc{id: "get-site", tag: tagFigures,
			summary: "Get a site", errors: []int{404, 422, 503}, complete: documentSite}},
		{patch, pathSites + "/{site}", admin, false, operation(s.changeSite), routeDoc{id: "change-site", tag: tagFigures,
			summary: "Change the settings of a site", text: describeSite, errors: bodyErrors(404, 422, 503), complete: documentChangeSite}},
		{get, pathSites + "/{site}/notes", viewer, false, operation(s.figures.Notes), routeDoc{id: "list-notes", tag: tagFigures,
			summary: "List the notes of a site", text: describeNotes, errors: []int{404, 422, 503}, complete: documentNotes}},
		{post, pathSites + "/{site}/notes", operator, false, operation(s.addNote), routeDoc{id: "add-note", tag: tagFigures, status: created,
			summary: "Add a note to a site", text: describeNotes, errors: bodyErrors(404, 422, 503), complete: documentAddNote}},
		{get, pathSites + "/{site}/notes/{note}", viewer, false, operation(s.figures.NoteVersions), routeDoc{id: "get-note", tag: tagFigures,
			summary: "List the versions of a note", errors: []int{404, 422, 503}, complete: documentNotes}},
		{patch, pathSites + "/{site}/notes/{note}", operator, false, operation(s.changeNote), routeDoc{id: "change-note", tag: tagFigures,
			summary: "Correct or withdraw a note", text: describeNotes, errors: bodyErrors(404, 409, 422, 503), complete: documentChangeNote}},
		{get, pathReadings, viewer, false, operation(s.readings), routeDoc{id: "list-readings", tag: tagFigures,
			summary: "List the readings of a site", text: describeReadings, errors: []int{404, 406, 422, 503}, complete: documentReadings}},
		{get, pathKPIs, viewer, false, operation(s.kpis), routeDoc{id: "kpis", tag: tagFigures,
			summary: "The key figures of a site", text: describeKPIs, errors: []int{404, 406, 422, 503}, complete: documentKPIs}},
		{get, pathTrends, viewer, false, operation(s.trends), routeDoc{id: "trends", tag: tagFigures,
			summary: "How key figures of a site moved", text: describeTrends, errors: []int{404, 406, 422, 503}, complete: documentTrends}},
		{get, pathCompare, viewer, false, operation(s.compare), routeDoc{id: "compare", tag: tagFigures,
			summary: "Compare a period of a site with one before it", text: describeCompare, errors: []int{404, 406, 422, 503}, complete: documentCompare}},
		{get, pathAdvice, viewer, false, operation(s.figures.Recommendations), routeDoc{id: "list-recommendations", tag: tagFigures,
			summary: "List BioCore's recommendations about a site", text: describeRecommendations, errors: []int{404, 422, 503}, complete: documentRecommendations}},
		{post, pathAdvice + "/{id}/opinions", operator, false, operation(s.addOpinion), routeDoc{id: "add-opinion", tag: tagFigures, status: created,
			summary: "Agree or disagree with a recommendation", text: describeOpinion, errors: bodyErrors(404, 409, 422, 503), complete: documentOpinion}},

		{get, "/openapi.json", viewer, false, pageOf(s.document), routeDoc{id: "page-openapi",
			summary: "This document", media: web.MediaJSON, complete: documentDocument}},
		{get, pathDocs, viewer, true, tree(docsPage()), routeDoc{id: "page-docs", summary: "Swagger UI"}},
		{get, pathMonitoring, viewer, true, tree(monitoring), routeDoc{id: "page-monitoring", summary: describeQueues}},
		{post, pathMonitoring, admin, false, tree(monitoring), routeDoc{id: "page-monitoring-post", summary: describeQueues}},
		{del, pathMonitoring, admin, false, tree(monitoring), routeDoc{id: "page-monitoring-delete", summary: describeQueues}},

		{get, pathRequests, viewer, false, operation(s.listRequests), routeDoc{id: "list-requests", tag: tagRequests,
			summary: "List MassRequests, newest first", text: describeList, errors: []int{429, 503}, complete: documentList}},
		{get, pathRequest, viewer, false, operation(s.getRequest), routeDoc{id: "get-request", tag: tagRequests,
			summary: "Get a MassRequest, or wait until it is final", text: describeGet, errors: []int{404, 503}, complete: documentGet}},
		{get, pathRequest + "/events", viewer, false, operation(s.requestEvents), routeDoc{id: "request-events", tag: tagRequests,
			summary: "The history of a MassRequest, and its events as they happen", text: describeEvents, errors: []int{404, 406, 503}, complete: documentEvents}},
		{get, pathRequest + "/callback", viewer, false, operation(s.getCallback), routeDoc{id: "get-callback", tag: tagRequests,
			summary: "The state of the callback", text: describeCallback, errors: []int{404, 503}, complete: documentCallback}},
		{get, pathRequest + "/recommendations", viewer, false, operation(s.figures.OfRequest), routeDoc{id: "request-recommendations", tag: tagRequests,
			summary: "What BioCore recommends about a MassRequest", text: describeRecommendations, errors: []int{404, 422, 503}, complete: documentRequestRecommendations}},
		{post, pathRequests, operator, false, operation(s.submitRequest), routeDoc{id: "submit-request", tag: tagRequests, status: created,
			summary: "Submit a MassRequest", text: describeSubmit, errors: bodyErrors(429, 503), complete: documentSubmit}},
		{post, pathBatch, operator, false, operation(s.newManySubmissions().submit), routeDoc{id: "submit-batch", tag: tagRequests, status: 200,
			summary: "Submit many MassRequests", text: describeBatch, errors: bodyErrors(422, 429, 503), complete: documentManySubmissions}},
		{post, pathBulk, operator, false, operation(s.moveRequests), routeDoc{id: "move-requests", tag: tagRequests, status: 200,
			summary: "Cancel or replay many MassRequests", text: describeBulk, errors: bodyErrors(422, 503), complete: documentBulk}},
		{patch, pathRequest + "/status", operator, false, operation(s.changeStatus), routeDoc{id: "change-status", tag: tagRequests,
			summary: "Cancel or replay a MassRequest", text: describeStatus, errors: bodyErrors(404, 409, 503), complete: documentStatus}},
		{post, pathRequest + "/callback", operator, false, operation(s.replayCallback), routeDoc{id: "replay-callback", tag: tagRequests, status: accepted,
			summary: "Send the callback again", text: describeReplay, errors: []int{404, 409, 503}, complete: documentReplay}},
		{del, pathRequest, admin, false, operation(s.deleteRequest), routeDoc{id: "delete-request", tag: tagRequests,
			summary: "Delete a MassRequest", text: describeDelete, errors: []int{404, 503}}},
	}
}

// bodyErrors returns the error statuses that every operation with a body has,
// followed by others.
func bodyErrors(others ...int) []int { return append([]int{400, 408, 413, 415}, others...) }

// route registers every route and wraps the router in the middleware.
func (s *Server) route() error {
	router := mux.NewRouter().SkipClean(true) // do not redirect: each spelling of a path is a path of its own
	s.huma = huma.NewAPI(humaConfig(s.cfg.Version), adapter{router, s.guard})
	s.huma.UseMiddleware(checkQuery)
	s.document = new(document)
	routes := s.routes()
	for _, r := range routes {
		r.serve(s, router, r)
	}
	if err := errors.Join(checkRoles(routes), checkDoors(router)); err != nil {
		return err
	}
	if err := s.document.render(s.huma.OpenAPI(), routes); err != nil {
		return err
	}
	router.Use(web.NameRoute)
	if s.cfg.Access.Off {
		router.Use(keepAccounts)
	}
	router.NotFoundHandler = http.HandlerFunc(web.NotFound)
	router.MethodNotAllowedHandler = methodNotAllowed(router)
	edge := web.LimitHeaders(s.cfg.MaxHeaders, web.ShareWith(s.cfg.Origins, web.GuardOrigin(router)))
	if s.cfg.Access.Off {
		edge = web.RequireLoopbackHost(edge)
	}
	s.handler = web.WithExchange(s.log, s.cfg.TrustedProxies, web.RecoverPanics(web.Secure(edge)))
	return nil
}

// keepAccounts refuses to change users, passwords and API keys while MASS_AUTH
// is off: what any caller made then would outlast it.
func keepAccounts(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		route := web.ExchangeOf(r.Context()).Route
		changes := r.Method != http.MethodGet && r.Method != http.MethodHead
		if changes && (route == pathAuth+"register" || strings.HasPrefix(route, pathUsers) || strings.HasPrefix(route, pathKeys)) {
			web.WriteProblem(w, r, &web.Problem{
				Status: http.StatusForbidden, Code: web.CodeAuthOff,
				Detail: "While MASS_AUTH is off, nobody knows who is calling, so users, passwords and API keys cannot be changed over HTTP. " +
					"Set MASS_AUTH to on, or use mass user and mass key.",
			})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// checkRoles reports routes that have no known role or that are listed twice.
func checkRoles(routes []routeRow) error {
	var errs []error
	seen := map[string]bool{}
	for _, r := range routes {
		key := r.method + " " + bothForms(r.path)[0]
		if r.role == "" {
			errs = append(errs, fmt.Errorf("the route %s has no role", key))
		}
		if r.role != access.Anyone && r.role != "" && !slices.Contains(auth.Roles(), r.role) {
			errs = append(errs, fmt.Errorf("the route %s has the unknown role %q", key, r.role))
		}
		if seen[key] {
			errs = append(errs, fmt.Errorf("the route %s is there twice", key))
		}
		seen[key] = true
	}
	return errors.Join(errs...)
}

// checkDoors reports routes of the router that bypass the role check.
func checkDoors(router *mux.Router) error {
	var errs []error
	err := router.Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		door, guarded := route.GetHandler().(*access.Door)
		path, err := route.GetPathTemplate()
		if err == nil && (!guarded || door.Closed()) {
			err = fmt.Errorf("the route %s is not behind a role", path)
		}
		errs = append(errs, err)
		return nil
	})
	return errors.Join(append(errs, err)...)
}

// endpoint registers the handler of a route.
type endpoint func(s *Server, router *mux.Router, r routeRow)

// pageOf returns an endpoint that is not a huma operation.
func pageOf(h http.Handler) endpoint {
	return func(s *Server, router *mux.Router, r routeRow) {
		for _, form := range bothForms(r.path) {
			router.Path(form).Methods(withHead(r.method)...).Handler(s.guard.Door(r.role, r.page, h))
		}
		describePage(s.huma.OpenAPI(), r)
	}
}

// tree returns an endpoint that serves a path and all paths below it.
func tree(h http.Handler) endpoint {
	return func(s *Server, router *mux.Router, r routeRow) {
		for _, m := range []*mux.Route{router.Path(r.path), router.PathPrefix(r.path + "/")} {
			m.Methods(withHead(r.method)...).Handler(s.guard.Door(r.role, r.page, h))
		}
		describePage(s.huma.OpenAPI(), r)
	}
}

// withHead returns the method, and for GET also HEAD.
func withHead(method string) []string {
	if method == http.MethodGet {
		return []string{http.MethodGet, http.MethodHead}
	}
	return []string{method}
}

// bothForms returns a path without and with a trailing slash.
func bothForms(path string) []string {
	if path == "/" {
		return []string{path}
	}
	bare := strings.TrimSuffix(path, "/")
	return []string{bare, bare + "/"}
}

// methodNotAllowed answers 405 and lists the methods that the path allows,
// which mux itself does not.
func methodNotAllowed(router *mux.Router) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var allowed []string
		for _, method := range []string{
			http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		} {
			other := *r
			other.Method = method
			var match mux.RouteMatch
			if router.Match(&other, &match) && match.MatchErr == nil {
				allowed = append(allowed, method)
			}
		}
		list := strings.Join(allowed, ", ")
		w.Header().Set("Allow", list)
		web.WriteProblem(w, r, &web.Problem{
			Status: http.StatusMethodNotAllowed, Code: web.CodeMethod, Detail: "This path allows " + list + ".",
		})
	})
}
