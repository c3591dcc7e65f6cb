package leader_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
	"github.com/leomutto/pilot-in-a-box/store"
)

// measure submits a signals request of an hour, and ends it as done.
func (s *system) measure(hour int) (id int64) {
	s.t.Helper()
	ctx := s.t.Context()
	from := time.Date(2026, 3, 1, hour, 0, 0, 0, time.UTC)
	payload := fmt.Sprintf(`{"schema_version":"1.1","request":{"time_window":{"start_utc":%q,"end_utc":%q},"assets":{"site_id":"oslo"},
        "signals":{"energy":{"it_load_kw":100,"facility_power_kw":130}},"constraints":{"hard":{"no_control_actions":true}}}}`,
		from.Format(time.RFC3339), from.Add(time.Hour).Format(time.RFC3339))
	in, err := s.store.InsertRequests(ctx, []store.NewRequest{{Payload: json.RawMessage(payload), SchemaVersion: signals.Version, Priority: jobs.Default}})
	require.NoError(s.t, err)
	worker, err := s.store.RegisterWorker(ctx, "host", 1, "test")
	require.NoError(s.t, err)
	claimed, _, err := s.store.ClaimBatches(ctx, worker, []int64{in[0].BatchID}, 1<<20)
	require.NoError(s.t, err)
	_, err = s.store.WriteOutcomes(ctx, worker, []jobs.Outcome{{Lease: claimed[0].Lease, Action: jobs.Finish, Result: jobs.Result{JSON: json.RawMessage(`{}`)}}})
	require.NoError(s.t, err)
	return in[0].ID
}

func (s *system) readings() (n int) {
	s.t.Helper()
	require.NoError(s.t, s.db.GetContext(s.t.Context(), &n, `SELECT count(*) FROM readings`))
	return n
}

// The readings follow the requests, and continue where another leader stopped. A
// transaction that is still open when a later event is visible already is not
// passed over.
func TestReadingsFollowTheTrail(t *testing.T) {
	t.Parallel()
	s := setup(t)
	stop := s.start(quick())
	s.measure(0)
	s.until(func() bool { return s.readings() == 1 }, "the first reading")
	stop()

	s.measure(1)
	open, err := s.db.BeginTxx(t.Context(), nil)
	require.NoError(t, err)
	_, err = open.ExecContext(t.Context(), `INSERT INTO audit_events (action, actor) VALUES ('test', 'test')`) // draws an id
	require.NoError(t, err)
	s.measure(2)
	s.start(quick())
	batch := s.insert(1)[0].BatchID
	s.until(func() bool { return s.queued(batch) }, "a round has passed")
	position, err := s.store.ReadingsPosition(context.WithoutCancel(t.Context()))
	require.NoError(t, err)
	var uncommitted int64
	require.NoError(t, open.GetContext(t.Context(), &uncommitted, `SELECT max(id) FROM audit_events WHERE action = 'test'`))
	require.Less(t, position, uncommitted)
	require.NoError(t, open.Commit())
	s.until(func() bool { return s.readings() == 3 }, "the readings of both others")
}

// The leader rolls up what the readings say, and forgets months past their
// retention.
func TestTheLeaderRollsUpAndForgets(t *testing.T) {
	t.Parallel()
	s := setup(t)
	stop := s.start(quick())
	s.measure(0)
	s.measure(1)
	s.until(func() bool {
		status, err := s.store.ReadingsStatus(t.Context())
		require.NoError(t, err)
		return status.Readings == 2 && status.Dirty == 0
	}, "both are rolled up")
	report, err := s.store.VerifyRollups(t.Context())
	require.NoError(t, err)
	require.Equal(t, store.RollupReport{Hours: 2, Days: 1}, report)
	stop()

	c := quick()
	c.ReadingsRetention = 24 * time.Hour
	s.start(c)
	s.until(func() bool { return s.readings() == 0 }, "the month has been removed")
}
