package queue

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// RedisInfo is what a Redis says of itself.
type RedisInfo struct {
	Version    string
	AppendOnly bool
	Used, Max  int64 // bytes of memory; Max is 0 without a limit
	Now        time.Time
}

// DescribeRedis asks a Redis about itself.
func DescribeRedis(ctx context.Context, rdb redis.UniversalClient) (RedisInfo, error) {
	text, err := rdb.Info(ctx).Result()
	if err != nil {
		return RedisInfo{}, fmt.Errorf("ask Redis about itself: %w", err)
	}
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(infoField(text, name), 10, 64) // 0 where the server does not say
		return n
	}
	info := RedisInfo{
		Version: infoField(text, "redis_version"), AppendOnly: number("aof_enabled") == 1,
		Used: number("used_memory"), Max: number("maxmemory"),
	}
	info.Now, err = rdb.Time(ctx).Result()
	if err != nil {
		return info, fmt.Errorf("ask Redis for the time: %w", err)
	}
	return info, nil
}

// QueueSize is how many tasks a queue holds.
type QueueSize struct {
	Name                                        string
	Pending, Active, Scheduled, Retry, Archived int
	Paused                                      bool
}

// QueueSizes lists the queues that Redis knows.
func QueueSizes(rdb redis.UniversalClient) ([]QueueSize, error) {
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	names, err := inspector.Queues()
	if err != nil {
		return nil, fmt.Errorf("list the queues: %w", err)
	}
	var list []QueueSize
	for _, name := range names {
		q, err := inspector.GetQueueInfo(name)
		if err != nil {
			return nil, fmt.Errorf("look at queue %s: %w", name, err)
		}
		list = append(list, QueueSize{
			Name: name, Pending: q.Pending, Active: q.Active, Scheduled: q.Scheduled, Retry: q.Retry, Archived: q.Archived, Paused: q.Paused,
		})
	}
	return list, nil
}
