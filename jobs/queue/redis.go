package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// What follows reads Asynq's keys directly, because its Inspector asks for one
// task at a time and the reconciler looks at hundreds. The layout is that of
// Asynq 0.26 (internal/base); a test holds the two together.
const allQueuesKey = "asynq:queues"

func queueKey(queue, part string) string { return "asynq:{" + queue + "}:" + part }

// WithoutTask returns those of the batches that no live task carries: none at
// all, one that is archived or completed and will not run by itself, or one that
// Asynq put off. That happens when Postgres was away, which it is not for whoever
// asks here, and for as long as the clock of the worker then said. One that is
// due and still scheduled waits for the clocks of workers that are behind.
func WithoutTask(ctx context.Context, rdb redis.UniversalClient, refs []jobs.BatchRef) ([]jobs.BatchRef, error) {
	states, err := taskStates(ctx, rdb, func(i int) (queue, id string) { return refs[i].Queue(), jobs.TaskID(refs[i].ID) }, len(refs))
	if err != nil {
		return nil, fmt.Errorf("look up the tasks of %d batches: %w", len(refs), err)
	}
	var missing []jobs.BatchRef
	for i, r := range refs {
		if !live(states[i]) || states[i] == "retry" || states[i] == "scheduled" && r.Due {
			missing = append(missing, r)
		}
	}
	return missing, nil
}

func live(state string) bool {
	switch state {
	case "pending", "active", "scheduled", "retry", "aggregating":
		return true
	}
	return false
}

// taskStates returns the states of n tasks, "" of one that is not there.
func taskStates(ctx context.Context, rdb redis.UniversalClient, name func(i int) (queue, id string), n int) ([]string, error) {
	answers := make([]*redis.StringCmd, n)
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range answers {
			queue, id := name(i)
			answers[i] = p.HGet(ctx, queueKey(queue, "t:"+id), "state")
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, err
	}
	states := make([]string, n)
	for i, a := range answers {
		states[i] = a.Val()
	}
	return states, nil
}

// ActiveBatches lists the batches whose tasks a worker has taken and not ended.
func ActiveBatches(ctx context.Context, rdb redis.UniversalClient) ([]int64, error) {
	var list []int64
	queues := jobs.Queues()
	answers := make([]*redis.StringSliceCmd, len(queues))
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, q := range queues {
			answers[i] = p.LRange(ctx, queueKey(q, "active"), 0, -1)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the active tasks: %w", err)
	}
	for _, answer := range answers {
		for _, id := range answer.Val() {
			if batch, ok := jobs.ParseTaskID(id); ok {
				list = append(list, batch)
			}
		}
	}
	return list, nil
}

// PublishQueues makes the queues known to Asynqmon. Asynq does so once a
// process, which is too seldom when Redis is wiped.
func PublishQueues(ctx context.Context, rdb redis.UniversalClient) error {
	names := []any{jobs.WebhookQueue}
	for _, q := range jobs.Queues() {
		names = append(names, q)
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
