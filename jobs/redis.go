package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// What follows reads Asynq's keys directly, because its Inspector asks for one
// task at a time and the reconciler looks at hundreds. The layout is that of
// Asynq 0.26 (internal/base); a test holds the two together.
const allQueuesKey = "asynq:queues"

func queueKey(queue, part string) string { return "asynq:{" + queue + "}:" + part }

// BatchRef names a batch and the queue its task is in.
type BatchRef struct {
	ID       int64
	Priority Priority
}

// WithoutTask returns those of the batches that no live task carries: none at
// all, or one that is archived or completed and will not run by itself.
func WithoutTask(ctx context.Context, rdb redis.UniversalClient, refs []BatchRef) ([]BatchRef, error) {
	states := make([]*redis.StringCmd, len(refs))
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, r := range refs {
			states[i] = p.HGet(ctx, queueKey(r.Priority.Queue(), "t:"+TaskID(r.ID)), "state")
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("look up the tasks of %d batches: %w", len(refs), err)
	}
	var missing []BatchRef
	for i, s := range states {
		switch s.Val() {
		case "pending", "active", "scheduled", "retry", "aggregating":
		default:
			missing = append(missing, refs[i])
		}
	}
	return missing, nil
}

// ActiveBatches lists the batches whose tasks a worker has taken and not ended.
func ActiveBatches(ctx context.Context, rdb redis.UniversalClient) ([]int64, error) {
	var list []int64
	for _, p := range Priorities() {
		ids, err := rdb.LRange(ctx, queueKey(p.Queue(), "active"), 0, -1).Result()
		if err != nil {
			return nil, fmt.Errorf("list the active tasks of queue %s: %w", p.Queue(), err)
		}
		for _, id := range ids {
			if batch, ok := ParseTaskID(id); ok {
				list = append(list, batch)
			}
		}
	}
	return list, nil
}

// PublishQueues makes the queues known to Asynqmon. Asynq does so once a
// process, which is too seldom when Redis is wiped.
func PublishQueues(ctx context.Context, rdb redis.UniversalClient) error {
	var names []any
	for _, p := range Priorities() {
		names = append(names, p.Queue())
	}
	if err := rdb.SAdd(ctx, allQueuesKey, names...).Err(); err != nil {
		return fmt.Errorf("publish the queues: %w", err)
	}
	return nil
}

// CheckRedis tells whether the server suits Asynq: version 6.2 or later, and no
// eviction, which would silently lose tasks. A server that does not let itself be
// asked is taken as it is.
func CheckRedis(ctx context.Context, rdb redis.UniversalClient) error {
	var errs []error
	if info, err := rdb.Info(ctx, "server").Result(); err == nil {
		if v := infoField(info, "redis_version"); v != "" && !atLeast(v, 6, 2) {
			errs = append(errs, fmt.Errorf("redis is version %s; 6.2 or later is needed", v))
		}
	}
	if policy, err := rdb.ConfigGet(ctx, "maxmemory-policy").Result(); err == nil {
		if p := policy["maxmemory-policy"]; p != "" && p != "noeviction" {
			errs = append(errs, fmt.Errorf("redis has maxmemory-policy %s; noeviction is needed, or tasks vanish when memory is short", p))
		}
	}
	return errors.Join(errs...)
}

func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func atLeast(version string, major, minor int) bool {
	var ma, mi int
	if _, err := fmt.Sscanf(version, "%d.%d", &ma, &mi); err != nil {
		return true // an unknown scheme is not held against the server
	}
	return ma > major || ma == major && mi >= minor
}
