package queue_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
)

func TestMain(m *testing.M) { devtest.Main(m, nil) }

func dial(t *testing.T) (redis.UniversalClient, *asynq.Inspector) {
	t.Helper()
	opt, err := queue.ParseRedisURL(devtest.Redis(t))
	require.NoError(t, err)
	rdb, err := queue.Dial(opt)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, rdb.Close()) })
	return rdb, asynq.NewInspectorFromRedisClient(rdb)
}

// WithoutTask and ActiveBatches read Asynq's keys; this test compares what they
// read with what Asynq does.
func TestTheKeysAreThoseOfAsynq(t *testing.T) {
	t.Parallel()
	rdb, inspector := dial(t)
	ctx := t.Context()
	enq := queue.NewEnqueuer(rdb, time.Hour)
	refs := []jobs.BatchRef{}
	for id, p := range map[int64]jobs.Priority{1: jobs.High, 2: jobs.Default, 3: jobs.Low, 4: jobs.Default, 5: jobs.Default} {
		b := jobs.Batch{ID: id, Priority: p}
		if id == 4 {
			b.RunAt = time.Now().Add(time.Hour)
		}
		require.NoError(t, enq.Enqueue(ctx, b))
		refs = append(refs, jobs.BatchRef{ID: id, Priority: p})
	}
	gone := jobs.BatchRef{ID: 99, Priority: jobs.Default}
	missing, err := queue.WithoutTask(ctx, rdb, append(refs, gone))
	require.NoError(t, err)
	assert.Equal(t, []jobs.BatchRef{gone}, missing)

	require.NoError(t, inspector.ArchiveTask("default", jobs.TaskID(5)))
	missing, err = queue.WithoutTask(ctx, rdb, refs)
	require.NoError(t, err)
	assert.Equal(t, []jobs.BatchRef{{ID: 5, Priority: jobs.Default}}, missing, "an archived task will not run by itself")

	active, err := queue.ActiveBatches(ctx, rdb)
	require.NoError(t, err)
	assert.Empty(t, active)
	taken, release := make(chan struct{}), make(chan struct{})
	srv := asynq.NewServerFromRedisClient(rdb, asynq.Config{Queues: map[string]int{"high": 1}, TaskCheckInterval: time.Millisecond, LogLevel: asynq.FatalLevel})
	mux := asynq.NewServeMux()
	mux.HandleFunc(jobs.TypeBatch, func(_ context.Context, _ *asynq.Task) error {
		close(taken)
		<-release
		return nil
	})
	require.NoError(t, srv.Start(mux))
	<-taken
	active, err = queue.ActiveBatches(ctx, rdb)
	require.NoError(t, err)
	assert.Equal(t, []int64{1}, active)
	close(release)
	require.Eventually(t, func() bool { // completed, and retained
		missing, err = queue.WithoutTask(ctx, rdb, []jobs.BatchRef{{ID: 1, Priority: jobs.High}})
		return err == nil && len(missing) == 1
	}, 10*time.Minute, time.Millisecond)
	srv.Shutdown()
}

// Redis keeps a hash compact as long as none of its values has more than 64
// bytes. A longer message doubles the memory of every waiting task.
func TestTaskIsStoredCompactly(t *testing.T) {
	t.Parallel()
	rdb, _ := dial(t)
	b := jobs.Batch{ID: 99_999_999, Priority: jobs.Default, Lane: jobs.CrowdLanes}
	require.NoError(t, queue.NewEnqueuer(rdb, 24*time.Hour).Enqueue(t.Context(), b))
	encoding, err := rdb.ObjectEncoding(t.Context(), "asynq:{"+b.Queue()+"}:t:"+jobs.TaskID(b.ID)).Result()
	if err != nil && strings.Contains(err.Error(), "unknown") {
		t.Skip("the in-process Redis does not tell how it stores a value; this test needs a real one")
	}
	require.NoError(t, err)
	require.NotEqual(t, "hashtable", encoding)
}

