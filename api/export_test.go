package api

// Route is a row of the table of routes.
type Route = route

// Routes returns the table of routes.
func (s *Server) Routes() []Route { return s.routes() }

// Route returns what a row is about.
func (r route) Route() (method, path string, page bool) { return r.method, r.path, r.page }

// Needs returns the role that a row requires.
func (r route) Needs() string { return string(r.role) }

// WaitStats are the figures of those who wait.
type WaitStats struct {
	Waiters    int   // now
	Looks      int64 // at the database so far
	Subscribed int64 // times a subscription came to stand
	Working    bool
}

// WaitStats is for tests.
func (s *Server) WaitStats() WaitStats {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	stats := WaitStats{Looks: h.looks.Load(), Subscribed: h.heard.Load(), Working: h.stop != nil}
	for _, list := range h.waiters {
		stats.Waiters += len(list)
	}
	return stats
}
