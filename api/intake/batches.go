package intake

import (
	"slices"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// batchKey is what all requests of a batch have in common.
type batchKey struct {
	priority jobs.Priority
	lane     jobs.Lane
	due      time.Time
}

// group assigns each item to a batch of its statement by setting Group: as few
// batches as a size of most requests allows, equally large, and each of one
// priority, lane and due time.
func group(items []store.NewRequest, most int) {
	members := map[batchKey][]int{}
	var keys []batchKey // in order of arrival
	for i := range items {
		k := batchKey{items[i].Priority, items[i].Lane, items[i].RunAt.UTC()}
		if members[k] == nil {
			keys = append(keys, k)
		}
		members[k] = append(members[k], i)
	}
	first := 0 // number of the key's first batch
	for _, k := range keys {
		total := len(members[k])
		count := (total + most - 1) / most
		for n, i := range members[k] {
			items[i].Group = first + n*count/total
		}
		first += count
	}
}

// storedBatches returns the batches that a statement has stored. A submission
// whose idempotency key was used before is in the batch of its first submission
// already, so it is left out.
func storedBatches(items []store.NewRequest, rows []store.Inserted) []jobs.Batch {
	var list []jobs.Batch
	for i, r := range rows {
		if r.Replayed || r.Mismatch {
			continue
		}
		at := slices.IndexFunc(list, func(b jobs.Batch) bool { return b.ID == r.BatchID })
		if at < 0 {
			at = len(list)
			list = append(list, jobs.Batch{ID: r.BatchID, Priority: items[i].Priority, Lane: items[i].Lane, RunAt: items[i].RunAt})
		}
		list[at].Requests = append(list[at].Requests, r.ID)
	}
	return list
}
