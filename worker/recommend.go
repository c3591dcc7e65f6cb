package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"

	"github.com/leomutto/pilot-in-a-box/internal/biocore"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
	"github.com/leomutto/pilot-in-a-box/store"
)

// RecommendConfig tunes how recommendations are asked for. The zero value leaves
// them to other workers; otherwise all fields must be set.
type RecommendConfig struct {
	Client      *biocore.Client  // nil: this worker does not ask BioCore
	Concurrency int              // questions under way at once
	Timeout     time.Duration    // of the client
	Retry       jobs.RetryPolicy // waits between two tries; the leader ends the tries
	PollEvery   time.Duration    // between two looks at BioCore's health and model
}

// errBioCoreAway postpones a try because the circuit breaker is open. It does
// not count as a failure, and costs PostgreSQL nothing.
type errBioCoreAway struct{ wait time.Duration }

func (e errBioCoreAway) Error() string {
	return "BioCore failed too often and is not called for a while"
}

// adviser gets recommendations from BioCore. It has a task server of its own, so
// that a BioCore that hangs delays only recommendations.
type adviser struct {
	backends
	work   context.Context                       // of the tries
	worker *atomic.Pointer[store.WorkerIdentity] // for the audit trail
	config RecommendConfig
}

func newAdviser(work context.Context, b backends, worker *atomic.Pointer[store.WorkerIdentity], c RecommendConfig) *adviser {
	return &adviser{backends: b, work: work, worker: worker, config: c}
}

// handle makes one try to get one recommendation. As with callbacks, an error
// means only that Postgres was unavailable or that BioCore is away, and the end
// of the task's context does not end the try.
func (a *adviser) handle(_ context.Context, task *asynq.Task) error {
	ref, err := jobs.ParseRecommendPayload(task.Payload())
	if err != nil {
		return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
	}
	if b := a.config.Client.Breaker(); b.State == biocore.BreakerOpen {
		return errBioCoreAway{b.RetryIn}
	}
	ctx := a.work
	claimed, err := a.store.ClaimRecommendation(ctx, ref, a.config.Timeout+deliverySlack) //nolint:contextcheck // see above
	if errors.Is(err, store.ErrNotFound) {
		return nil // the try was begun before, or there is nothing to ask anymore
	}
	if err != nil {
		return err
	}
	a.ask(ctx, &claimed) //nolint:contextcheck // see above
	return nil
}

// ask asks BioCore and writes the outcome.
func (a *adviser) ask(ctx context.Context, t *jobs.RecommendationTask) {
	log := a.log.With("recommendation", t.ID, "mass_request", t.RequestID, "try", t.Tries)
	document, o := askedDocument(t)
	if document != nil {
		reply, err := a.config.Client.Recommend(ctx, biocore.Ask{Document: document, Key: t.Key})
		if ctx.Err() != nil && err != nil {
			log.Info("the question to BioCore was interrupted; it will be asked again", "error", err)
			return
		}
		o = a.judge(t, reply, err)
	}
	o.RecommendationRef = t.RecommendationRef
	next, err := a.settle(ctx, &o)
	if errors.Is(err, store.ErrInvalid) { // PostgreSQL does not take the answer
		o.State, o.Answer, o.Categories, o.Reason = jobs.RecommendationRefused, nil, nil, "the answer cannot be stored"
		o.Faults = []byte(`[{"pointer":"","detail":"cannot be stored"}]`)
		next, err = a.settle(ctx, &o)
	}
	if err != nil {
		log.Warn("the outcome of a question to BioCore could not be written; the question will be asked again", "error", err)
		return
	}
	log.Info("BioCore asked", "outcome", o.State, "model", o.ModelName, "model_version", o.ModelVersion, "policy", o.PolicyID,
		"latency", o.Latency, "reason", o.Reason)
	if next.ID != 0 {
		a.enqueue(ctx, next)
	}
}

func (a *adviser) settle(ctx context.Context, o *jobs.RecommendationOutcome) (next jobs.RecommendationRef, err error) {
	err = a.persist(ctx, "write the outcome of a question to BioCore", func() (err error) {
		next, err = a.store.SettleRecommendation(ctx, a.worker.Load().ID, o)
		return err
	})
	return next, err
}

