package api

import (
	"context"
	"errors"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/groupcommit"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

const (
	flushMax      = 512 // submissions a statement
	flushParallel = 2   // one is on its way to Postgres while the other is on its way back
	flushFill     = 32  // what makes the other one worth it: a statement costs as much as four of its rows
)

// submitter stores submissions, many in one statement under load, and sends
// their batches on their way. The order is the design's: commit, then enqueue.
type submitter struct {
	insert     groupcommit.Flush[store.NewRequest, store.Inserted]
	deliver    func(context.Context, jobs.Batch) error
	dispatcher *dispatcher
	backlog    *backlog
	shares     *shares
	packer     *packer
	timeout    time.Duration // of a statement, and of the wait for it
	committer  *groupcommit.Committer[store.NewRequest, store.Inserted]
}

func newSubmitter(st *store.Store, enq *jobs.Enqueuer, d *dispatcher, cfg Config) *submitter {
	s := &submitter{
		shares:  newShares(),
		backlog: &backlog{most: cfg.MaxBacklog, count: st.CountPending, log: d.log},
		insert:  st.InsertRequests, deliver: enq.Enqueue, dispatcher: d, timeout: cfg.AnswerTimeout,
	}
	s.packer = newPacker(cfg.BatchMax, func(ctx context.Context, n int) ([]int64, error) {
		return bounded(ctx, s.timeout, func(ctx context.Context) ([]int64, error) { return st.DrawBatches(ctx, n) })
	})
	s.committer = s.commit()
	return s
}

// commit gathers submissions. One that Postgres refuses fails alone.
func (s *submitter) commit() *groupcommit.Committer[store.NewRequest, store.Inserted] {
	return groupcommit.New(s.flush, groupcommit.Options{
		MaxGroup: flushMax,
		Parallel: flushParallel, Fill: flushFill, Impatient: true,
		Split: func(err error) bool { return errors.Is(err, store.ErrInvalid) },
	})
}

// submit returns when the request is committed.
func (s *submitter) submit(ctx context.Context, r store.NewRequest) (store.Inserted, error) {
	if err := s.backlog.admit(1); err != nil { //nolint:contextcheck // it counts for all, in the background
		return store.Inserted{}, err
	}
	r.Lane = s.shares.lane(r.CreatedBy, time.Now())
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	row, err := s.committer.Do(ctx, r)
	if err != nil || row.Replayed || row.Mismatch {
		s.backlog.forget(1)
	}
	return row, err
}

func (s *submitter) close(ctx context.Context) error { return s.committer.Close(ctx) }

func (s *submitter) flush(ctx context.Context, items []store.NewRequest) ([]store.Inserted, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if len(items) >= flushFill/2 { // there is enough to do, so the next statement may want to go along
		s.packer.stock(ctx)
	}
	shipment := s.packer.pack(items)
	rows, err := bounded(ctx, s.timeout, func(ctx context.Context) ([]store.Inserted, error) { return s.insert(ctx, items) })
	if err != nil {
		rows = nil
	}
	// Committed and not enqueued: a process that dies here has lost nothing,
	// because the reconciler enqueues what it finds pending.
	for _, b := range s.packer.unpack(shipment, items, rows) {
		s.enqueue(b)
	}
	return rows, err
}

// enqueue puts a committed batch in its queue some time soon.
func (s *submitter) enqueue(b jobs.Batch) {
	s.dispatcher.send(errand{
		what: "enqueue a batch",
		do:   func(ctx context.Context) error { failBeforeEnqueue(); return s.deliver(ctx, b) },
	})
}
