package worker

// Holds tells how many claims the worker takes for its own.
func (w *Worker) Holds() int { return w.holdings.count() }
