package queue

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// listen calls heard with every message of a channel until ctx ends, and
// standing whenever the subscription stands: at first, and again after Redis was
// away, when messages may have been missed. The subscription mends itself.
func listen(ctx context.Context, rdb redis.UniversalClient, channel string, standing func(), heard func(message string)) {
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
				standing()
			case *redis.Message:
				heard(event.Payload)
			}
		}
	}
}
