package store_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// backdate makes requests as old as they would be had they come earlier.
func (b system) backdate(age time.Duration, ids ...int64) {
	b.t.Helper()
	for _, id := range ids {
		_, err := b.db.ExecContext(b.ctx, `
            UPDATE mass_requests SET created_at = created_at - make_interval(secs => $2), updated_at = updated_at - make_interval(secs => $2),
                   run_at = run_at - make_interval(secs => $2), finished_at = finished_at - make_interval(secs => $2) WHERE id = $1`, id, age.Seconds())
		require.NoError(b.t, err)
	}
}

// many makes n requests of one state in plain SQL, a second apart, the oldest age ago.
func (b system) many(n int, status jobs.Status, age time.Duration) (ids []int64) {
	b.t.Helper()
	require.NoError(b.t, b.db.SelectContext(b.ctx, &ids, `
        INSERT INTO mass_requests (batch_id, payload, schema_version, status, result, created_at, finished_at, site_id, claimed_by)
        SELECT n, '{}', '1.0-simple', $2::text, '{}', now() - make_interval(secs => $3 - n),
               CASE WHEN $2::text IN ('done', 'failed', 'cancelled') THEN now() - make_interval(secs => $3 - n) END, 's' || n % 50,
               CASE WHEN $2::text = 'processing' THEN 1 END
        FROM generate_series(1, $1::int) n RETURNING id`, n, string(status), age.Seconds()))
	return ids
}

// retained walks once through the table and returns how many rows went and in how many steps.
func (b system) retained(age time.Duration, step int) (removed, steps int) {
	b.t.Helper()
	for at := (store.Position{}); ; {
		did, err := b.RetainRequests(b.ctx, age, at, step)
		require.NoError(b.t, err)
		removed, steps = removed+did.Removed, steps+1
		if at = did.Next; at.ID == 0 {
			return removed, steps
		}
	}
}

func TestRetentionRemovesOnlyWhatIsOldAndFinal(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var old, kept []int64
	for _, s := range jobs.Statuses() {
		r, young := b.inStatus(s), b.inStatus(s)
		b.backdate(2*time.Hour, r.ID)
		kept = append(kept, young.ID)
		if s.Final() {
			old = append(old, r.ID)
		} else {
			kept = append(kept, r.ID)
		}
	}
	// An old request that ended only now counts from its end.
	late := b.inStatus(jobs.StatusDone)
	_, err := b.db.ExecContext(b.ctx, `UPDATE mass_requests SET created_at = now() - interval '2 hours' WHERE id = $1`, late.ID)
	require.NoError(t, err)
	kept = append(kept, late.ID)

	removed, _ := b.retained(3*time.Hour, 100)
	assert.Zero(t, removed)
	removed, _ = b.retained(time.Hour, 100)
	assert.Equal(t, len(old), removed)
	for _, id := range old {
		_, err := b.Request(b.ctx, id)
		require.ErrorIs(t, err, store.ErrNotFound)
		events, err := b.Events(b.ctx, id, 0, 100)
		require.NoError(t, err)
		assert.NotEmpty(t, events, "the trail stays")
	}
	for _, id := range kept {
		b.get(id)
	}
	assert.Equal(t, jobs.Retain.From(), []jobs.Status{jobs.StatusDone, jobs.StatusFailed, jobs.StatusCancelled})
}

func TestRetentionGoesInStepsAndLeavesATrail(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := b.many(60, jobs.StatusDone, 10*time.Hour)
	b.many(10, jobs.StatusPending, 9*time.Hour)
	second := b.many(30, jobs.StatusFailed, 8*time.Hour)
	removed, steps := b.retained(time.Hour, 40)
	assert.Equal(t, 90, removed)
	assert.Equal(t, 3, steps)
	removed, steps = b.retained(time.Hour, 40)
	assert.Zero(t, removed)
	assert.Equal(t, 1, steps, "what is left of the old ones is looked at, and kept")

	var trail []string
	require.NoError(t, b.db.SelectContext(b.ctx, &trail,
		`SELECT actor || ': ' || detail FROM audit_events WHERE action = 'retain' AND request_id IS NULL ORDER BY id`))
	require.Len(t, trail, 3, "one event a step, none for a step that removed nothing")
	assert.Equal(t, fmt.Sprintf("reconciler: removed 40 requests that were final for 01:00:00: %d-%d", first[0], first[39]), trail[0])
	assert.Contains(t, trail[1], fmt.Sprintf("removed 30 requests that were final for 01:00:00: %d-%d %d-%d", first[40], first[59], second[0], second[9]))
}

func TestRetentionAndReplayNeverLoseARequest(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ids := b.many(400, jobs.StatusDone, 10*time.Hour)

	// One that a replay holds is passed over, and stays.
	tx, err := b.db.BeginTxx(b.ctx, nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(b.ctx, `UPDATE mass_requests SET status = 'pending', finished_at = NULL WHERE id = $1`, ids[0])
	require.NoError(t, err)
	did, err := b.RetainRequests(b.ctx, time.Hour, store.Position{}, 10)
	require.NoError(t, err)
	assert.Equal(t, 9, did.Removed)
	require.NoError(t, tx.Commit())
	assert.Equal(t, jobs.StatusPending, b.get(ids[0]).Status)

	// Both at once: a request whose replay was accepted is there.
	var wg sync.WaitGroup
	accepted := make([]bool, len(ids))
	for part := range 4 {
		wg.Go(func() {
			for i := len(ids) - 1 - part; i >= 10; i -= 4 {
				_, err := b.MoveRequest(b.ctx, ids[i], jobs.StatusPending, store.Origin{Actor: "test"})
				accepted[i] = err == nil
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					t.Error(err)
				}
			}
		})
	}
	removed, _ := b.retained(time.Hour, 7)
	wg.Wait()
	n := 0
	for i := 10; i < len(ids); i++ {
		r, err := b.Request(b.ctx, ids[i])
		require.Equal(t, accepted[i], err == nil, "request %d: %v", ids[i], err)
		if accepted[i] {
			n++
			assert.Equal(t, jobs.StatusPending, r.Status)
		}
	}
	assert.Equal(t, len(ids)-10, removed+n, "each was removed or replayed")
	t.Logf("%d removed, %d replayed", removed, n)
}

// explain is the plan of a statement with its parameters.
func (b system) explain(query string, args ...any) string {
	b.t.Helper()
	var plan []string
	require.NoError(b.t, b.db.SelectContext(b.ctx, &plan, `EXPLAIN `+query, args...))
	return strings.Join(plan, "\n")
}

func TestRetentionWalksTheIndexOfLists(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.many(50_000, jobs.StatusDone, 20*time.Hour)
	_, err := b.db.ExecContext(b.ctx, `ANALYZE mass_requests, mass_submissions`)
	require.NoError(t, err)
	plan := b.explain(store.RetainQuery, store.RetainArgs(time.Hour, 1000)...)
	assert.Contains(t, plan, "mass_submissions_submitted")
	assert.Contains(t, plan, "mass_requests_pkey")
	assert.NotContains(t, plan, "Seq Scan", plan)
}
