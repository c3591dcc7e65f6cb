package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/store"
)

const (
	countMost    = 100_000          // at most this number of rows of one status are counted
	batchSample  = 1000             // at most this number of open batches is compared with their tasks
	waitingWarn  = time.Minute      // how long the oldest due request may wait
	stuckMargin  = 10 * time.Second // beyond the time in which the reconciler should have acted
	failureAge   = time.Hour
	failureMost  = 10_000
	webhookLate  = time.Minute
	listed       = 5 // at most this number of ids is shown in a finding
	adviceNoWork = "start a worker: mass worker"
)

func askWorkers(ctx context.Context, p *Patient) []Finding {
	s, err := p.Store.Server(ctx)
	if err != nil {
		return trouble("workers", "", err)
	}
	workers, err := p.Store.Workers(ctx)
	if err != nil {
		return trouble("workers", "", err)
	}
	var alive int
	var silent []string
	for _, w := range workers {
		if since := s.Now.Sub(w.LastSeenAt); since > p.SilentAfter {
			silent = append(silent, fmt.Sprintf("%d (%s, process %d, for %s)", w.ID, w.Host, w.PID, short(since)))
		} else {
			alive++
		}
	}
	list := []Finding{{Topic: "workers", Level: OK, Detail: fmt.Sprintf("workers alive: %d", alive)}}
	if alive == 0 {
		list[0] = Finding{Topic: "workers", Level: Fail, Detail: "no worker is alive, so no request is processed", Advice: adviceNoWork}
	}
	if len(silent) > 0 {
		list = append(list, Finding{
			Topic: "workers", Level: Warn, Detail: fmt.Sprintf("%d workers are silent: %s", len(silent), some(silent)),
			Advice: "the leader reassigns their requests within seconds; find out why they stopped",
		})
	}
	return list
}

func askLeader(ctx context.Context, p *Patient) []Finding {
	l, err := p.Store.Leader(ctx)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return []Finding{{
			Topic: "leader", Level: Warn, Detail: "no worker leads the reconciliation",
			Advice: "a worker takes the lead within a second; if none does while workers are alive, look for \"leader election failed\" in their logs",
		}}
	case err != nil:
		return trouble("leader", "", err)
	}
	if !l.Registered {
		return []Finding{{
			Topic: "leader", Level: Fail, Detail: fmt.Sprintf("the lead is held by worker %d, which is not registered", l.Worker),
			Advice: "if this lasts longer than a few seconds, a program that is no worker of MASS writes to mass_leader: check which roles may change that table",
		}}
	}
	return []Finding{{Topic: "leader", Level: OK, Detail: fmt.Sprintf("worker %d (%s, process %d) leads the reconciliation", l.Worker, l.Host, l.PID)}}
}

func askBacklog(ctx context.Context, p *Patient) []Finding {
	counts, err := p.Store.Backlog(ctx, countMost)
	if err != nil {
		return trouble("backlog", "", err)
	}
	var list []Finding
	for _, status := range []jobs.Status{jobs.StatusPending, jobs.StatusProcessing, jobs.StatusFailed, jobs.StatusCancelled} {
		total, oldest, parts := 0, time.Duration(0), []string(nil)
		for _, c := range counts {
			if c.Status == status {
				total += c.Count
				oldest = max(oldest, time.Duration(c.Waiting*float64(time.Second)))
				parts = append(parts, fmt.Sprintf("%s %d", c.Priority, c.Count))
			}
		}
		f := Finding{Topic: "backlog", Level: OK, Detail: fmt.Sprintf("%d %s", total, status)}
		if total >= countMost {
			f.Detail = fmt.Sprintf("at least %d %s", total, status)
		}
		if len(parts) > 0 {
			f.Detail += " (" + strings.Join(parts, ", ") + ")"
		}
		if oldest > 0 {
			f.Detail += ", the oldest due for " + short(oldest)
		}
		if oldest > waitingWarn {
			f.Level, f.Advice = Warn, "requests arrive faster than the workers process them: check the workers, then start more of them"
		}
		list = append(list, f)
	}
	return list
}

func askQueues(_ context.Context, p *Patient) []Finding {
	queues, err := queue.Sizes(p.Redis)
	if err != nil {
		return trouble("queues", "", err)
	}
	if len(queues) == 0 {
		return []Finding{{Topic: "queues", Level: OK, Detail: "no queue exists yet: no worker has used this Redis, and no task was enqueued"}}
	}
	var list []Finding
	for _, q := range queues {
		f := Finding{Topic: "queues", Level: OK, Detail: fmt.Sprintf("%s: %d pending, %d active, %d scheduled, %d in retry, %d archived tasks",
			q.Name, q.Pending, q.Active, q.Scheduled, q.Retry, q.Archived)}
		if q.Paused {
			f.Level, f.Detail, f.Advice = Warn, f.Detail+"; paused", "resume the queue in /monitoring; until then its requests stay pending"
		}
		list = append(list, f)
	}
	return list
}

