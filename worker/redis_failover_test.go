package worker_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack"
	"github.com/leomutto/pilot-in-a-box/internal/devstack/devfault"
	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/internal/systemtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
)

// failoverBound is how long after the election of a new master a request may
// take. It is usual to take less than a second. Clients that learn of a new
// master only once a minute exceed the bound, and a slow machine does not.
const failoverBound = 30 * time.Second

// faultFolder returns a folder for private servers.
func faultFolder(t *testing.T) *devstack.Folder {
	t.Helper()
	f, err := devstack.NewFolder(t.Context(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close(context.Background())) })
	return f
}

// requireWorkAfterFailover kills a master while requests are submitted, and
// requires that requests submitted after the kill are done soon after the
// election of a new master, and that none is lost.
func requireWorkAfterFailover(t *testing.T, s *system, kill func(context.Context) (*devstack.Server, error), elected func(context.Context, *devstack.Server) error) {
	t.Helper()
	ctx := t.Context()
	config := quick()
	config.Leader.Grace = time.Second
	s.start(config, echo)
	before := s.submit(true, `{"a": 1}`)
	s.untilStatus(before[0], jobs.StatusDone)

	killed := time.Now()
	dead, err := kill(ctx)
	require.NoError(t, err)
	var ids []int64
	submit := func(i int) {
		id := s.submit(false, fmt.Sprintf(`{"a": %d}`, i))[0]
		ids = append(ids, id)
		bounded, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		// The error does not matter: the leader enqueues what is missing.
		_ = s.enq.Enqueue(bounded, jobs.Batch{ID: s.batchOf(id), Priority: jobs.Default, Requests: []int64{id}})
	}
	for i := range 5 { // while no server is the master
		submit(i)
	}
	require.NoError(t, elected(ctx, dead))
	election := time.Now()
	submit(5)
	s.untilStatus(ids[5], jobs.StatusDone)
	working := time.Now()
	for _, id := range ids {
		s.untilStatus(id, jobs.StatusDone)
	}
	t.Logf("killed; new master after %v; a request submitted then was done after %v; all done %v after the kill",
		election.Sub(killed), working.Sub(election), time.Since(killed))
	assert.Less(t, working.Sub(election), failoverBound, "the clients have not found the new master")
	systemtest.Eventually(t, "Redis is healthy again", func() bool { return queue.Health(ctx, s.rdb) == nil })
}

func (s *system) batchOf(id int64) (batch int64) {
	s.t.Helper()
	require.NoError(s.t, s.db.GetContext(s.t.Context(), &batch, `SELECT batch_id FROM mass_requests WHERE id = $1`, id))
	return batch
}

// A dead master of a cluster does not announce its successor: the clients must
// ask the other nodes.
func TestWorkGoesOnAfterAFailoverOfTheCluster(t *testing.T) {
	t.Parallel()
	c, err := devfault.StartCluster(t.Context(), faultFolder(t), "secret")
	require.NoError(t, err)
	s := newSystem(t, systemtest.On(t, devtest.Database(t), c.URL()))
	systemtest.Eventually(t, "every master and replica is asked", func() bool {
		nodes, err := queue.InspectNodes(t.Context(), s.rdb)
		require.NoError(t, err)
		require.NoError(t, nodes.Unsuitable())
		asked := slices.DeleteFunc(slices.Clone(nodes), func(n queue.Node) bool { return n.Version == "" })
		// A cluster lists its newest replicas after some seconds. Until then, the
		// report must say that they were not asked.
		require.True(t, len(asked) == 6 || len(nodes.Unseen()) > 0)
		return len(asked) == 6 && len(nodes.Unseen()) == 0
	})
	require.NoError(t, queue.Health(t.Context(), s.rdb))

	key := "asynq:{" + jobs.QueueName(jobs.Default, 0) + "}:pending"
	requireWorkAfterFailover(t, s, func(ctx context.Context) (*devstack.Server, error) { return c.KillMasterOf(ctx, key) }, func(ctx context.Context, dead *devstack.Server) error { return c.AwaitFailover(ctx, key, dead) })
}

func TestWorkGoesOnAfterAFailoverBySentinel(t *testing.T) {
	t.Parallel()
	sentinel, err := devfault.StartSentinel(t.Context(), faultFolder(t), devfault.SentinelOptions{Password: "master-secret", SentinelPassword: "sentinel-secret"})
	require.NoError(t, err)
	s := newSystem(t, systemtest.On(t, devtest.Database(t), sentinel.URL()))
	nodes, err := queue.InspectNodes(t.Context(), s.rdb)
	require.NoError(t, err)
	require.Len(t, nodes, 2, "the master and the replica are asked")
	assert.False(t, nodes[0].Replica)
	assert.True(t, nodes[1].Replica)
	assert.Empty(t, nodes.Unseen())
	requireWorkAfterFailover(t, s, sentinel.KillMaster, sentinel.AwaitFailover)
}
