package jobs

import (
	"fmt"
	"slices"
)

// Priority decides, with the Lane, which Asynq queue carries a request.
type Priority string

// The priorities; the queues of lane 0 bear the same names.
const (
	High    Priority = "high"
	Default Priority = "default"
	Low     Priority = "low"
)

// Priorities lists every priority, most urgent first.
func Priorities() []Priority { return []Priority{High, Default, Low} }

// ParsePriority returns the priority named s; the empty string means Default.
func ParsePriority(s string) (Priority, error) {
	if s == "" {
		return Default, nil
	}
	if p := Priority(s); slices.Contains(Priorities(), p) {
		return p, nil
	}
	return "", fmt.Errorf("unknown priority %q: want one of %v", s, Priorities())
}
