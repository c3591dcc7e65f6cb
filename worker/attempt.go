package worker

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/groupcommit"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/store"
)

// groupWait is how long the outcome of an attempt may wait for other outcomes
// of its batch, so that one statement writes them all. The outcome of the last
// attempt of a batch does not wait.
const groupWait = 5 * time.Millisecond

// attempts are the concurrent attempts at the requests of one batch.
type attempts struct {
	w          *Worker
	committers committers
	claimed    []jobs.Claimed
	started    time.Time
	ends       chan attemptEnd // of each attempt, the first value counts

	writers  sync.WaitGroup
	mu       sync.Mutex // guards the rest
	summary  jobs.BatchSummary
	returned []jobs.Lease
}

// attemptEnd is how an attempt ended.
type attemptEnd struct {
	at      int // index of the claimed request
	outcome jobs.Outcome
	err     error
}

// attemptAll attempts the claimed requests concurrently, each on its own,
// writes their outcomes as they become known, and counts how they ended.
func (w *Worker) attemptAll(c committers, claimed []jobs.Claimed) jobs.BatchSummary {
	a := &attempts{w: w, committers: c, claimed: claimed, started: time.Now(), ends: make(chan attemptEnd, 2*len(claimed))}
	a.summary.Claimed = len(claimed)
	ctx, stop := context.WithTimeoutCause(w.work, w.config.RequestTimeout, errTimeout)
	defer stop()
	for i := range claimed {
		a.begin(ctx, i)
	}
	a.collect(ctx)
	a.writers.Wait()
	if len(a.returned) > 0 {
		a.summary.Released = w.release(context.WithoutCancel(w.work), a.returned, errShutdown.Error())
	}
	return a.summary
}

// begin starts an attempt on a goroutine of its own, so that neither a slow
// pipeline nor one that ignores its context holds up the batch. The attempt
// ends when the pipeline returns or, if that is earlier, when the request is
// taken away.
func (a *attempts) begin(ctx context.Context, i int) {
	w, c := a.w, &a.claimed[i]
	ctx, cancel := context.WithCancelCause(jobs.ContextWithLease(ctx, c.Lease))
	var taken sync.Once
	w.running.add(c.Lease, func(cause error) {
		taken.Do(func() {
			cancel(cause)
			a.ends <- attemptEnd{i, w.judge(c, jobs.Result{}, cause), cause}
		})
	})
	go func() {
		defer cancel(nil)
		result, err := w.runPipeline(ctx, c.Payload)
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		a.ends <- attemptEnd{i, w.judge(c, result, err), err}
	}()
}

// runPipeline calls the pipeline, and turns a panic of it into an error.
func (w *Worker) runPipeline(ctx context.Context, raw []byte) (r jobs.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			w.log.Error("the pipeline panicked", "mass_request", jobs.LeaseFromContext(ctx).ID, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("the pipeline panicked: %v", p)
		}
	}()
	r.JSON, r.AsSubmitted, err = w.pipeline.Run(ctx, raw)
	return r, err
}

// collect waits until every attempt has ended, and has the outcomes written in
// groups. When ctx ends, all attempts end: a pipeline that ignores its context
// is left behind, so that it does not hold up the batch.
func (a *attempts) collect(ctx context.Context) {
	var (
		known    = make([]bool, len(a.claimed))
		missing  = len(a.claimed)
		group    []attemptEnd
		deadline <-chan time.Time // of the group; nil while it is empty
	)
	take := func(e attemptEnd) {
		if known[e.at] {
			return
		}
		known[e.at] = true
		missing--
		if !a.needsNoWrite(e) {
			group = append(group, e)
		}
	}
	for missing > 0 {
		select {
		case e := <-a.ends:
			take(e)
		case <-deadline:
			written := group
			a.writers.Go(func() { a.writeGroup(written) }) //nolint:contextcheck // outcomes are written even after the request timeout
			group, deadline = nil, nil
		case <-ctx.Done():
			for len(a.ends) > 0 { // attempts that ended before
				take(<-a.ends)
			}
			for i, ended := range known {
				if !ended {
					take(attemptEnd{i, a.w.judge(&a.claimed[i], jobs.Result{}, context.Cause(ctx)), context.Cause(ctx)})
				}
			}
		}
		if len(group) > 0 && deadline == nil && missing > 0 {
			deadline = time.After(groupWait)
		}
	}
	a.writeGroup(group) //nolint:contextcheck // see above
}

// needsNoWrite reports whether an attempt ended without an outcome to write:
// its request is handed back, or was taken away.
func (a *attempts) needsNoWrite(e attemptEnd) bool {
	switch e.outcome.Action {
	case jobs.Release:
		a.logEnd(e, slog.LevelInfo, "attempt handed back", "error", e.err)
	case "":
		a.logEnd(e, slog.LevelInfo, "attempt dropped", "error", e.err)
	default:
		return false
	}
	a.count(e, e.outcome.Action)
	return true
}

