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

// changesChannel carries the ids of requests whose rows changed, several in a
// message, for those who wait for it. A lost message costs time and never truth:
// whoever waits looks at the rows now and then, too.
const changesChannel = "mass:changed"

const (
	noticeMax       = 1000        // ids in a message
	announceMax     = 1 << 16     // ids that may wait for Redis; more are dropped
	announceTimeout = time.Second // of one message, and of the last ones at the end
)

// AnnounceChanges tells whoever waits for these requests that their rows changed.
func AnnounceChanges(ctx context.Context, rdb redis.UniversalClient, ids ...int64) error {
	for part := range slices.Chunk(ids, noticeMax) {
		if err := rdb.Publish(ctx, changesChannel, notice(part)).Err(); err != nil {
			return fmt.Errorf("announce changes of %d requests: %w", len(ids), err)
		}
	}
	return nil
}

// HearChanges calls changed with the ids of every message until ctx ends. It
// calls it without ids when the subscription stands, also when it does again
// after Redis was away: whatever was announced before may have been missed.
func HearChanges(ctx context.Context, rdb redis.UniversalClient, changed func(ids []int64)) {
	listen(ctx, rdb, changesChannel, func() { changed(nil) }, func(message string) {
		if ids := parseNotice(message); len(ids) > 0 {
			changed(ids)
		}
	})
}

func notice(ids []int64) string {
	text := make([]byte, 0, 8*len(ids))
	for i, id := range ids {
		if i > 0 {
			text = append(text, ' ')
		}
		text = strconv.AppendInt(text, id, 10)
	}
	return string(text)
}

// parseNotice passes over what is no id: a newer version may say more.
func parseNotice(text string) []int64 {
	var ids []int64
	for word := range strings.FieldsSeq(text) {
		if id, err := strconv.ParseInt(word, 10, 64); err == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// Announcer announces changes in the background, for those who must not wait for
// Redis. While one message is under way the next ids gather, so a busy process
// sends few messages with many ids. What Redis does not take in time is dropped.
type Announcer struct {
	rdb  redis.UniversalClient
	wake chan struct{}

	mu      sync.Mutex
	waiting []int64
}

// NewAnnouncer returns an Announcer; nothing is sent before Run.
func NewAnnouncer(rdb redis.UniversalClient) *Announcer {
	return &Announcer{rdb: rdb, wake: make(chan struct{}, 1)}
}

// Add takes ids to be announced. It never blocks.
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

// Run announces until ctx ends, and then what still waits. The end of ctx does
// not cut off the message that is under way.
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
	// Nobody is told of an error: Redis is away, which others report, and who waits finds the change in the rows.
	_ = AnnounceChanges(ctx, a.rdb, ids...)
}
