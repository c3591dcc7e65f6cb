package queue

import (
	"context"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// channelOf returns the channel with which the processes on one logical database
// of Redis talk to each other. Redis delivers a message to the subscribers of
// all its logical databases, so the name holds the number of the database.
// Without the number, a cancellation in one installation would stop the request
// with the same id in another. Database 0 keeps the plain name, with which
// earlier versions of MASS talk.
func channelOf(rdb redis.UniversalClient, name string) string {
	if c, ok := rdb.(*redis.Client); ok && c.Options().DB != 0 {
		return name + ":" + strconv.Itoa(c.Options().DB)
	}
	return name
}

// listen calls heard with every message of a channel until ctx ends. It calls
// subscribed whenever the subscription begins: at first, and after each
// reconnection, when messages may have been missed. go-redis reconnects by
// itself.
func listen(ctx context.Context, rdb redis.UniversalClient, name string, subscribed func(), heard func(message string)) {
	sub := rdb.Subscribe(ctx, channelOf(rdb, name))
	defer sub.Close()
	events := sub.ChannelWithSubscriptions()
	for {
		select {
		case <-ctx.Done():
			return
		case event, ok := <-events:
			if !ok {
				return
			}
			switch event := event.(type) {
			case *redis.Subscription:
				subscribed()
			case *redis.Message:
				heard(event.Payload)
			}
		}
	}
}
