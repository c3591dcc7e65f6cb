package store_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// move carries out a bulk step by step.
func (b system) move(m store.BulkMove) (all store.Moved) {
	b.t.Helper()
	m.Origin.Actor, m.BatchSize = "test", 4
	if m.From == nil {
		m.From = m.Action.From()
	}
	for {
		did, err := b.MoveRequests(b.ctx, m)
		require.NoError(b.t, err)
		all.Matched += did.Matched
		all.Changed, all.Busy = append(all.Changed, did.Changed...), append(all.Busy, did.Busy...)
		all.Running, all.Batches = append(all.Running, did.Running...), append(all.Batches, did.Batches...)
		if did.Next.ID == 0 {
			return all
		}
		m.Filter.After = did.Next
	}
}

func TestBulkMovesWhatTheListFinds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	middle := time.Now().Add(-5 * time.Hour)
	fill := func() {
		t.Helper()
		_, err := b.db.ExecContext(b.ctx, `
            TRUNCATE mass_requests; INSERT INTO mass_requests (batch_id, payload, schema_version, status, result, created_at, finished_at, site_id, cluster_id, claimed_by)
            SELECT n, '{}', '1.0-simple', s, '{}', now() - make_interval(mins => n * 10), CASE WHEN s IN ('done', 'failed', 'cancelled') THEN now() END,
                   's' || n % 3, 'c' || n % 4, CASE WHEN s = 'processing' THEN 7 END
            FROM generate_series(1, 60) n, LATERAL (SELECT (ARRAY['pending', 'processing', 'done', 'failed', 'cancelled'])[n % 5 + 1] AS s) x`)
		require.NoError(t, err)
	}
	for _, action := range []jobs.Action{jobs.Cancel, jobs.Replay} {
		for _, f := range []store.Filter{
			{}, {SiteID: "s1"}, {ClusterID: "c2"}, {CreatedFrom: middle}, {CreatedBefore: middle}, {SiteID: "s1", ClusterID: "c2", CreatedFrom: middle},
			{SiteID: "nowhere"}, {SiteID: "' OR true --"}, {Status: action.From()[0]}, {Status: action.From()[1], SiteID: "s0"},
		} {
			fill()
			f.Limit = 1000
			listed, _, err := b.ListRequests(b.ctx, f, store.PageBytes)
			require.NoError(t, err)
			var want []int64
			for _, r := range listed {
				if slices.Contains(action.From(), r.Status) {
					want = append(want, r.ID)
				}
			}
			f.Limit = 5
			m := store.BulkMove{Action: action, Filter: f, From: action.From()}
			counted, err := b.CountMoves(b.ctx, store.BulkMove{Action: action, Filter: store.Filter{
				Status: f.Status, SiteID: f.SiteID, ClusterID: f.ClusterID, CreatedFrom: f.CreatedFrom, CreatedBefore: f.CreatedBefore, Limit: 1000,
			}, From: action.From()})
			require.NoError(t, err)
			assert.Equal(t, len(want), counted.Matched, "%s %+v", action, f)
			did := b.move(m)
			assert.Equal(t, want, did.Changed, "%s %+v", action, f)
			assert.Equal(t, len(want), did.Matched)
			assert.Empty(t, did.Busy)
			assert.Zero(t, b.move(m).Matched, "nothing is left for the same bulk")
		}
	}
}

func TestBulkReplayMakesSmallBatchesAndATrail(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.inStatus(jobs.StatusFailed)
	var more []int64
	for range 9 {
		more = append(more, b.inStatus(jobs.StatusCancelled).ID)
	}
	_, err := b.db.ExecContext(b.ctx, `UPDATE mass_requests SET priority = 'high' WHERE id = $1`, more[0])
	require.NoError(t, err)
	did := b.move(store.BulkMove{Action: jobs.Replay, Filter: store.Filter{Limit: 100}})
	require.Len(t, did.Changed, 10)
	carried := map[int64]bool{}
	for _, batch := range did.Batches {
		assert.LessOrEqual(t, len(batch.Requests), 4)
		assert.Zero(t, batch.RunAt)
		for _, id := range batch.Requests {
			again := b.get(id)
			assert.Equal(t, batch.ID, again.BatchID)
			assert.Equal(t, batch.Priority, again.Priority)
			carried[id] = true
		}
	}
	assert.Len(t, carried, 10)
	assert.Len(t, did.Batches, 4, "nine of default in three, one of high")

	again := b.get(r.ID)
	assert.Equal(t, jobs.StatusPending, again.Status)
	assert.Equal(t, r.Attempt, again.Attempt, "the fencing token goes on")
	assert.Zero(t, again.Failures)
	assert.Empty(t, again.Error)
	assert.Zero(t, again.FinishedAt)
	events, err := b.Events(b.ctx, r.ID, 0, 100)
	require.NoError(t, err)
	last := events[len(events)-1]
	assert.Equal(t, []string{"replay", "test", "failed", "pending", "bulk"}, []string{last.Action, last.Actor, last.FromStatus, last.ToStatus, last.Detail})
	assert.Equal(t, again.BatchID, last.BatchID)
	w := b.worker()
	assert.NotEmpty(t, b.claim(w, again.BatchID))
}

