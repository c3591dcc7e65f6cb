package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// The functions of this file read Asynq's keys directly, because its Inspector
// reads one task at a time and the reconciler looks at hundreds. The layout is
// that of Asynq 0.26 (internal/base); a test compares the two.
const allQueuesKey = "asynq:queues"

func queueKey(queue, part string) string { return "asynq:{" + queue + "}:" + part }

// WithoutTask returns the batches that no live task carries. Their task is
// missing, or is archived or completed and does not run by itself, or Asynq
// postponed it, or the batch is due and its task is still scheduled.
//
// Asynq postpones a task when its worker could not reach Postgres. The caller
// has just read from Postgres, so there is no reason to wait any longer. A task
// that stays scheduled waits for the clocks of workers that are slow.
func WithoutTask(ctx context.Context, rdb redis.UniversalClient, refs []jobs.BatchRef) ([]jobs.BatchRef, error) {
	states, err := taskStates(ctx, rdb, func(i int) (queue, id string) { return refs[i].Queue(), jobs.TaskID(refs[i].ID) }, len(refs))
	if err != nil {
		return nil, fmt.Errorf("look up the tasks of %d batches: %w", len(refs), err)
	}
	var missing []jobs.BatchRef
	for i, r := range refs {
		if !isLive(states[i]) || states[i] == "retry" || states[i] == "scheduled" && r.Due {
			missing = append(missing, r)
		}
	}
	return missing, nil
}

func isLive(state string) bool {
	switch state {
	case "pending", "active", "scheduled", "retry", "aggregating":
		return true
	}
	return false
}

// taskStates returns the states of n tasks, "" for a task that does not exist.
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

// ActiveBatches lists the batches whose tasks a worker has taken and not yet
// finished.
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

// PublishQueues makes the queues known to Asynqmon. Asynq does so once per
// process, so the list would stay empty after Redis was wiped.
func PublishQueues(ctx context.Context, rdb redis.UniversalClient) error {
	names := []any{jobs.WebhookQueue, jobs.RecommendQueue}
	for _, q := range jobs.Queues() {
		names = append(names, q)
	}
	if err := rdb.SAdd(ctx, allQueuesKey, names...).Err(); err != nil {
		return fmt.Errorf("publish the queues: %w", err)
	}
	return nil
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
		return true // a version in an unknown format is accepted
	}
	return ma > major || ma == major && mi >= minor
}
