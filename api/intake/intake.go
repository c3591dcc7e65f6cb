package intake

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/groupcommit"
	"github.com/leomutto/pilot-in-a-box/store"
)

const flushMax = 512 // submissions per statement

// Options are what an Intake needs. All of them must be set, except MaxBacklog.
type Options struct {
	Store      *store.Store
	Handoff    *Handoff
	BatchMax   int           // requests per batch
	MaxBacklog int           // pending requests beyond which submissions are refused; 0 means no limit
	Timeout    time.Duration // bound of a statement, and of the wait for it
	Log        *slog.Logger
}

// Intake stores submissions and hands their batches to Redis. Under load many
// submissions share one statement. It is safe for concurrent use.
type Intake struct {
	Outcomes  Outcomes
	store     *store.Store
	handoff   *Handoff
	backlog   *backlog
	shares    *shares
	batchMax  int
	timeout   time.Duration
	committer *groupcommit.Committer[store.NewRequest, store.Inserted]
}

// New returns an Intake. The caller closes it.
func New(o Options) *Intake {
	in := &Intake{
		store: o.Store, handoff: o.Handoff, shares: newShares(), batchMax: o.BatchMax, timeout: o.Timeout,
		backlog: &backlog{most: o.MaxBacklog, store: o.Store, log: o.Log},
	}
	in.committer = groupcommit.New(in.flush, groupcommit.Options{
		MaxGroup: flushMax, Impatient: true,
		Split: func(err error) bool { return errors.Is(err, store.ErrInvalid) }, // the refused submission fails alone
	})
	return in
}

// Submit stores one request and returns once it is committed. The error is
// ErrBacklogFull, or one of package store.
func (in *Intake) Submit(ctx context.Context, r store.NewRequest) (store.Inserted, error) {
	result := in.SubmitAll(ctx, []store.NewRequest{r})[0]
	return result.Out, result.Err
}

// SubmitAll is Submit for requests that arrive together. It returns one result
// for each request, in the same order: one request may be stored while another
// is refused.
func (in *Intake) SubmitAll(ctx context.Context, list []store.NewRequest) []groupcommit.Result[store.Inserted] {
	results := make([]groupcommit.Result[store.Inserted], len(list))
	admitted := make([]store.NewRequest, 0, len(list))
	now := time.Now()
	for i := range list {
		if results[i].Err = in.backlog.admit(1); results[i].Err == nil { //nolint:contextcheck // the count outlives the request that started it
			list[i].Lane = in.shares.lane(list[i].CreatedBy, now)
			admitted = append(admitted, list[i])
		}
	}
	ctx, cancel := context.WithTimeout(ctx, in.timeout)
	defer cancel()
	stored := in.committer.DoAll(ctx, admitted)
	unused := 0
	for i := range results {
		if results[i].Err != nil {
			continue
		}
		results[i], stored = stored[0], stored[1:]
		if r := results[i]; r.Err != nil || r.Out.Replayed || r.Out.Mismatch {
			unused++
		}
	}
	in.backlog.forget(unused)
	return results
}

// Close stores the submissions that wait and refuses later ones. When ctx ends
// first, the submissions that still wait fail.
func (in *Intake) Close(ctx context.Context) error { return in.committer.Close(ctx) }

// flush stores a group of submissions in one statement and hands over their
// batches.
func (in *Intake) flush(ctx context.Context, items []store.NewRequest) ([]store.Inserted, error) {
	ctx, cancel := context.WithTimeout(ctx, in.timeout)
	defer cancel()
	group(items, in.batchMax)
	rows, err := in.store.InsertRequests(ctx, items)
	in.Outcomes.note(err)
	if err != nil {
		return nil, err
	}
	// The rows are committed and not enqueued yet. A process that dies here loses
	// nothing: the reconciler enqueues what it finds pending.
	for _, b := range storedBatches(items, rows) {
		in.handoff.Batch(b)
	}
	return rows, nil
}
