package api

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
