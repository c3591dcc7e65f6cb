package queue_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
)

func dialURL(t testing.TB, url string) redis.UniversalClient {
	t.Helper()
	opt, err := queue.ParseRedisURL(url)
	require.NoError(t, err)
	rdb, err := queue.Dial(opt)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, rdb.Close()) })
	return rdb
}

// hearing returns the ids that are heard, once the subscription has begun.
func hearing(t *testing.T, rdb redis.UniversalClient) <-chan []int64 {
	t.Helper()
	heard := make(chan []int64, 10000)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		queue.HearChanges(ctx, rdb, func(ids []int64) { heard <- ids })
	}()
	t.Cleanup(func() { stop(); <-done })
	require.Nil(t, <-heard)
	return heard
}

func TestChangesAreHeard(t *testing.T) {
	t.Parallel()
	rdb := dialURL(t, devtest.Redis(t))
	heard := hearing(t, rdb)
	const first, many = 6_000_000_000, 2500
	ids := make([]int64, many)
	for i := range ids {
		ids[i] = int64(first + i)
	}
	require.NoError(t, queue.AnnounceChanges(t.Context(), rdb, ids...))
	require.NoError(t, rdb.Publish(t.Context(), queue.ChangesChannel(rdb), "no id at all").Err())
	require.NoError(t, rdb.Publish(t.Context(), queue.ChangesChannel(rdb), "").Err())
	require.NoError(t, queue.AnnounceChanges(t.Context(), rdb))
	require.NoError(t, queue.AnnounceChanges(t.Context(), rdb, first+many))
	var sizes []int
	for next := int64(first); next <= first+many; {
		got := <-heard
		require.NotNil(t, got)
		sizes = append(sizes, len(got))
		for _, id := range got {
			require.Equal(t, next, id)
			next++
		}
	}
	require.Equal(t, []int{1000, 1000, 500, 1}, sizes)
}

func TestTheAnnouncerSendsEverything(t *testing.T) {
	t.Parallel()
	rdb := dialURL(t, devtest.Redis(t))
	heard := hearing(t, rdb)
	a := queue.NewAnnouncer(rdb)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); a.Run(ctx) }()
	const first, each, adders = 5_000_000_000, 500, 8
	var wg sync.WaitGroup
	for n := range adders {
		wg.Go(func() {
			for i := range each {
				a.Add(int64(first + n*each + i))
			}
		})
	}
	wg.Wait()
	stop() // ids that wait are sent nevertheless
	<-ended
	a.Add(1)
	var got []int64
	for len(got) < each*adders {
		for _, id := range <-heard {
			if id >= first && id < first+each*adders {
				got = append(got, id)
			}
		}
	}
	slices.Sort(got)
	for i, id := range got {
		require.Equal(t, int64(first+i), id)
	}
}

// While Redis is unreachable, ids are dropped and Add does not block.
func TestTheAnnouncerDoesNotWaitForRedis(t *testing.T) {
	t.Parallel()
	a := queue.NewAnnouncer(dialURL(t, "redis://127.0.0.1:1"))
	for range 100 {
		a.Add(make([]int64, 1000)...) // more ids than the Announcer keeps
	}
	a.Add()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); a.Run(ctx) }()
	a.Add(1, 2, 3)
	stop()
	<-ended
}

// BenchmarkAnnounceChanges measures what a worker pays for the message about
// one flush when no process listens.
func BenchmarkAnnounceChanges(b *testing.B) {
	rdb := dialURL(b, devtest.Redis(b))
	ids := make([]int64, 64)
	for i := range ids {
		ids[i] = int64(4_000_000_000 + i)
	}
	for b.Loop() {
		require.NoError(b, queue.AnnounceChanges(b.Context(), rdb, ids...))
	}
}