func TestBulkWaitsForNobodyAndFencesWorkers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	in := b.submit(`{"n": 1}`, `{"n": 2}`, `{"n": 3}`)
	w := b.worker()
	claimed := b.claim(w, in[0].BatchID)
	require.Len(t, claimed, 3)

	tx, err := b.db.BeginTxx(b.ctx, nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(b.ctx, `SELECT FROM mass_requests WHERE id = $1 FOR UPDATE`, in[1].ID)
	require.NoError(t, err)
	did := b.move(store.BulkMove{Action: jobs.Cancel, Filter: store.Filter{Limit: 100}})
	assert.Equal(t, []int64{in[2].ID, in[0].ID}, did.Changed)
	assert.Equal(t, []int64{in[2].ID, in[0].ID}, did.Running)
	assert.Equal(t, []int64{in[1].ID}, did.Busy)
	require.NoError(t, tx.Rollback())
	did = b.move(store.BulkMove{Action: jobs.Cancel, Filter: store.Filter{Limit: 100}, Only: did.Busy})
	assert.Equal(t, []int64{in[1].ID}, did.Changed)

	for _, c := range claimed {
		s := b.settle(w, jobs.Outcome{Lease: c.Lease, Action: jobs.Finish, Result: jobs.Result{JSON: json.RawMessage(`{}`)}})
		assert.False(t, s.Accepted, "the worker comes too late")
		assert.Equal(t, jobs.StatusCancelled, b.get(c.ID).Status)
	}
}

func TestBulkObeysTheTableOfTransitions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, m := range []store.BulkMove{
		{Action: jobs.Replay, From: []jobs.Status{jobs.StatusPending}}, {Action: jobs.Cancel, From: []jobs.Status{jobs.StatusDone}},
		{Action: jobs.Finish, From: []jobs.Status{jobs.StatusProcessing}}, {Action: jobs.Delete, From: []jobs.Status{jobs.StatusDone}},
	} {
		m.Filter.Limit = 10
		_, err := b.MoveRequests(b.ctx, m)
		require.ErrorIs(t, err, store.ErrConflict, m.Action)
	}
}

func TestBulkUsesTheIndexesOfLists(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.many(50_000, jobs.StatusDone, 20*time.Hour)
	b.many(50, jobs.StatusFailed, 10*time.Hour)
	b.many(50, jobs.StatusPending, 10*time.Hour)
	_, err := b.db.ExecContext(b.ctx, `ANALYZE mass_requests, mass_submissions`)
	require.NoError(t, err)
	for index, m := range map[string]store.BulkMove{
		"mass_requests_ended_badly":  {Action: jobs.Replay, From: []jobs.Status{jobs.StatusFailed}},
		"mass_submissions_submitted": {Action: jobs.Replay, From: []jobs.Status{jobs.StatusDone}},
		"mass_submissions_site":      {Action: jobs.Replay, From: []jobs.Status{jobs.StatusDone, jobs.StatusFailed}, Filter: store.Filter{SiteID: "s7"}},
	} {
		m.Filter.Limit, m.BatchSize = 100, 64
		query, args, err := store.MoveQuery(m)
		require.NoError(t, err)
		plan := b.explain(query, args...)
		assert.Contains(t, plan, index+" ", plan)
		assert.NotContains(t, plan, "Seq Scan", plan)
	}
	query, args, err := store.MoveQuery(store.BulkMove{Action: jobs.Cancel, From: jobs.Cancel.From(), Filter: store.Filter{Limit: 500}})
	require.NoError(t, err)
	assert.NotContains(t, b.explain(query, args...), "Seq Scan")
}
