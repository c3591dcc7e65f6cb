package queue_test

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/internal/systemtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
)

// requireFault requires that Health reports a problem, and that a task really
// cannot be enqueued.
func requireFault(t *testing.T, rdb redis.UniversalClient, problem string) {
	t.Helper()
	fault := new(queue.Fault)
	systemtest.Eventually(t, "Health reports: "+problem, func() bool {
		err := queue.Health(t.Context(), rdb)
		return errors.As(err, &fault) && fault.Problem == problem
	})
	assert.Contains(t, fault.Error(), problem+": ")
	require.Error(t, queue.NewEnqueuer(rdb, time.Hour).Enqueue(t.Context(), jobs.Batch{ID: 1, Priority: jobs.Default, Requests: []int64{1}}))
}

// Each of these servers answers a PING, and none takes a task.
func TestHealthSaysWhyNoTaskCanBeEnqueued(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	url := devtest.Private(t).RedisURL()
	rdb := dialURL(t, url)
	require.NoError(t, queue.Health(ctx, rdb))
	keys, err := rdb.DBSize(ctx).Result()
	require.NoError(t, err)
	assert.Zero(t, keys, "Health changes nothing")

	require.NoError(t, rdb.ConfigSet(ctx, "maxmemory", "1").Err())
	requireFault(t, rdb, queue.ProblemFull)
	require.NoError(t, rdb.ConfigSet(ctx, "maxmemory", "0").Err())

	require.NoError(t, rdb.ConfigSet(ctx, "min-replicas-to-write", "1").Err())
	requireFault(t, rdb, queue.ProblemReplicas)
	require.NoError(t, rdb.ConfigSet(ctx, "min-replicas-to-write", "0").Err())

	require.NoError(t, rdb.Do(ctx, "ACL", "SETUSER", "reader", "on", ">pw", "~*", "&*", "+@all", "-set").Err())
	restricted := dialURL(t, asUser(t, url, "reader", "pw"))
	fault := new(queue.Fault)
	require.ErrorAs(t, queue.Health(ctx, restricted), &fault)
	assert.Equal(t, queue.ProblemForbidden, fault.Problem)
	wrong := dialURL(t, asUser(t, url, "", "wrong"))
	requireFault(t, wrong, queue.ProblemLogin)

	require.NoError(t, rdb.Do(ctx, "REPLICAOF", "127.0.0.1", "1").Err())
	requireFault(t, rdb, queue.ProblemReadOnly)
	require.NoError(t, rdb.Do(ctx, "REPLICAOF", "NO", "ONE").Err())
	require.NoError(t, queue.Health(ctx, rdb))
}

func TestHealthOfAServerThatIsAway(t *testing.T) {
	t.Parallel()
	requireFault(t, dialURL(t, "redis://127.0.0.1:1"), queue.ProblemAway)
}