// askBatches compares rows with tasks. A batch that the reconciler should have
// delivered again by now is stuck.
func askBatches(ctx context.Context, p *Patient) []Finding {
	newest, err := p.Store.BatchWatermark(ctx)
	if err != nil {
		return trouble("batches", "", err)
	}
	refs, err := p.Store.OpenBatches(ctx, 0, newest, batchSample)
	if err != nil {
		return trouble("batches", "", err)
	}
	missing, err := queue.WithoutTask(ctx, p.Redis, refs)
	if err != nil {
		return trouble("batches", "", err)
	}
	ids := make([]int64, len(missing))
	for i, m := range missing {
		ids[i] = m.ID
	}
	lost, err := p.Store.StaleBatches(ctx, ids, p.ReconcileGrace+stuckMargin)
	if err != nil {
		return trouble("batches", "", err)
	}
	active, err := queue.ActiveBatches(ctx, p.Redis)
	if err != nil {
		return trouble("batches", "", err)
	}
	unclaimed, err := p.Store.StaleBatches(ctx, active, p.SilentAfter+stuckMargin)
	if err != nil {
		return trouble("batches", "", err)
	}
	looked := fmt.Sprintf("%d open batches", len(refs))
	if len(refs) == batchSample {
		looked = fmt.Sprintf("the %d oldest open batches", batchSample)
	}
	if len(lost)+len(unclaimed) == 0 {
		return []Finding{{Topic: "batches", Level: OK, Detail: looked + " checked, none is stuck"}}
	}
	level, advice := Warn, "the leader delivers them again, some hundred per second; run the doctor again in a minute"
	if _, err := p.Store.Leader(ctx); err != nil {
		level, advice = Fail, "no worker leads the reconciliation, which would deliver them again: start a worker"
	}
	var list []Finding
	if len(lost) > 0 {
		list = append(list, Finding{Topic: "batches", Level: level, Advice: advice,
			Detail: fmt.Sprintf("%s checked, %d stuck without a task: %s", looked, len(lost), some(lost))})
	}
	if len(unclaimed) > 0 {
		list = append(list, Finding{Topic: "batches", Level: level, Advice: advice,
			Detail: fmt.Sprintf("%d batches were taken from the queue and never claimed: %s", len(unclaimed), some(unclaimed))})
	}
	return list
}

func askProcessing(ctx context.Context, p *Patient) []Finding {
	bound := p.RequestTimeout + p.SilentAfter + stuckMargin
	late, err := p.Store.Overdue(ctx, bound, batchSample)
	switch {
	case err != nil:
		return trouble("processing", "", err)
	case len(late) > 0:
		return []Finding{{
			Topic: "processing", Level: Warn, Detail: fmt.Sprintf("%d requests have been processing for longer than %s: %s", len(late), bound, some(late)),
			Advice: "their worker should have given up: check that MASS_REQUEST_TIMEOUT is the same here and there, then restart that worker",
		}}
	}
	return []Finding{{Topic: "processing", Level: OK, Detail: "no request has been processing for longer than " + bound.String()}}
}

func askFailures(ctx context.Context, p *Patient) []Finding {
	f, err := p.Store.FailuresSince(ctx, failureAge, failureMost)
	switch {
	case err != nil:
		return trouble("failures", "", err)
	case f.Count == 0:
		return []Finding{{Topic: "failures", Level: OK, Detail: "no request failed in the last hour"}}
	}
	detail := fmt.Sprintf("%d requests failed in the last hour", f.Count)
	if f.Error != "" {
		detail += fmt.Sprintf("; most often: %q", f.Error)
	}
	return []Finding{{
		Topic: "failures", Level: Warn, Detail: detail,
		Advice: `list them with GET /mass-requests/?status=failed, fix the cause, then replay them with POST /mass-requests/bulk {"action": "replay", …}`,
	}}
}

func askWebhooks(ctx context.Context, p *Patient) []Finding {
	late, err := p.Store.OverdueWebhooks(ctx, webhookLate, countMost)
	switch {
	case err != nil:
		return trouble("webhooks", "", err)
	case late > 0:
		return []Finding{{Topic: "webhooks", Level: Warn, Detail: fmt.Sprintf("%d callbacks are overdue", late), Advice: "check that a worker is alive and that it can reach the receivers"}}
	}
	return []Finding{{Topic: "webhooks", Level: OK, Detail: "no callback is overdue"}}
}

// some formats the first few elements of a list.
func some[T any](list []T) string {
	texts := make([]string, 0, listed)
	for _, v := range list[:min(len(list), listed)] {
		texts = append(texts, fmt.Sprint(v))
	}
	if len(list) > listed {
		texts = append(texts, "…")
	}
	return strings.Join(texts, ", ")
}
