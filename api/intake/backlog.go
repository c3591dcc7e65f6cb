package intake

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/leomutto/pilot-in-a-box/store"
)

const (
	backlogInterval = time.Second // shortest time between two counts
	backlogShare    = 50          // a count that took d is followed by a pause of 50·d: at most 2 % of a core
	backlogTimeout  = 5 * time.Second
)

// ErrBacklogFull means that a submission was refused because too many requests
// are pending already.
var ErrBacklogFull = errors.New("the backlog is full")

// backlog refuses submissions while too many requests are pending. Its figure is
// the latest count of the database plus what this process accepted since. The
// database is counted in the background, and only while submissions arrive.
type backlog struct {
	most  int // 0 means no limit
	store *store.Store
	log   *slog.Logger

	mu       sync.Mutex
	counted  int // at the latest count
	accepted int // since that count
	next     time.Time
	counting bool
}

// admit lets n submissions in, or returns ErrBacklogFull.
func (b *backlog) admit(n int) error {
	if b.most == 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.counting && !time.Now().Before(b.next) {
		b.counting = true
		go b.refresh() // in the background: no submission waits for a count
	}
	if b.counted+b.accepted+n > b.most {
		return ErrBacklogFull
	}
	b.accepted += n
	return nil
}

// forget takes back submissions that admit let in and that were not stored.
func (b *backlog) forget(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.accepted = max(0, b.accepted-n)
}

// refresh counts the pending requests. Submissions that are accepted during the
// count may be missed until the next one: the limit may be exceeded by a few, but
// it is never enforced too early.
func (b *backlog) refresh() {
	ctx, cancel := context.WithTimeout(context.Background(), backlogTimeout)
	defer cancel()
	began := time.Now()
	n, err := b.store.CountPending(ctx, b.most+1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counting = false
	b.next = time.Now().Add(max(backlogInterval, backlogShare*time.Since(began)))
	if err != nil { // the insert will tell the client what is wrong
		b.log.Warn("cannot count the pending requests", "error", err)
		return
	}
	b.counted, b.accepted = n, 0
}
