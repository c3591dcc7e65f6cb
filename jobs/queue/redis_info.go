package queue

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// RedisInfo describes a Redis server.
type RedisInfo struct {
	Version    string
	AppendOnly bool
	Used, Max  int64 // memory in bytes; Max is 0 when there is no limit
	Now        time.Time
}

// DescribeRedis reads the version, persistence, memory and time of a Redis
// server.
func DescribeRedis(ctx context.Context, rdb redis.UniversalClient) (RedisInfo, error) {
	text, err := rdb.Info(ctx).Result()
	if err != nil {
		return RedisInfo{}, fmt.Errorf("read the state of Redis: %w", err)
	}
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(infoField(text, name), 10, 64) // 0 when the server does not report it
		return n
	}
	info := RedisInfo{
		Version: infoField(text, "redis_version"), AppendOnly: number("aof_enabled") == 1,
		Used: number("used_memory"), Max: number("maxmemory"),
	}
	info.Now, err = rdb.Time(ctx).Result()
	if err != nil {
		return info, fmt.Errorf("read the time of Redis: %w", err)
	}
	return info, nil
}

// Size is the number of tasks in a queue, by state.
type Size struct {
	Name                                        string
	Pending, Active, Scheduled, Retry, Archived int
	Paused                                      bool
}

// Sizes lists the queues that Redis knows.
func Sizes(rdb redis.UniversalClient) ([]Size, error) {
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	names, err := inspector.Queues()
	if err != nil {
		return nil, fmt.Errorf("list the queues: %w", err)
	}
	var list []Size
	for _, name := range names {
		q, err := inspector.GetQueueInfo(name)
		if err != nil {
			return nil, fmt.Errorf("read the size of queue %s: %w", name, err)
		}
		list = append(list, Size{
			Name: name, Pending: q.Pending, Active: q.Active, Scheduled: q.Scheduled, Retry: q.Retry, Archived: q.Archived, Paused: q.Paused,
		})
	}
	return list, nil
}
