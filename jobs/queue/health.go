package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// Fault says why no task can be enqueued in Redis.
type Fault struct {
	Problem string // a sentence about the server; it names no address and suits any client
	Err     error  // the answer of the server, for the log
}

// Error implements error.
func (f *Fault) Error() string { return f.Problem + ": " + f.Err.Error() }

// Unwrap returns the answer of the server.
func (f *Fault) Unwrap() error { return f.Err }

// The problems that Health reports.
const (
	ProblemAway      = "Redis does not answer"
	ProblemLogin     = "Redis refuses the user or the password"
	ProblemForbidden = "Redis forbids its user a command that enqueueing needs"
	ProblemFull      = "the memory of Redis is full"
	ProblemReadOnly  = "Redis is read-only: it is a replica"
	ProblemLoading   = "Redis is still reading its data"
	ProblemNoDisk    = "Redis refuses writes because it cannot save its data"
	ProblemReplicas  = "Redis refuses writes because too few of its replicas are connected"
	ProblemCluster   = "the Redis Cluster is down"
	ProblemOther     = "Redis cannot take tasks"
)

// problemOf maps the first word of an error of Redis to a problem.
var problemOf = map[string]string{
	"NOAUTH": ProblemLogin, "WRONGPASS": ProblemLogin, "NOPERM": ProblemForbidden, "OOM": ProblemFull, "READONLY": ProblemReadOnly,
	"LOADING": ProblemLoading, "MISCONF": ProblemNoDisk, "NOREPLICAS": ProblemReplicas, "CLUSTERDOWN": ProblemCluster,
	"MASTERDOWN": ProblemCluster,
}

// Health returns nil if Redis takes tasks for every queue, and else a Fault. A
// server that answers a PING may still be full, read-only or without a part of
// its cluster, so Health sends each queue a command that is refused whenever
// enqueueing is, and that changes nothing: it sets a key only if the key exists,
// which it never does.
func Health(ctx context.Context, rdb redis.UniversalClient) error {
	var answers []redis.Cmder
	_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, q := range append(jobs.Queues(), jobs.WebhookQueue, jobs.RecommendQueue) {
			answers = append(answers, p.SetXX(ctx, probeKey(q), "", 0))
		}
		return nil
	})
	for _, a := range answers {
		if e := a.Err(); e != nil && !errors.Is(e, redis.Nil) {
			return faultOf(e)
		}
	}
	if err != nil && !errors.Is(err, redis.Nil) {
		return faultOf(err)
	}
	if c, ok := rdb.(*redis.ClusterClient); ok {
		return clusterHealth(ctx, c)
	}
	return nil
}

// probeKey is a key in the same slot of a cluster as the keys of a queue.
func probeKey(queue string) string { return "mass:probe:{" + queue + "}" }

// clusterHealth asks every master: a part of the cluster that is lost stops all
// of it, unless the cluster is told otherwise.
func clusterHealth(ctx context.Context, c *redis.ClusterClient) error {
	return c.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		info, err := node.ClusterInfo(ctx).Result()
		if err != nil {
			return faultOf(fmt.Errorf("the master at %s: %w", node.Options().Addr, err))
		}
		if state := infoField(info, "cluster_state"); state != "ok" {
			return &Fault{Problem: ProblemCluster, Err: fmt.Errorf("the master at %s says that the state of the cluster is %q", node.Options().Addr, state)}
		}
		return nil
	})
}

func faultOf(err error) error {
	problem := ProblemAway
	if answer, ok := errors.AsType[redis.Error](err); ok {
		word, _, _ := strings.Cut(answer.Error(), " ")
		problem = ProblemOther
		if known, ok := problemOf[word]; ok {
			problem = known
		}
	}
	return &Fault{Problem: problem, Err: err}
}
