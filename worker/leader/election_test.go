package leader_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/store"
)

func TestAnotherProcessTakesTheLeadership(t *testing.T) {
	t.Parallel()
	s := setup(t)
	stop := s.start(quick())
	s.start(quick())
	s.until(func() bool {
		leadership, err := s.store.TryLead(t.Context(), store.WorkerIdentity{})
		if err == nil {
			require.NoError(t, leadership.Resign(t.Context()))
		}
		return err != nil
	}, "one of them leads")
	stop()
	batch := s.insert(1)[0].BatchID
	s.until(func() bool { return s.queued(batch) }, "the other one enqueues what has no task")
}

// The server ends the session of the leader, and another process takes the lead
// before the leader renews it. The leader notices, and becomes a candidate again.
func TestALostSessionEndsTheLeadership(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.start(quick())
	batch := s.insert(1)[0].BatchID
	s.until(func() bool { return s.queued(batch) }, "the leader works")
	var thief *store.Leadership
	s.until(func() bool {
		_, err := s.db.ExecContext(t.Context(), `SELECT pg_terminate_backend(backend) FROM mass_leader`)
		require.NoError(t, err)
		thief, err = s.store.TryLead(t.Context(), store.WorkerIdentity{})
		return err == nil
	}, "another process takes the lead")
	s.until(func() bool { return strings.Contains(s.log.String(), "lost the leadership") }, "the leader notices")
	require.NoError(t, thief.Check(t.Context()), "it does not take the lead back")
	require.NoError(t, thief.Resign(t.Context()))
	batch = s.insert(1)[0].BatchID
	s.until(func() bool { return s.queued(batch) }, "the process leads again")
}
