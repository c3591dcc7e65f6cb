package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humamux"
	"github.com/gorilla/mux"
)

// route sets up the whole API: every route and every middleware stands here.
func (s *Server) route() error {
	router := mux.NewRouter().SkipClean(true) // no redirects: another spelling is another path
	s.huma = huma.NewAPI(humaConfig(s.cfg.Version), adapter{router})
	s.huma.UseMiddleware(checkQuery)

	handle(s, huma.Operation{
		OperationID: "submit-request", Method: http.MethodPost, Path: pathRequests, DefaultStatus: http.StatusCreated,
		Tags: []string{tagRequests}, Summary: "Submit a MassRequest", Description: describeSubmit,
		Errors: []int{400, 408, 413, 415, 429, 503},
	}, s.submitRequest)
	handle(s, huma.Operation{
		OperationID: "submit-batch", Method: http.MethodPost, Path: pathBatch, DefaultStatus: http.StatusOK,
		Tags: []string{tagRequests}, Summary: "Submit many MassRequests", Description: describeBatch,
		Errors: []int{400, 408, 413, 415, 422, 429, 503},
	}, s.newBatches().submit)
	handle(s, huma.Operation{
		OperationID: "get-request", Method: http.MethodGet, Path: pathRequests + "{id}",
		Tags: []string{tagRequests}, Summary: "Look at a MassRequest, or wait for its end", Description: describeGet,
		Errors: []int{404, 503},
	}, s.getRequest)
	handle(s, huma.Operation{
		OperationID: "request-events", Method: http.MethodGet, Path: pathRequests + "{id}/events",
		Tags: []string{tagRequests}, Summary: "What happened to a MassRequest, and what happens", Description: describeEvents,
		Errors: []int{404, 406, 503},
	}, s.requestEvents)
	handle(s, huma.Operation{
		OperationID: "list-requests", Method: http.MethodGet, Path: pathRequests,
		Tags: []string{tagRequests}, Summary: "List MassRequests, newest first", Description: describeList,
		Errors: []int{503},
	}, s.listRequests)
	handle(s, huma.Operation{
		OperationID: "move-requests", Method: http.MethodPost, Path: pathBulk, DefaultStatus: http.StatusOK,
		Tags: []string{tagRequests}, Summary: "Cancel or replay many MassRequests", Description: describeBulk,
		Errors: []int{400, 408, 413, 415, 422, 503},
	}, s.moveRequests)
	handle(s, huma.Operation{
		OperationID: "change-status", Method: http.MethodPatch, Path: pathRequests + "{id}/status",
		Tags: []string{tagRequests}, Summary: "Cancel or replay a MassRequest", Description: describeStatus,
		Errors: []int{400, 404, 408, 409, 413, 415, 503},
	}, s.changeStatus)
	handle(s, huma.Operation{
		OperationID: "delete-request", Method: http.MethodDelete, Path: pathRequests + "{id}",
		Tags: []string{tagRequests}, Summary: "Delete a MassRequest", Description: describeDelete,
		Errors: []int{404, 503},
	}, s.deleteRequest)
	handle(s, huma.Operation{
		OperationID: "get-callback", Method: http.MethodGet, Path: pathRequests + "{id}/callback",
		Tags: []string{tagRequests}, Summary: "What became of the callback", Description: describeCallback,
		Errors: []int{404, 503},
	}, s.getCallback)
	handle(s, huma.Operation{
		OperationID: "replay-callback", Method: http.MethodPost, Path: pathRequests + "{id}/callback", DefaultStatus: http.StatusAccepted,
		Tags: []string{tagRequests}, Summary: "Send the callback again", Description: describeReplay,
		Errors: []int{404, 409, 503},
	}, s.replayCallback)

	handle(s, huma.Operation{
		OperationID: "health-live", Method: http.MethodGet, Path: "/health/live",
		Tags: []string{tagOperations}, Summary: "Is the process alive?", Errors: []int{422},
	}, s.live)
	handle(s, huma.Operation{
		OperationID: "health-ready", Method: http.MethodGet, Path: "/health/ready",
		Tags: []string{tagOperations}, Summary: "Can it accept submissions?", Description: describeReady, Errors: []int{422},
	}, s.ready)
	handle(s, huma.Operation{
		OperationID: "health", Method: http.MethodGet, Path: "/health",
		Tags: []string{tagOperations}, Summary: "The same as /health/ready", Description: describeReady, Errors: []int{422},
	}, s.ready)

	s.routeAuth()
	s.routeAudit()

	described := new(document)
	s.page(router, "/", "Redirects to /docs", http.RedirectHandler("/docs", http.StatusFound), http.MethodGet)
	s.page(router, pathLogin, "The page to log in and out", s.loginPage(), http.MethodGet, http.MethodPost)
	s.page(router, pathLogout, "Ends the session of a browser", http.HandlerFunc(s.logOut), http.MethodPost)
	s.page(router, "/openapi.json", "This document", described, http.MethodGet)
	s.tree(router, "/docs", "Swagger UI", docsPage(), http.MethodGet)
	s.tree(router, pathMonitoring, "Asynqmon: the queues and their tasks", s.monitoring(), http.MethodGet, http.MethodPost, http.MethodDelete)
	table := accessTable()
	var err error
	if s.access, err = newAccess(table, router); err != nil {
		return err
	}
	documentAccess(s.huma.OpenAPI(), table)
	if err := described.render(s.huma.OpenAPI()); err != nil {
		return err
	}

	router.Use(nameRoute, s.admit)
	router.NotFoundHandler = http.HandlerFunc(notFound)
	router.MethodNotAllowedHandler = methodNotAllowed(router)
	edge := limitHeaders(s.cfg.MaxHeaders, shareWith(s.cfg.Origins, guardOrigin(router)))
	s.handler = s.withExchange(recoverPanics(secure(edge)))
	return nil
}

