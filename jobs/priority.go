package jobs

// Priority decides, with the Lane, which Asynq queue carries a request.
type Priority string

// The priorities. The queues of lane 0 have the same names.
const (
	High    Priority = "high"
	Default Priority = "default"
	Low     Priority = "low"
)

// Priorities lists every priority, most urgent first.
func Priorities() []Priority { return []Priority{High, Default, Low} }