// writeGroup writes the outcomes of attempts, and does what follows from them.
func (a *attempts) writeGroup(group []attemptEnd) {
	for i, s := range a.persistOutcomes(group) {
		e := group[i]
		action := e.outcome.Action
		level := slog.LevelInfo
		switch {
		case s.Err != nil:
			a.logEnd(e, slog.LevelError, "the outcome could not be written; the request will be attempted again", "error", s.Err)
			action = jobs.Release
		case !s.Out.Accepted:
			a.logEnd(e, slog.LevelInfo, "outcome refused: the request has been taken away")
			action = ""
		default:
			if action == jobs.Retry {
				a.writers.Go(func() { a.w.enqueue(context.WithoutCancel(a.w.work), s.Out.Next) })
			}
			if action == jobs.Finish {
				level = slog.LevelDebug // the audit trail records them all
			}
			a.logEnd(e, level, "attempt ended", "outcome", action, "duration", time.Since(a.started), "error", e.outcome.Error)
		}
		a.count(e, action)
	}
}

// persistOutcomes writes outcomes, and waits for Postgres for as long as the
// worker runs. A result that Postgres refuses is replaced in the group by a
// failure with that reason.
func (a *attempts) persistOutcomes(group []attemptEnd) []groupcommit.Result[store.OutcomeResult] {
	out := make([]groupcommit.Result[store.OutcomeResult], len(group))
	left := make([]int, len(group))
	for i := range left {
		left[i] = i
	}
	write := func() (away error) {
		outcomes := make([]jobs.Outcome, len(left))
		for k, i := range left {
			outcomes[k] = group[i].outcome
		}
		var again []int
		for k, r := range a.committers.outcomes.DoAll(a.w.work, outcomes) {
			i := left[k]
			out[i] = r
			o := &group[i].outcome
			switch {
			case errors.Is(r.Err, store.ErrUnavailable):
				again, away = append(again, i), r.Err
			case errors.Is(r.Err, store.ErrInvalid) && o.Action == jobs.Finish:
				*o = jobs.Outcome{Lease: o.Lease, InputDigest: o.InputDigest, Action: jobs.Fail, Error: "the result could not be stored: the database refused it"}
				again = append(again, i)
			}
		}
		left = again
		return away
	}
	for len(left) > 0 {
		if err := a.w.persist(a.w.work, "write outcomes", write); err != nil {
			break // the errors are in out
		}
	}
	return out
}

// count records how an attempt ended: "" means that the request was taken away,
// and Release means that it is to be handed back.
func (a *attempts) count(e attemptEnd, action jobs.Action) {
	a.w.running.remove(e.outcome.Lease)
	a.w.wakeParked()
	a.mu.Lock()
	defer a.mu.Unlock()
	switch action {
	case jobs.Finish:
		a.summary.Done++
	case jobs.Fail:
		a.summary.Failed++
	case jobs.Retry:
		a.summary.Retried++
	case jobs.Release:
		a.returned = append(a.returned, e.outcome.Lease)
	default:
		a.summary.Cancelled++
	}
}

// logEnd logs how an attempt ended. It does nothing for a level that is off,
// because most attempts end at debug level.
func (a *attempts) logEnd(e attemptEnd, level slog.Level, text string, more ...any) {
	if a.w.log.Enabled(a.w.work, level) {
		c := &a.claimed[e.at]
		a.w.log.With("mass_request", c.ID, "batch", c.BatchID, "attempt", c.Attempt, "correlation", c.CorrelationID).Log(a.w.work, level, text, more...)
	}
}

// judge is the one place that decides what follows from the end of an attempt:
// the request is done, fails, is attempted again later, or is handed back.
func (w *Worker) judge(c *jobs.Claimed, result jobs.Result, err error) jobs.Outcome {
	digest := sha256.Sum256(c.Payload)
	o := jobs.Outcome{Lease: c.Lease, InputDigest: digest[:]}
	var faults payload.Faults
	switch {
	case err == nil:
		o.Action, o.Result = jobs.Finish, result
	case errors.Is(err, errTaken):
		o.Action = ""
	case errors.Is(err, errShutdown):
		o.Action = jobs.Release
	case errors.As(err, &faults):
		o.Action, o.Error = jobs.Fail, faults.Error()
		o.Faults, _ = json.Marshal(faults) // cannot fail: the faults hold strings only
	case w.config.Retry.Again(c.Failures + 1):
		o.Action, o.Error = jobs.Retry, describe(err)
		o.Delay = w.config.Retry.Delay(c.Failures+1, rand.Float64())
	default:
		o.Action, o.Error = jobs.Fail, fmt.Sprintf("gave up after %d tries: %s", c.Failures+1, describe(err))
	}
	return o
}

// describe returns an error's text for the row: one line of bounded length,
// without characters that Postgres cannot store.
func describe(err error) string {
	const limit = 2000
	text := []rune(err.Error())
	if len(text) > limit {
		text = append(text[:limit], '…')
	}
	for i, r := range text {
		if r < ' ' {
			text[i] = ' '
		}
	}
	return string(text)
}
