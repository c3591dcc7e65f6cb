package leader_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnotherProcessTakesTheLeadership(t *testing.T) {
	t.Parallel()
	s := setup(t)
	stop := s.start(quick())
	s.start(quick())
	s.until(func() bool {
		leadership, err := s.store.TryLead(t.Context())
		if err == nil {
			require.NoError(t, leadership.Resign(t.Context()))
		}
		return err != nil
	}, "one of them leads")
	stop()
	batch := s.insert(1)[0].BatchID
	s.until(func() bool { return s.queued(batch) }, "the other one enqueues what has no task")
}

// Postgres ends the session that holds the leadership. The process notices, and
// stands for election again.
func TestALostSessionEndsTheLeadership(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.start(quick())
	batch := s.insert(1)[0].BatchID
	s.until(func() bool { return s.queued(batch) }, "the leader works")
	var ended int
	require.NoError(t, s.db.GetContext(t.Context(), &ended, `
        SELECT count(pg_terminate_backend(pid)) FROM pg_locks
        WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`))
	require.Equal(t, 1, ended)
	batch = s.insert(1)[0].BatchID
	s.until(func() bool { return s.queued(batch) }, "the process leads again")
}
