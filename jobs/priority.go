package jobs

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
