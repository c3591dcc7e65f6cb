package queue

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// changesName carries the ids of requests whose rows changed, several in one
// message, to the processes in which clients wait for them. A lost message only
// costs time, because these processes also look at the rows from time to time.
const changesName = "mass:changed"

const (
	noticeMax       = 1000        // ids in one message
	announceMax     = 1 << 16     // ids that may wait for Redis; further ones are dropped
	announceTimeout = time.Second // for the messages of one round, also of the last one
)

// AnnounceChanges announces that the rows of these requests changed.
func AnnounceChanges(ctx context.Context, rdb redis.UniversalClient, ids ...int64) error {
	for part := range slices.Chunk(ids, noticeMax) {
		if err := rdb.Publish(ctx, channelOf(rdb, changesName), encodeNotice(part)).Err(); err != nil {
			return fmt.Errorf("announce changes of %d requests: %w", len(ids), err)
		}
	}
	return nil
}

// HearChanges calls changed with the ids of every message until ctx ends. It
// calls changed without ids whenever the subscription begins, at first and
// after each reconnection, because earlier announcements may have been missed.
func HearChanges(ctx context.Context, rdb redis.UniversalClient, changed func(ids []int64)) {
	listen(ctx, rdb, changesName, func() { changed(nil) }, func(message string) {
		if ids := parseNotice(message); len(ids) > 0 {
			changed(ids)
		}
	})
}

func encodeNotice(ids []int64) string {
	text := make([]byte, 0, 8*len(ids))
	for i, id := range ids {
		if i > 0 {
			text = append(text, ' ')
		}
		text = strconv.AppendInt(text, id, 10)
	}
	return string(text)
}

// parseNotice ignores words that are not ids, which a newer version may send.
func parseNotice(text string) []int64 {
	var ids []int64
	for word := range strings.FieldsSeq(text) {
		if id, err := strconv.ParseInt(word, 10, 64); err == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// Announcer announces changes in the background, for callers that must not wait
// for Redis. The next ids gather while a message is being sent, so a busy
// process sends few messages with many ids. Ids that Redis does not accept in
// time are dropped.
type Announcer struct {
	rdb  redis.UniversalClient
	wake chan struct{}

	mu      sync.Mutex
	waiting []int64
}

// NewAnnouncer returns an Announcer. It sends nothing before Run.
func NewAnnouncer(rdb redis.UniversalClient) *Announcer {
	return &Announcer{rdb: rdb, wake: make(chan struct{}, 1)}
}

// Add schedules ids for announcement. It never blocks.
func (a *Announcer) Add(ids ...int64) {
	if len(ids) == 0 {
		return
	}
	a.mu.Lock()
	a.waiting = append(a.waiting, ids[:min(len(ids), announceMax-len(a.waiting))]...)
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Run announces ids until ctx ends, and then those that still wait. The end of
// ctx does not interrupt the message that is being sent.
func (a *Announcer) Run(ctx context.Context) {
	unhurried := context.WithoutCancel(ctx)
	for {
		select {
		case <-ctx.Done():
			a.announce(unhurried)
			return
		case <-a.wake:
			a.announce(unhurried)
		}
	}
}

func (a *Announcer) announce(ctx context.Context) {
	a.mu.Lock()
	ids := a.waiting
	a.waiting = nil
	a.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, announceTimeout)
	defer cancel()
	// An error is not reported: Redis is unreachable, which the enqueuers
	// report, and waiting clients find the change in the rows.
	_ = AnnounceChanges(ctx, a.rdb, ids...)
}
