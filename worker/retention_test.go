package worker_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/systemtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
)

func TestTheLeaderRemovesWhatIsOlderThanTheRetention(t *testing.T) {
	t.Parallel()
	s := setup(t)
	fill := func(status string, n int) {
		t.Helper()
		_, err := s.db.ExecContext(t.Context(), `
            INSERT INTO mass_requests (batch_id, payload, schema_version, status, result, created_at, run_at, finished_at)
            SELECT nextval('mass_batches'), '{}', '1.0-simple', $1::text, '{}', now() - interval '2 hours', now() + interval '1 hour',
                   CASE WHEN $1::text <> 'pending' THEN now() - interval '2 hours' END
            FROM generate_series(1, $2::int)`, status, n)
		require.NoError(t, err)
	}
	fill("done", 2500)
	fill("failed", 10)
	fill("pending", 10)
	c := quick()
	c.Reconcile.Retention = time.Hour
	s.start(c, echo)
	count := func(where string) (n int) {
		t.Helper()
		require.NoError(t, s.db.GetContext(t.Context(), &n, `SELECT count(*) FROM `+where))
		return n
	}
	require.Eventually(t, func() bool { return count(`mass_requests WHERE finished_at < now() - interval '1 hour'`) == 0 }, systemtest.Patience, 10*time.Millisecond)
	assert.Equal(t, 10, count(`mass_requests WHERE status = 'pending'`))
	id := s.submit(true, `{}`)[0]
	s.untilStatus(id, jobs.Done) // and it goes on working
	assert.GreaterOrEqual(t, count(`audit_events WHERE action = 'retain' AND request_id IS NULL`), 3, "in steps")
}

func TestWithoutARetentionEverythingStays(t *testing.T) {
	t.Parallel()
	s := setup(t)
	_, err := s.db.ExecContext(t.Context(), `
        INSERT INTO mass_requests (batch_id, payload, schema_version, status, result, created_at, finished_at)
        VALUES (1, '{}', '1.0-simple', 'done', '{}', now() - interval '10 years', now() - interval '10 years')`)
	require.NoError(t, err)
	s.start(quick(), echo)
	s.untilStatus(s.submit(false, `{}`)[0], jobs.Done) // the leader has looked several times: this one waited for it
	var n int
	require.NoError(t, s.db.GetContext(t.Context(), &n, `SELECT count(*) FROM mass_requests`))
	assert.Equal(t, 2, n)
}
