package api

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// drawer draws ids of batches from 1 on.
func drawer() func(context.Context, int) ([]int64, error) {
	var last int64
	return func(_ context.Context, n int) ([]int64, error) {
		ids := make([]int64, n)
		for i := range ids {
			last++
			ids[i] = last
		}
		return ids, nil
	}
}

// stocked is a packer that has ids.
func stocked(t *testing.T, most int) *packer {
	t.Helper()
	p := newPacker(most, drawer())
	p.stock(t.Context())
	return p
}

// statement is n items of a priority on their way.
type statement struct {
	shipment
	items []store.NewRequest
}

func begin(p *packer, n int, of jobs.Priority) *statement {
	s := &statement{items: make([]store.NewRequest, n)}
	for i := range s.items {
		s.items[i].Priority = of
	}
	s.shipment = p.pack(s.items)
	return s
}

// stored is what Postgres answers; the ids count from first on, and so do those of
// the batches that it makes, in the thousands.
func (s *statement) stored(first int64) []store.Inserted {
	rows := make([]store.Inserted, len(s.items))
	for i, it := range s.items {
		rows[i] = store.Inserted{ID: first + int64(i), BatchID: it.Batch}
		if it.Batch == 0 {
			rows[i].BatchID = 1000*first + int64(it.Group)
		}
	}
	return rows
}

func (s *statement) end(p *packer, first int64) []jobs.Batch {
	return p.unpack(s.shipment, s.items, s.stored(first))
}

func (s *statement) fail(p *packer) []jobs.Batch { return p.unpack(s.shipment, s.items, nil) }

func TestGroupsAreEven(t *testing.T) {
	t.Parallel()
	for total := range 300 {
		items := make([]store.NewRequest, total)
		for i := range items {
			items[i].Priority = jobs.Priorities()[i*i%3]
		}
		newPacker(64, nil).pack(items)
		size, priority := map[int]int{}, map[int]jobs.Priority{}
		perPriority := map[jobs.Priority]int{}
		for _, it := range items {
			size[it.Group]++
			perPriority[it.Priority]++
			if p, ok := priority[it.Group]; ok {
				require.Equal(t, p, it.Priority, "one priority a batch")
			}
			priority[it.Group] = it.Priority
		}
		groups := map[jobs.Priority][]int{}
		for g, n := range size {
			groups[priority[g]] = append(groups[priority[g]], n)
		}
		for p, sizes := range groups {
			require.Len(t, sizes, (perPriority[p]+63)/64, "no more batches than needed")
			for _, n := range sizes {
				require.LessOrEqual(t, n, 64)
				require.InDelta(t, sizes[0], n, 1, "even")
			}
		}
	}
}

func TestStatementsUnderWayShareABatch(t *testing.T) {
	t.Parallel()
	p := stocked(t, 64)
	first := begin(p, 2, jobs.Default)
	second := begin(p, 3, jobs.Default)
	assert.Empty(t, second.end(p, 20), "the first is not committed: a worker would not see all of the batch")
	assert.Equal(t, []jobs.Batch{{ID: 1, Priority: jobs.Default, Requests: []int64{20, 21, 22, 10, 11}}}, first.end(p, 10))

	alone := begin(p, 1, jobs.Default)
	assert.Equal(t, []jobs.Batch{{ID: 2, Priority: jobs.Default, Requests: []int64{30}}}, alone.end(p, 30), "a batch that is on its way takes nobody along")
}

func TestABatchWaitsForOneOtherStatementAtMost(t *testing.T) {
	t.Parallel()
	p := stocked(t, 64)
	first := begin(p, 1, jobs.Default)
	second := begin(p, 1, jobs.Default)
	third := begin(p, 1, jobs.Default)
	assert.Empty(t, first.end(p, 10))
	assert.Len(t, second.end(p, 20), 1, "whatever the third does")
	assert.Equal(t, []int64{30}, third.end(p, 30)[0].Requests)
	assert.Empty(t, p.shared)
}

func TestASharedBatchKeepsItsSize(t *testing.T) {
	t.Parallel()
	p := stocked(t, 4)
	first := begin(p, 3, jobs.Default)
	second := begin(p, 2, jobs.Default) // does not fit
	third := begin(p, 9, jobs.Default)  // fits into none
	assert.Equal(t, []int64{10, 11, 12}, first.end(p, 10)[0].Requests)
	assert.Equal(t, []int64{20, 21}, second.end(p, 20)[0].Requests)
	assert.Len(t, third.end(p, 30), 3)
}

func TestAStatementThatFailsHoldsNobodyBack(t *testing.T) {
	t.Parallel()
	p := stocked(t, 64)
	first, second := begin(p, 1, jobs.Default), begin(p, 1, jobs.Default)
	assert.Empty(t, first.end(p, 10))
	assert.Equal(t, []int64{10}, second.fail(p)[0].Requests)

	first, second = begin(p, 1, jobs.Default), begin(p, 1, jobs.Default)
	assert.Empty(t, first.fail(p))
	assert.Equal(t, []int64{20}, second.end(p, 20)[0].Requests)

	first, second = begin(p, 1, jobs.Default), begin(p, 1, jobs.Default)
	assert.Empty(t, first.fail(p))
	assert.Empty(t, second.fail(p), "nothing is stored, so there is nothing to enqueue")
	assert.Empty(t, p.shared)
}

