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

// enqueueTimeout bounds an enqueue; the reconciler mends what it cuts off.
const enqueueTimeout = 5 * time.Second

// endTogether is how long the outcome of a try may wait for those of its batch, so
// that one statement writes them all. The last one to end waits for nobody.
const endTogether = 5 * time.Millisecond

// tries are the requests of a batch, on which a worker works at the same time.
type tries struct {
	w       *Worker
	line    line
	claimed []jobs.Claimed
	started time.Time
	ends    chan end // what the tries came to; of each request the first one counts

	writers  sync.WaitGroup
	mu       sync.Mutex // guards the rest
	summary  jobs.BatchSummary
	returned []jobs.Lease
}

// end is what a try came to.
type end struct {
	at      int // which of the claimed
	outcome jobs.Outcome
	err     error
}

// tryAll tries the claimed requests concurrently, each on its own, writes their
// outcomes as they become known, and counts how they ended.
func (w *Worker) tryAll(l line, claimed []jobs.Claimed) jobs.BatchSummary {
	t := &tries{w: w, line: l, claimed: claimed, started: time.Now(), ends: make(chan end, 2*len(claimed))}
	t.summary.Claimed = len(claimed)
	ctx, stop := context.WithTimeoutCause(w.running, w.config.RequestTimeout, errTimeout)
	defer stop()
	for i := range claimed {
		t.begin(ctx, i)
	}
	t.collect(ctx)
	t.writers.Wait()
	if len(t.returned) > 0 {
		t.summary.Released = w.release(context.WithoutCancel(w.running), t.returned, errShutdown.Error())
	}
	return t.summary
}

// begin starts a try. It ends when the pipeline does, or, without waiting for that,
// when the request is taken away.
func (t *tries) begin(ctx context.Context, i int) {
	w, c := t.w, &t.claimed[i]
	ctx, cancel := context.WithCancelCause(jobs.ContextWithLease(ctx, c.Lease))
	var taken sync.Once
	w.holdings.add(c.Lease, func(cause error) {
		taken.Do(func() {
			cancel(cause)
			t.ends <- end{i, w.judge(c, jobs.Result{}, cause), cause}
		})
	})
	w.runners.do(func() {
		defer cancel(nil)
		result, err := w.run(ctx, c.Payload)
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		t.ends <- end{i, w.judge(c, result, err), err}
	})
}

// run calls the pipeline. A panic is an error.
func (w *Worker) run(ctx context.Context, raw []byte) (result jobs.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			w.log.Error("the pipeline panicked", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("the pipeline panicked: %v", p)
		}
	}()
	return w.pipeline(ctx, raw)
}

// collect waits until every try has ended, and has the outcomes written in groups.
// When ctx ends, so do all tries: a pipeline that does not heed that is left behind,
// so that it holds nobody up.
func (t *tries) collect(ctx context.Context) {
	var (
		known    = make([]bool, len(t.claimed))
		missing  = len(t.claimed)
		group    []end
		patience <-chan time.Time // runs while anything is in the group
	)
	take := func(e end) {
		if known[e.at] {
			return
		}
		known[e.at] = true
		missing--
		if !t.leaves(e) {
			group = append(group, e)
		}
	}
	for missing > 0 {
		select {
		case e := <-t.ends:
			take(e)
		case <-patience:
			written := group
			t.writers.Go(func() { t.write(written) }) //nolint:contextcheck // what ended is written though the time of the tries is over
			group, patience = nil, nil
		case <-ctx.Done():
			for len(t.ends) > 0 { // what ended before
				take(<-t.ends)
			}
			for i, ended := range known {
				if !ended {
					take(end{i, t.w.judge(&t.claimed[i], jobs.Result{}, context.Cause(ctx)), context.Cause(ctx)})
				}
			}
		}
		if len(group) > 0 && patience == nil && missing > 0 {
			patience = time.After(endTogether)
		}
	}
	t.write(group) //nolint:contextcheck // see above
}

// leaves tells whether a try ended without anything to be written.
func (t *tries) leaves(e end) bool {
	switch e.outcome.Action {
	case jobs.Release:
		t.say(e, slog.LevelInfo, "try handed back", "error", e.err)
	case "":
		t.say(e, slog.LevelInfo, "try dropped", "error", e.err)
	default:
		return false
	}
	t.count(e, e.outcome.Action)
	return true
}

// write writes the outcomes of tries, and does what follows from them.
func (t *tries) write(group []end) {
	for i, s := range t.settle(group) {
		e := group[i]
		action := e.outcome.Action
		level := slog.LevelInfo
		switch {
		case s.Err != nil:
			t.say(e, slog.LevelError, "the outcome could not be written; the request will be tried again", "error", s.Err)
			action = jobs.Release
		case !s.Out.Accepted:
			t.say(e, slog.LevelInfo, "outcome refused: the request was taken away meanwhile")
			action = ""
		default:
			if action == jobs.Retry {
				t.writers.Go(func() { t.w.enqueue(context.WithoutCancel(t.w.running), s.Out.Next) })
			}
			if action == jobs.Finish {
				level = slog.LevelDebug // the trail has them all
			}
			t.say(e, level, "try ended", "outcome", action, "duration", time.Since(t.started), "error", e.outcome.Error)
		}
		t.count(e, action)
	}
}

// settle writes outcomes, waiting for Postgres as long as the worker runs. A result
// that Postgres refuses makes its request fail with that reason, in the group, too.
func (t *tries) settle(group []end) []groupcommit.Result[store.OutcomeResult] {
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
		for k, r := range t.line.settles.DoAll(t.w.running, outcomes) {
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
		if err := t.w.persist(t.w.running, "write outcomes", write); err != nil {
			break // in out
		}
	}
	return out
}

// count notes how a try ended: "" means that the request was taken away meanwhile,
// Release that it is to be handed back.
func (t *tries) count(e end, action jobs.Action) {
	t.w.holdings.remove(e.outcome.Lease)
	t.w.free()
	t.mu.Lock()
	defer t.mu.Unlock()
	switch action {
	case jobs.Finish:
		t.summary.Done++
	case jobs.Fail:
		t.summary.Failed++
	case jobs.Retry:
		t.summary.Retried++
	case jobs.Release:
		t.returned = append(t.returned, e.outcome.Lease)
	default:
		t.summary.Cancelled++
	}
}

func (t *tries) say(e end, level slog.Level, text string, more ...any) {
	if t.w.log.Enabled(t.w.running, level) {
		c := &t.claimed[e.at]
		t.w.log.With("request", c.ID, "batch", c.BatchID, "attempt", c.Attempt, "correlation", c.CorrelationID).Log(t.w.running, level, text, more...)
	}
}

// judge is the one place that decides what follows from the end of a try.
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
		o.Faults, _ = json.Marshal(faults) // a list of pairs of strings has a JSON form
	case w.config.Retry.Again(c.Failures + 1):
		o.Action, o.Error = jobs.Retry, describe(err)
		o.Delay = w.config.Retry.Delay(c.Failures+1, rand.Float64())
	default:
		o.Action, o.Error = jobs.Fail, fmt.Sprintf("gave up after %d tries: %s", c.Failures+1, describe(err))
	}
	return o
}

// describe is an error's text for the row: one line of bounded length, and of
// characters that Postgres can hold.
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
