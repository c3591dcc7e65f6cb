package api

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

const (
	backlogInterval = time.Second // between two counts at least
	backlogShare    = 50          // and this many times as long as a count took: at most 2 % of a core
	backlogTimeout  = 5 * time.Second
)

// errBacklog refuses a submission because too many wait already.
var errBacklog = errors.New("the backlog is full")

// backlog refuses submissions while too many requests wait. It knows how many
// wait from a count now and then, made in the background and only while
// submissions arrive, and adds what this process accepted since.
type backlog struct {
	most  int // 0: no limit
	count func(ctx context.Context, limit int) (int, error)
	log   *slog.Logger

	mu       sync.Mutex
	counted  int // at the latest count
	accepted int // since that count
	next     time.Time
	counting bool
}

// admit lets n submissions in, or returns errBacklog.
func (b *backlog) admit(n int) error {
	if b.most == 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.counting && !time.Now().Before(b.next) {
		b.counting = true
		go b.refresh()
	}
	if b.counted+b.accepted+n > b.most {
		return errBacklog
	}
	b.accepted += n
	return nil
}

// forget takes back what admit let in and was not stored.
func (b *backlog) forget(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.accepted = max(0, b.accepted-n)
}

// refresh counts anew. What is accepted meanwhile counts as seen, or not at all
// until the next time: the limit is rather exceeded by a few than enforced too early.
func (b *backlog) refresh() {
	ctx, cancel := context.WithTimeout(context.Background(), backlogTimeout)
	defer cancel()
	began := time.Now()
	n, err := bounded(ctx, backlogTimeout, func(ctx context.Context) (int, error) { return b.count(ctx, b.most+1) })
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counting = false
	b.next = time.Now().Add(max(backlogInterval, backlogShare*time.Since(began)))
	if err != nil { // the insert will tell the client what is wrong
		b.log.Warn("cannot count the backlog", "error", err)
		return
	}
	b.counted, b.accepted = n, 0
}
