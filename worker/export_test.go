package worker

// Running returns the number of attempts that the worker runs.
func (w *Worker) Running() int { return w.running.count() }