// enqueue puts the next try into its queue. If Redis is away, the leader does it
// later.
func (a *adviser) enqueue(ctx context.Context, ref jobs.RecommendationRef) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), enqueueTimeout)
	defer cancel()
	if err := a.enqueuer.EnqueueRecommendation(ctx, ref); err != nil {
		a.log.Warn("recommendation not enqueued; the leader will retry it", "recommendation", ref.ID, "error", err)
	}
}

// askedDocument returns the request in its normal form, or nil and an outcome if
// this version cannot read the payload, which the leader could.
func askedDocument(t *jobs.RecommendationTask) (*signals.Document, jobs.RecommendationOutcome) {
	document, faults := signals.Decode(t.Payload)
	if len(faults) == 0 {
		faults = signals.Validate(document)
	}
	if len(faults) > 0 {
		return nil, jobs.RecommendationOutcome{
			State: jobs.RecommendationUnavailable, Reason: "this version of the worker cannot read the payload of the request",
		}
	}
	normal, _ := signals.Normalize(document)
	return normal, jobs.RecommendationOutcome{}
}

// judge is the one place that decides what follows from a try: the answer is
// stored or refused, or BioCore is asked again later, or never.
func (a *adviser) judge(t *jobs.RecommendationTask, reply *biocore.Reply, err error) jobs.RecommendationOutcome {
	if err != nil {
		return a.judgeFailure(t, err)
	}
	o := jobs.RecommendationOutcome{
		State: jobs.RecommendationAvailable, ModelName: reply.Model.Name, ModelVersion: reply.Model.Version, PolicyID: reply.Model.PolicyID,
		Latency: reply.Latency,
	}
	if !reply.Refused() {
		o.Answer = reply.Body
		for _, r := range reply.Answer.Response.Recommendations {
			o.Categories = append(o.Categories, r.Category)
		}
		slices.Sort(o.Categories)
		o.Categories = slices.Compact(o.Categories)
		return o
	}
	o.State, o.Reason = jobs.RecommendationRefused, fmt.Sprintf("the answer has %d faults", len(reply.Faults))
	if len(reply.Faults) == 1 {
		o.Reason = "the answer has a fault"
	}
	faults, err := json.Marshal(reply.Faults)
	if err != nil { // cannot happen: faults are strings
		faults = []byte(`[]`)
	}
	o.Faults = faults
	return o
}

func (a *adviser) judgeFailure(t *jobs.RecommendationTask, err error) jobs.RecommendationOutcome {
	var failure *biocore.Error
	if !errors.As(err, &failure) { // cannot happen: Recommend returns no other error
		return jobs.RecommendationOutcome{State: jobs.RecommendationUnavailable, Reason: err.Error()}
	}
	o := jobs.RecommendationOutcome{State: jobs.RecommendationUnavailable, Reason: failure.Error(), Failed: failure.Tries > 0}
	if failure.Retry {
		failures := t.Failures
		if o.Failed {
			failures++
		}
		o.State = jobs.RecommendationPending
		o.Delay = max(a.config.Retry.Delay(failures, rand.Float64()), failure.RetryAfter)
	}
	return o
}

// watchEvery is how often a worker looks whether what it knows of BioCore has
// changed.
const watchEvery = 500 * time.Millisecond

// watch polls BioCore until ctx ends, and reports changes to the log and to the
// API.
func (a *adviser) watch(ctx context.Context) {
	poller := biocore.NewPoller(a.config.Client, a.config.PollEvery)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { poller.Run(ctx) })
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var reported store.BioCoreReport
	var as store.WorkerIdentity
	var known biocore.Model
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		condition, me := poller.Condition(), *a.worker.Load()
		now := store.BioCoreReport{State: string(a.config.Client.Breaker().State), Problem: condition.Problem}
		if condition.Model != known {
			known = condition.Model
			a.log.Info("BioCore names its model", "model", known.Name, "model_version", known.Version, "policy", known.PolicyID)
		}
		if now == reported && me == as {
			continue
		}
		if err := a.store.ReportBioCore(ctx, me, now); err != nil {
			continue // the next tick repeats it
		}
		if now != reported {
			a.log.Info("BioCore changed", "breaker", now.State, "problem", now.Problem)
		}
		reported, as = now, me
	}
}
