package queue

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// listen calls heard with every message of a channel until ctx ends. It calls
// subscribed whenever the subscription begins: at first, and after each
// reconnection, when messages may have been missed. go-redis reconnects by
// itself.
func listen(ctx context.Context, rdb redis.UniversalClient, channel string, subscribed func(), heard func(message string)) {
	sub := rdb.Subscribe(ctx, channel)
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
