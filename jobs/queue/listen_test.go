package queue_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/internal/systemtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
)

// Two installations share one Redis by the numbers of its databases. Redis
// delivers a message to the subscribers of all databases; each installation
// must hear its own messages only.
func TestInstallationsDoNotHearEachOther(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	ours, theirs := dialURL(t, devtest.Redis(t)), dialURL(t, devtest.Redis(t))
	var mu sync.Mutex
	cancelled, changed := map[int64]bool{}, map[int64]bool{}
	go queue.HearCancels(ctx, ours, func(id int64) {
		mu.Lock()
		defer mu.Unlock()
		cancelled[id] = true
	})
	go queue.HearChanges(ctx, ours, func(ids []int64) {
		mu.Lock()
		defer mu.Unlock()
		for _, id := range ids {
			changed[id] = true
		}
	})
	bell := queue.NewDoorbell(jobs.QueueWeights(), time.Hour)
	go bell.Listen(ctx, ours)
	high, low := jobs.QueueName(jobs.High, 0), jobs.QueueName(jobs.Low, 0)
	systemtest.Eventually(t, "the doorbell listens", func() bool { return queue.Rings(bell, high) > 0 }) // the subscription counts as a ring
	rings := queue.Rings(bell, high)

	// The announcements of the other installation are the first ones. Each
	// subscription receives its messages in their order, so when the
	// announcements of the own installation are heard, those of the other one
	// have been heard, or never will be.
	systemtest.Eventually(t, "the announcements of the own installation are heard", func() bool {
		require.NoError(t, queue.AnnounceCancel(ctx, theirs, 1))
		require.NoError(t, queue.AnnounceChanges(ctx, theirs, 1))
		require.NoError(t, queue.Ring(ctx, theirs, high))
		require.NoError(t, queue.AnnounceCancel(ctx, ours, 2))
		require.NoError(t, queue.AnnounceChanges(ctx, ours, 2))
		require.NoError(t, queue.Ring(ctx, ours, low))
		mu.Lock()
		defer mu.Unlock()
		return cancelled[2] && changed[2] && queue.Rings(bell, low) > rings
	})
	mu.Lock()
	defer mu.Unlock()
	assert.False(t, cancelled[1], "a cancellation of the other installation was heard")
	assert.False(t, changed[1], "a change of the other installation was heard")
	assert.Equal(t, rings, queue.Rings(bell, high), "a ring of the other installation was heard")
}

// An enqueued task rings in its own installation only: the ring goes out
// together with the script, on another path than queue.Ring.
func TestAnEnqueuedTaskRingsInItsInstallationOnly(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	ours, theirs := dialURL(t, devtest.Redis(t)), dialURL(t, devtest.Redis(t))
	bell := queue.NewDoorbell(jobs.QueueWeights(), time.Hour)
	go bell.Listen(ctx, ours)
	high, low := jobs.QueueName(jobs.High, 0), jobs.QueueName(jobs.Low, 0)
	systemtest.Eventually(t, "the doorbell listens", func() bool { return queue.Rings(bell, high) > 0 })
	rings := queue.Rings(bell, high)

	require.NoError(t, queue.NewEnqueuer(theirs, time.Hour).Enqueue(ctx, jobs.Batch{ID: 1, Priority: jobs.High, Requests: []int64{1}}))
	require.NoError(t, queue.NewEnqueuer(ours, time.Hour).Enqueue(ctx, jobs.Batch{ID: 1, Priority: jobs.Low, Requests: []int64{1}}))
	systemtest.Eventually(t, "the ring of the own task is heard", func() bool { return queue.Rings(bell, low) > rings })
	assert.Equal(t, rings, queue.Rings(bell, high), "the ring of the other installation's task was heard")
}
