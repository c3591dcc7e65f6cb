package api

import "github.com/leomutto/pilot-in-a-box/api/waiting"

// Route is a row of the table of routes.
type Route = routeRow

// Routes returns the table of routes.
func (s *Server) Routes() []Route { return s.routes() }

// Route returns what a row is about.
func (r routeRow) Route() (method, path string, page bool) { return r.method, r.path, r.page }

// Needs returns the role that a row requires.
func (r routeRow) Needs() string { return string(r.role) }

// WaitStats is for tests.
func (s *Server) WaitStats() waiting.Stats { return s.waiting.Stats() }
