package api

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// packer puts submissions into batches: of one queue and one due time each, as few as
// a size of most allows.
//
// A batch is a task for Redis, for Asynq and for a worker, which costs as much as
// several requests. So two statements that are under way at once share their batches
// where they can: the second one adds to what the first one began, and the batch is
// enqueued when both are committed. Whoever goes first waits for the other for as
// long as a statement takes; when there is no other, nobody waits.
type packer struct {
	most int // requests a batch
	draw func(ctx context.Context, n int) ([]int64, error)

	mu     sync.Mutex
	spare  []int64 // ids drawn in advance
	drawn  time.Time
	shared map[kind]*parcel // that another statement may still join
}

// kind is what all requests of a batch have in common.
type kind struct {
	priority jobs.Priority
	lane     jobs.Lane
	due      time.Time
}

// parcel is a batch that statements are storing.
type parcel struct {
	jobs.Batch     // Requests are those that are stored
	room       int // for further items
	underWay   int // statements
	joined     int // statements, those that are committed included
}

// A batch is shared by no more statements than this, so that the first one does
// not wait for ever.
const shareMost = 2

const (
	stockSize = 64          // ids drawn at once
	stockAge  = time.Second // the reconciler judges the age of a batch by its id
)

func newPacker(most int, draw func(context.Context, int) ([]int64, error)) *packer {
	return &packer{most: most, draw: draw, shared: map[kind]*parcel{}}
}

// stock sees to it that there are ids for batches that another statement can join.
// Without them each statement makes its own.
func (p *packer) stock(ctx context.Context) {
	p.mu.Lock()
	enough := len(p.spare) > 0 && time.Since(p.drawn) < stockAge
	p.mu.Unlock()
	if enough {
		return
	}
	began := time.Now()
	ids, err := p.draw(ctx, stockSize)
	if err != nil {
		return // so does the statement that follows, and tells
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spare, p.drawn = ids, began
}

// shipment is what one statement stores.
type shipment []*parcel

// pack gives each item its batch, or its group where the statement is to make the batch.
func (p *packer) pack(items []store.NewRequest) shipment {
	p.mu.Lock()
	defer p.mu.Unlock()
	members := map[kind][]int{}
	var kinds []kind // in the order in which they come
	for i := range items {
		k := kind{items[i].Priority, items[i].Lane, items[i].RunAt.UTC()}
		if members[k] == nil {
			kinds = append(kinds, k)
		}
		members[k] = append(members[k], i)
	}
	var s shipment
	next := 0 // group
	for _, k := range kinds {
		total := len(members[k])
		if b := p.parcelFor(k, total); b != nil {
			s = append(s, b)
			for _, i := range members[k] {
				items[i].Batch = b.ID
			}
			continue
		}
		count := (total + p.most - 1) / p.most
		for seen, i := range members[k] {
			items[i].Batch, items[i].Group = 0, next+seen*count/total
		}
		next += count
	}
	return s
}

// parcelFor returns the batch that n items of a kind share with another statement, or
// may come to share; nil when they are too many for one, or when there is no id.
// The caller holds the lock.
func (p *packer) parcelFor(k kind, n int) *parcel {
	b := p.shared[k]
	if b == nil || b.joined == shareMost || b.room < n {
		if n > p.most || len(p.spare) == 0 || time.Since(p.drawn) >= stockAge {
			return nil
		}
		b = &parcel{Batch: jobs.Batch{ID: p.spare[0], Priority: k.priority, Lane: k.lane, RunAt: k.due}, room: p.most}
		p.spare, p.shared[k] = p.spare[1:], b
	}
	b.room -= n
	b.underWay++
	b.joined++
	return b
}

// unpack ends a statement and returns the batches that may be enqueued: no other
// statement is storing any of them. rows is nil when it failed. What a key kept from
// being stored again is in the batch of its first submission already.
func (p *packer) unpack(s shipment, items []store.NewRequest, rows []store.Inserted) []jobs.Batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []jobs.Batch
	for i, r := range rows {
		if r.Replayed || r.Mismatch {
			continue
		}
		if at := slices.IndexFunc(s, func(b *parcel) bool { return b.ID == r.BatchID }); at >= 0 {
			s[at].Requests = append(s[at].Requests, r.ID)
			continue
		}
		at := slices.IndexFunc(list, func(b jobs.Batch) bool { return b.ID == r.BatchID })
		if at < 0 {
			at = len(list)
			list = append(list, jobs.Batch{ID: r.BatchID, Priority: items[i].Priority, Lane: items[i].Lane, RunAt: items[i].RunAt})
		}
		list[at].Requests = append(list[at].Requests, r.ID)
	}
	for _, b := range s {
		b.underWay--
		if b.underWay > 0 {
			continue
		}
		if k := (kind{b.Priority, b.Lane, b.RunAt}); p.shared[k] == b {
			delete(p.shared, k)
		}
		if len(b.Requests) > 0 {
			list = append(list, b.Batch)
		}
	}
	return list
}
