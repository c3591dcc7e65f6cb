package worker_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// at stores a request that is due after a time, and schedules its task after
// another time; zero: at once.
func (s *system) at(due, delivery time.Duration) int64 {
	s.t.Helper()
	var now time.Time // of Postgres
	require.NoError(s.t, s.db.GetContext(s.t.Context(), &now, `SELECT now()`))
	rows, err := s.store.InsertRequests(s.t.Context(), []store.NewRequest{{
		Payload: json.RawMessage(`{}`), SchemaVersion: "1.0-simple", Priority: jobs.Default, RunAt: now.Add(due),
	}})
	require.NoError(s.t, err)
	b := jobs.Batch{ID: rows[0].BatchID, Priority: jobs.Default, Requests: []int64{rows[0].ID}}
	if delivery > 0 {
		b.RunAt = now.Add(delivery)
	}
	require.NoError(s.t, s.enq.Enqueue(s.t.Context(), b))
	return rows[0].ID
}

// A request starts no earlier than it is due, even if Asynq, which counts whole
// seconds, or a worker with a wrong clock delivers it too early.
func TestNoRequestBeginsBeforeItsTime(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.start(quick(), echo)
	for _, due := range []time.Duration{300 * time.Millisecond, 900 * time.Millisecond, 3500 * time.Millisecond} {
		id := s.at(due, 0)
		r := s.untilStatus(id, jobs.StatusDone)
		assert.False(t, r.StartedAt.Before(r.RunAt), "due %v, begun %v", r.RunAt, r.StartedAt)
		assert.Equal(t, []string{"submit", "claim", "finish"}, s.actions(id))
	}
}

// A task that still waits for its time by some other clock is run once it is due by
// the clock of Postgres.
func TestADueRequestDoesNotWaitForASlowClock(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.start(quick(), echo)
	s.untilStatus(s.at(-5*time.Second, time.Hour), jobs.StatusDone)
}
