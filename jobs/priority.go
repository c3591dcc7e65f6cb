package jobs

import (
	"fmt"
	"slices"
)

// Priority decides which Asynq queue carries a request.
type Priority string

// The priorities; the Asynq queues bear the same names.
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

// Queue names the Asynq queue of the priority.
func (p Priority) Queue() string { return string(p) }

// QueueWeights says how often a worker looks at each queue relative to the
// others when all hold work (6 : 3 : 1, the weights of Asynq's documentation),
// so that low-priority work is slowed and never starved.
func QueueWeights() map[string]int {
	return map[string]int{High.Queue(): 6, Default.Queue(): 3, Low.Queue(): 1}
}