func TestABatchHoldsWhatItsStatementsStored(t *testing.T) {
	t.Parallel()
	p := stocked(t, 64)
	s := begin(p, 3, jobs.Default)
	rows := s.stored(10)
	rows[0].Replayed, rows[0].BatchID = true, 77
	rows[2].Mismatch = true
	assert.Equal(t, []int64{11}, p.unpack(s.shipment, s.items, rows)[0].Requests)
}

func TestIdsOfBatchesAreFresh(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := stocked(t, 64)
		time.Sleep(stockAge)
		old := begin(p, 1, jobs.Default)
		assert.Zero(t, old.items[0].Batch, "the reconciler would take the batch for an old one without a task")
		assert.Equal(t, []jobs.Batch{{ID: 10_000, Priority: jobs.Default, Requests: []int64{10}}}, old.end(p, 10))
		p.stock(t.Context())
		p.stock(t.Context()) // there are enough
		assert.EqualValues(t, stockSize+1, begin(p, 1, jobs.Default).items[0].Batch)
	})
}

func TestWithoutIdsStatementsMakeTheirBatches(t *testing.T) {
	t.Parallel()
	p := newPacker(64, func(context.Context, int) ([]int64, error) { return nil, errors.New("no database") })
	p.stock(t.Context())
	first, second := begin(p, 1, jobs.Default), begin(p, 1, jobs.Default)
	assert.Len(t, first.end(p, 10), 1)
	assert.Len(t, second.end(p, 20), 1)
}

func TestADatabaseThatHangsIsWaitedForOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &submitter{timeout: time.Minute}
		s.packer = newPacker(64, func(ctx context.Context, _ int) ([]int64, error) { return nil, hang(ctx) })
		s.insert = func(ctx context.Context, _ []store.NewRequest) ([]store.Inserted, error) { return nil, hang(ctx) }
		began := time.Now()
		_, err := s.flush(t.Context(), make([]store.NewRequest, flushFill))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Minute, time.Since(began), "for the ids and the statement together")
	})
}

func hang(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestEveryStoredRequestIsEnqueuedOnce lets statements of all kinds begin, end and fail
// in any order.
func TestEveryStoredRequestIsEnqueuedOnce(t *testing.T) {
	t.Parallel()
	const most = 16
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		p := newPacker(most, drawer())
		var (
			underWay []*statement
			nextID   int64 = 1
			stored         = map[int64]kind{}
			enqueued       = map[int64]bool{}
			writing        = map[int64]int{} // statements that may yet add to a batch
			batches        = map[int64]bool{}
		)
		begun := func() {
			if random.IntN(4) == 0 {
				p.stock(t.Context())
			}
			s := &statement{items: make([]store.NewRequest, 1+random.IntN(2*most))}
			for i := range s.items {
				s.items[i].Priority, s.items[i].Lane = jobs.Priorities()[random.IntN(2)], jobs.Lane(random.IntN(2))
				if random.IntN(3) == 0 {
					s.items[i].RunAt = time.Unix(1e9, 0)
				}
			}
			s.shipment = p.pack(s.items)
			for _, b := range s.shipment {
				writing[b.ID]++
			}
			underWay = append(underWay, s)
		}
		ended := func() {
			at := random.IntN(len(underWay))
			s := underWay[at]
			underWay = append(underWay[:at], underWay[at+1:]...)
			for _, b := range s.shipment {
				writing[b.ID]--
			}
			var list []jobs.Batch
			if random.IntN(5) == 0 {
				list = s.fail(p)
			} else {
				for i, it := range s.items {
					stored[nextID+int64(i)] = kind{it.Priority, it.Lane, it.RunAt.UTC()}
				}
				list = s.end(p, nextID)
				nextID += int64(len(s.items))
			}
			for _, b := range list {
				require.False(t, batches[b.ID], "seed %d: batch %d comes twice", seed, b.ID)
				batches[b.ID] = true
				require.Zero(t, writing[b.ID], "seed %d: batch %d is not complete", seed, b.ID)
				require.LessOrEqual(t, len(b.Requests), most, "seed %d", seed)
				for _, id := range b.Requests {
					require.False(t, enqueued[id], "seed %d: request %d comes twice", seed, id)
					enqueued[id] = true
					require.Equal(t, kind{b.Priority, b.Lane, b.RunAt.UTC()}, stored[id], "seed %d: one kind a batch", seed)
				}
			}
		}
		for range 100 {
			if len(underWay) == 0 || len(underWay) < 4 && random.IntN(2) == 0 {
				begun()
			} else {
				ended()
			}
		}
		for len(underWay) > 0 {
			ended()
		}
		require.Len(t, enqueued, len(stored), "seed %d", seed)
		require.Empty(t, p.shared, "seed %d", seed)
	}
}
