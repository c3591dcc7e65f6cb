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
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/payload"
	"github.com/leomutto/pilot-in-a-box/store"
)

// enqueueTimeout bounds an enqueue; the reconciler mends what it cuts off.
const enqueueTimeout = 5 * time.Second

// try makes one try of one request and writes its outcome as soon as it is
// known. It returns how the try ended; Release means that nothing was written
// and the request is to be handed back, "" that it was taken away meanwhile.
func (w *Worker) try(ends *party, l line, c jobs.Claimed) jobs.Action {
	started := time.Now()
	ctx, cancel := context.WithCancelCause(jobs.ContextWithLease(w.running, c.Lease))
	defer cancel(nil)
	w.holdings.add(c.Lease, cancel)
	defer w.holdings.remove(c.Lease)

	bounded, stop := context.WithTimeoutCause(ctx, w.config.RequestTimeout, errTimeout)
	result, err := w.run(bounded, c.Payload)
	stop()

	say := func(level slog.Level, text string, more ...any) {
		if w.log.Enabled(ctx, level) {
			w.log.With("request", c.ID, "batch", c.BatchID, "attempt", c.Attempt, "correlation", c.CorrelationID).Log(ctx, level, text, more...)
		}
	}
	o := w.judge(c, result, err)
	if o.Action == jobs.Release || o.Action == "" {
		ends.Leave()
	}
	switch o.Action {
	case jobs.Release:
		say(slog.LevelInfo, "try handed back", "error", err)
		return jobs.Release
	case "":
		say(slog.LevelInfo, "try dropped", "error", err)
		return ""
	}
	settled, action, err := w.settle(ctx, ends, l, o)
	if err != nil {
		say(slog.LevelError, "the outcome could not be written; the request will be tried again", "error", err)
		return jobs.Release
	}
	if !settled.Accepted {
		say(slog.LevelInfo, "outcome refused: the request was taken away meanwhile")
		return ""
	}
	if action == jobs.Retry {
		w.enqueue(context.WithoutCancel(ctx), settled.Next)
	}
	level := slog.LevelInfo
	if action == jobs.Finish {
		level = slog.LevelDebug // the trail has them all
	}
	say(level, "try ended", "outcome", action, "duration", time.Since(started), "error", o.Error)
	return action
}

// run calls the pipeline. A panic is an error, and a pipeline that does not heed
// the end of its context is left behind, so that it holds nobody up.
func (w *Worker) run(ctx context.Context, raw []byte) (jobs.Result, error) {
	var (
		result jobs.Result
		err    error
		ended  = make(chan struct{})
	)
	w.runners.do(func() {
		defer close(ended)
		defer func() {
			if p := recover(); p != nil {
				w.log.Error("the pipeline panicked", "panic", p, "stack", string(debug.Stack()))
				err = fmt.Errorf("the pipeline panicked: %v", p)
			}
		}()
		result, err = w.pipeline(ctx, raw)
	})
	select {
	case <-ended:
		if err != nil && ctx.Err() != nil {
			return jobs.Result{}, context.Cause(ctx)
		}
		return result, err
	case <-ctx.Done():
		return jobs.Result{}, context.Cause(ctx)
	}
}

// judge is the one place that decides what follows from the end of a try.
func (w *Worker) judge(c jobs.Claimed, result jobs.Result, err error) jobs.Outcome {
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

// settle writes the outcome, waiting for Postgres as long as the request is
// ours. A result that Postgres refuses makes the request fail with that reason.
func (w *Worker) settle(ctx context.Context, ends *party, l line, o jobs.Outcome) (settled store.Settled, written jobs.Action, err error) {
	do := ends.Do
	write := func() (err error) {
		settled, err = do(ctx, o)
		do = l.settles.Do // alone, from the second time on
		return err
	}
	err = w.persist(ctx, "write an outcome", write)
	if errors.Is(err, store.ErrInvalid) && o.Action == jobs.Finish {
		o = jobs.Outcome{Lease: o.Lease, InputDigest: o.InputDigest, Action: jobs.Fail, Error: "the result could not be stored: the database refused it"}
		err = w.persist(ctx, "write an outcome", write)
	}
	return settled, o.Action, err
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