func TestEnqueueIsIdempotentAndReplacesAStaleTask(t *testing.T) {
	t.Parallel()
	rdb, inspector := dial(t)
	ctx := t.Context()
	enq := queue.NewEnqueuer(rdb, 0)
	b := jobs.Batch{ID: 7, Priority: jobs.Default, Requests: []int64{1}}
	for range 3 {
		require.NoError(t, enq.Enqueue(ctx, b))
	}
	info, err := inspector.GetQueueInfo("default")
	require.NoError(t, err)
	assert.Equal(t, 1, info.Pending)

	require.NoError(t, inspector.ArchiveTask("default", jobs.TaskID(7)))
	require.NoError(t, enq.Enqueue(ctx, b))
	task, err := inspector.GetTaskInfo("default", jobs.TaskID(7))
	require.NoError(t, err)
	assert.Equal(t, asynq.TaskStatePending, task.State)

	require.NoError(t, inspector.DeleteTask("default", jobs.TaskID(7)))
	require.NoError(t, enq.Enqueue(ctx, b))
}

func TestPublishQueues(t *testing.T) {
	t.Parallel()
	rdb, inspector := dial(t)
	require.NoError(t, queue.PublishQueues(t.Context(), rdb))
	queues, err := inspector.Queues()
	require.NoError(t, err)
	assert.ElementsMatch(t, append(jobs.Queues(), jobs.WebhookQueue, jobs.RecommendQueue), queues)
}

func TestCancellationsAreHeard(t *testing.T) {
	t.Parallel()
	rdb, _ := dial(t)
	heard := make(chan int64, 100)
	go queue.HearCancels(t.Context(), rdb, func(id int64) { heard <- id })
	require.Eventually(t, func() bool { // until the subscription has begun, no message is heard
		require.NoError(t, queue.AnnounceCancel(t.Context(), rdb, 42))
		return len(heard) > 0
	}, 10*time.Minute, 5*time.Millisecond)
	assert.EqualValues(t, 42, <-heard)
}

// Managed services and restricted users have no CONFIG. The check must find a
// wrong setting all the same.
func TestTheEvictionPolicyIsFoundWithoutCONFIG(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	url := devtest.Private(t).RedisURL() // the test changes its settings
	rdb := dialURL(t, url)
	require.NoError(t, rdb.Do(ctx, "ACL", "SETUSER", "managed", "on", ">pw", "~*", "&*", "+@all", "-config").Err())
	require.NoError(t, rdb.Do(ctx, "ACL", "SETUSER", "blind", "on", ">pw", "~*", "&*", "+@all", "-config", "-info").Err())
	managed, blind := dialURL(t, asUser(t, url, "managed", "pw")), dialURL(t, asUser(t, url, "blind", "pw"))

	nodes, err := queue.InspectNodes(ctx, managed)
	require.NoError(t, err)
	require.NoError(t, nodes.Unsuitable())
	assert.Empty(t, nodes.Unseen())
	require.NoError(t, rdb.ConfigSet(ctx, "maxmemory-policy", "allkeys-lru").Err())
	nodes, err = queue.InspectNodes(ctx, managed)
	require.NoError(t, err)
	require.ErrorContains(t, nodes.Unsuitable(), "maxmemory-policy allkeys-lru")

	nodes, err = queue.InspectNodes(ctx, blind)
	require.NoError(t, err)
	require.NoError(t, nodes.Unsuitable())
	require.Len(t, nodes.Unseen(), 1, "what could not be seen is reported")
	assert.Contains(t, nodes.Unseen()[0], "did not tell its version, eviction policy, memory and persistence (NOPERM")
}

// asUser returns a URL with another login.
func asUser(t *testing.T, url, name, password string) string {
	t.Helper()
	address, err := queue.ParseRedisURL(url)
	require.NoError(t, err)
	return strings.Replace(url, "//:"+address.Password+"@", "//"+name+":"+password+"@", 1)
}

func TestRedisVersions(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{"6.2.0": true, "6.0.16": false, "7.0.15": true, "5.9": false, "10.1": true, "unstable": true} {
		assert.Equal(t, want, queue.AtLeast62(version), version)
	}
}
