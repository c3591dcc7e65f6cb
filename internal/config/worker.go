package config

import (
	"errors"
	"fmt"
	"time"
)

// Worker is about the processing of requests.
type Worker struct {
	Concurrency    int
	Memory         int64 // bytes of payloads
	RequestTimeout time.Duration
	PollInterval   time.Duration
	Heartbeat      time.Duration
	Retry          Retry
	Reconcile      Reconcile
}

// Retry says how often a request is tried, and when. Its fields are those of
// jobs.RetryPolicy.
type Retry struct {
	MaxTries int
	Base     time.Duration
	Max      time.Duration
	Jitter   float64
}

// Reconcile is about the worker that leads: it finds lost tasks and requests of
// dead workers. Its fields are those of worker.ReconcileConfig.
type Reconcile struct {
	Interval          time.Duration
	Grace             time.Duration
	SilentAfter       time.Duration
	Step              int
	MaxRescues        int
	Retention         time.Duration
	ReadingsRetention time.Duration
}

func (w *Worker) settings() []setting {
	own := []setting{{
		value: &w.Concurrency, env: "MASS_CONCURRENCY", usedBy: "worker dev", def: "32", min: "1",
		help: "number of batches that a worker processes at once",
	}, {
		value: &w.Memory, env: "MASS_WORKER_MEMORY", usedBy: "worker dev", def: "16777216", min: "1048576",
		help: "bytes of payloads that a worker holds at once; it needs about six times as much memory",
	}, {
		value: &w.RequestTimeout, env: "MASS_REQUEST_TIMEOUT", usedBy: "worker dev doctor", def: "30s", min: "10ms",
		help: "time limit for one attempt at processing a request",
	}, {
		value: &w.PollInterval, env: "MASS_POLL_INTERVAL", usedBy: "worker dev", def: "250ms", min: "1ms",
		help: "how often an idle worker checks the queues when no notification arrives",
	}, {
		value: &w.Heartbeat, env: "MASS_HEARTBEAT", usedBy: "worker dev", def: "1s", min: "10ms",
		help: "how often a worker reports that it is alive",
	}}
	return append(append(own, w.Retry.settings()...), w.Reconcile.settings()...)
}

func (r *Retry) settings() []setting {
	return []setting{{
		value: &r.MaxTries, env: "MASS_MAX_TRIES", usedBy: "worker dev", def: "5", min: "1",
		help: "number of attempts at processing a request before it fails",
	}, {
		value: &r.Base, env: "MASS_RETRY_BASE", usedBy: "worker dev", def: "1s", min: "1ms",
		help: "wait after the first failed attempt at a request; it doubles with each further one",
	}, {
		value: &r.Max, env: "MASS_RETRY_MAX", usedBy: "worker dev", def: "10m", min: "1ms",
		help: "longest wait between two attempts at a request",
	}, {
		value: &r.Jitter, env: "MASS_RETRY_JITTER", usedBy: "worker dev", def: "0.25", min: "0", max: "1",
		help: "largest share of the wait, from 0 to 1, that is added at random; it applies to callbacks, too",
	}}
}

func (r *Reconcile) settings() []setting {
	return []setting{{
		value: &r.Interval, env: "MASS_RECONCILE_INTERVAL", usedBy: "worker dev", def: "1s", min: "10ms",
		help: "how often the leading worker looks for dead workers and lost tasks",
	}, {
		value: &r.Grace, env: "MASS_RECONCILE_GRACE", usedBy: "worker dev doctor", def: "5s", min: "10ms",
		help: "age that a batch must have before its missing task counts as lost",
	}, {
		value: &r.SilentAfter, env: "MASS_SILENT_AFTER", usedBy: "worker dev doctor", def: "5s", min: "50ms",
		help: "a worker silent for this long is presumed dead and its requests are reassigned",
	}, {
		value: &r.Step, env: "MASS_RECONCILE_STEP", usedBy: "worker dev", def: "500", min: "1", max: "10000",
		help: "number of batches that the leading worker checks for lost tasks at a time",
	}, {
		value: &r.MaxRescues, env: "MASS_MAX_RESCUES", usedBy: "worker dev", def: "10", min: "1",
		help: "number of workers that may die while they process a request before it fails",
	}, {
		value: &r.Retention, env: "MASS_RETENTION", usedBy: "worker dev", def: "0s",
		help: "how long requests are kept after they ended, at least 1m; 0 means forever",
	}, {
		value: &r.ReadingsRetention, env: "MASS_READINGS_RETENTION", usedBy: "worker dev", def: "0s",
		help: "how long readings are kept after the month in which they begin, at least 24h; 0 means forever",
	}}
}

func (w *Worker) check() error {
	var errs []error
	if keep := w.Reconcile.Retention; keep != 0 && keep < time.Minute {
		errs = append(errs, fmt.Errorf("MASS_RETENTION (%v) must be 0 or at least 1m, "+
			"or results are deleted before clients read them", keep))
	}
	if keep := w.Reconcile.ReadingsRetention; keep != 0 && keep < 24*time.Hour {
		errs = append(errs, fmt.Errorf("MASS_READINGS_RETENTION (%v) must be 0 or at least 24h, "+
			"because readings are removed by whole months", keep))
	}
	if w.Reconcile.SilentAfter < 3*w.Heartbeat {
		errs = append(errs, fmt.Errorf("MASS_SILENT_AFTER (%v) must be at least three times MASS_HEARTBEAT (%v)",
			w.Reconcile.SilentAfter, w.Heartbeat))
	}
	return errors.Join(append(errs, checkWaits("MASS_RETRY_BASE", w.Retry.Base, "MASS_RETRY_MAX", w.Retry.Max))...)
}

// checkWaits compares the first wait between two attempts with the longest one.
func checkWaits(baseName string, base time.Duration, maxName string, longest time.Duration) error {
	if longest < base {
		return fmt.Errorf("%s (%v) must not be below %s (%v)", maxName, longest, baseName, base)
	}
	return nil
}
