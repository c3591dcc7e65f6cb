package queue

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// cancelName carries the ids of requests that were cancelled or deleted
// while a worker may be running them. A lost message only costs time: the
// worker's next heartbeat finds the change in the rows, and its writes are
// refused until then.
const cancelName = "mass:cancel"

// AnnounceCancel notifies the workers that these requests were cancelled or
// deleted.
func AnnounceCancel(ctx context.Context, rdb redis.UniversalClient, ids ...int64) error {
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, id := range ids {
			p.Publish(ctx, channelOf(rdb, cancelName), id)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("announce the cancellation of %d requests: %w", len(ids), err)
	}
	return nil
}

// HearCancels calls cancel with the id of every announced request until ctx
// ends.
func HearCancels(ctx context.Context, rdb redis.UniversalClient, cancel func(id int64)) {
	listen(ctx, rdb, cancelName, func() {}, func(message string) {
		if id, err := strconv.ParseInt(message, 10, 64); err == nil {
			cancel(id)
		}
	})
}
