package api

import "github.com/leomutto/pilot-in-a-box/api/waiting"

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

// WaitStats is for tests.
func (s *Server) WaitStats() waiting.Stats { return s.waiting.Stats() }
