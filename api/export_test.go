package api

// Anyone is the role of open routes.
const Anyone = anyone

// Rule is an entry of the table of access.
type Rule = rule

// AccessTable is for tests.
func AccessTable() []Rule { return accessTable() }

// Route returns what an entry is about.
func (r rule) Route() (method, path string, page bool) { return r.method, r.path, r.page }

// Needs returns the role that an entry asks for.
func (r rule) Needs() string { return string(r.role) }

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
