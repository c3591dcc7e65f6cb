package intake

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

func TestBatchesAreFewAndEquallyLarge(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		items, most int
		sizes       []int
	}{
		{1, 64, []int{1}},
		{64, 64, []int{64}},
		{65, 64, []int{33, 32}},
		{10, 3, []int{3, 2, 3, 2}},
		{3, 1, []int{1, 1, 1}},
	} {
		items := slices.Repeat([]store.NewRequest{{Priority: jobs.Default}}, c.items)
		group(items, c.most)
		sizes := make([]int, len(c.sizes))
		for i := range items {
			require.Less(t, items[i].Group, len(sizes), "%d items in batches of %d", c.items, c.most)
			sizes[items[i].Group]++
		}
		require.Equal(t, c.sizes, sizes, "%d items in batches of %d", c.items, c.most)
	}
}

func TestABatchHasOnePriorityLaneAndDueTime(t *testing.T) {
	t.Parallel()
	later := time.Now().Add(time.Hour)
	items := []store.NewRequest{
		{Priority: jobs.High}, {Priority: jobs.Low}, {Priority: jobs.High, Lane: 2}, {Priority: jobs.High},
		{Priority: jobs.High, RunAt: later}, {Priority: jobs.Low}, {Priority: jobs.High, RunAt: later.In(time.FixedZone("", 3600))},
	}
	group(items, 64)
	groups := make([]int, len(items))
	for i := range items {
		groups[i] = items[i].Group
	}
	require.Equal(t, []int{0, 1, 2, 0, 3, 1, 3}, groups)
}

func TestStoredBatchesHoldWhatWasStored(t *testing.T) {
	t.Parallel()
	due := time.Now()
	items := []store.NewRequest{{Priority: jobs.High}, {Priority: jobs.Low, Lane: 1, RunAt: due}, {Priority: jobs.High}, {Priority: jobs.High}, {Priority: jobs.High}}
	rows := []store.Inserted{
		{ID: 11, BatchID: 7}, {ID: 12, BatchID: 8}, {ID: 3, BatchID: 2, Replayed: true}, {Mismatch: true}, {ID: 13, BatchID: 7},
	}
	require.Equal(t, []jobs.Batch{
		{ID: 7, Priority: jobs.High, Requests: []int64{11, 13}},
		{ID: 8, Priority: jobs.Low, Lane: 1, RunAt: due, Requests: []int64{12}},
	}, storedBatches(items, rows))
	require.Empty(t, storedBatches(items[:1], []store.Inserted{{ID: 3, BatchID: 2, Replayed: true}}))
}