// handle registers an operation. Whatever its handler returns as an error becomes
// a problem here.
func handle[I, O any](s *Server, op huma.Operation, h func(context.Context, *I) (*O, error)) {
	huma.Register(s.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, in)
		if err == nil {
			return out, nil
		}
		p := problemOf(err)
		if ctx.Err() != nil && p.Status >= http.StatusInternalServerError { // the client is gone, which made it fail
			p = problemOf(ctx.Err())
		}
		return nil, p
	})
}

// page registers a resource that is no operation, with and without the slash.
func (s *Server) page(router *mux.Router, path, summary string, h http.Handler, methods ...string) {
	for _, form := range bothForms(path) {
		router.Path(form).Methods(withHead(methods)...).Handler(h)
	}
	describePage(s.huma.OpenAPI(), path, summary, methods)
}

// tree mounts a handler at a path and everything below it.
func (s *Server) tree(router *mux.Router, path, summary string, h http.Handler, methods ...string) {
	for _, r := range []*mux.Route{router.Path(path), router.PathPrefix(path + "/")} {
		r.Methods(withHead(methods)...).Handler(h)
	}
	describePage(s.huma.OpenAPI(), path, summary, methods)
}

// withHead adds HEAD where there is GET.
func withHead(methods []string) []string {
	if slices.Contains(methods, http.MethodGet) {
		return append(slices.Clone(methods), http.MethodHead)
	}
	return methods
}

// adapter is huma's adapter to mux, apart from the routes: each path with and
// without the slash at its end, and HEAD where there is GET.
type adapter struct{ *mux.Router }

// Handle implements huma.Adapter.
func (a adapter) Handle(op *huma.Operation, handler func(huma.Context)) {
	for _, path := range bothForms(op.Path) {
		a.Path(path).Methods(withHead([]string{op.Method})...).HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			handler(blind{humamux.NewContext(op, r, w)})
		})
	}
}

// blind hides the header Accept from huma, whose negotiation slices some values
// of it out of bounds (";0 "). It would decide nothing: an operation has one
// media type, and those that have more look for themselves.
type blind struct{ humaContext }

type humaContext = huma.Context // a name under which its method Context is not hidden

// Unwrap serves humamux.Unwrap.
func (c blind) Unwrap() huma.Context { return c.humaContext }

// Header implements huma.Context.
func (c blind) Header(name string) string {
	if name == "Accept" {
		return ""
	}
	return c.humaContext.Header(name)
}

// bothForms returns the path as written and the one with the other ending.
func bothForms(path string) []string {
	if path == "/" {
		return []string{path}
	}
	if bare, slash := strings.CutSuffix(path, "/"); slash {
		return []string{path, bare}
	}
	return []string{path, path + "/"}
}

func notFound(w http.ResponseWriter, r *http.Request) {
	writeProblem(w, r, &Problem{Status: http.StatusNotFound, Code: codeNotFound, Detail: "There is nothing at this path."})
}

// methodNotAllowed names the methods of the path, which mux does not.
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
		writeProblem(w, r, &Problem{
			Status: http.StatusMethodNotAllowed, Code: codeMethod, Detail: "This path takes " + list + ".",
		})
	})
}
