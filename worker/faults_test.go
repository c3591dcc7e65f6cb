package worker_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/internal/systemtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
)

// private is a system whose servers the test may kill.
func private(t *testing.T) (*system, *devtest.Servers) {
	t.Helper()
	s, servers := systemtest.NewPrivate(t)
	return newSystem(t, s), servers
}

func TestARunningRequestOutlivesRedis(t *testing.T) {
	t.Parallel()
	s, stack := private(t)
	g := newGate()
	s.start(quick(), g.run)
	id := s.submit(true, `{}`)[0]
	waiting := s.submit(true, `{}`)[0]
	<-g.started
	require.NoError(t, stack.KillRedis())
	close(g.open)
	s.untilStatus(id, jobs.StatusDone)
	require.NoError(t, stack.RestartRedis(t.Context()))
	s.untilStatus(waiting, jobs.StatusDone)
	late := s.submit(true, `{}`)[0]
	s.untilStatus(late, jobs.StatusDone)
	for _, id := range []int64{id, waiting, late} {
		assert.Equal(t, []string{"submit", "claim", "finish"}, s.actions(id))
	}
}

func TestAnOutcomeWaitsForPostgres(t *testing.T) {
	t.Parallel()
	s, stack := private(t)
	g := newGate()
	s.start(quick(), g.run)
	id := s.submit(true, `{}`)[0]
	<-g.started
	require.NoError(t, stack.KillPostgres())
	close(g.open)
	require.NoError(t, stack.RestartPostgres(t.Context()))
	s.untilStatus(id, jobs.StatusDone)
	s.untilStatus(s.submit(true, `{}`)[0], jobs.StatusDone)
	var finishes int
	for _, a := range s.actions(id) {
		if a == "finish" {
			finishes++
		}
	}
	assert.Equal(t, 1, finishes, "done is reached once")
}

func TestSilentWorkersAreRescuedWhileRedisIsFrozen(t *testing.T) {
	t.Parallel()
	s, stack := private(t)
	id := s.submit(false, `{}`)[0]
	r := s.until(id, "is there", func(jobs.Request) bool { return true })
	dead, err := s.store.RegisterWorker(t.Context(), "elsewhere", 1, "test") // it claims, but never beats
	require.NoError(t, err)
	_, _, err = s.store.ClaimBatches(t.Context(), dead, []int64{r.BatchID}, 16<<20)
	require.NoError(t, err)

	require.NoError(t, stack.PauseRedis())
	s.start(rescuing(), echo)
	s.until(id, "is taken from the dead worker", func(r jobs.Request) bool { return r.Rescues == 1 })
	require.NoError(t, stack.ResumeRedis())
	s.untilStatus(id, jobs.StatusDone)
}

func TestAWorkerWaitsForPostgresAtTheStart(t *testing.T) {
	t.Parallel()
	s, stack := private(t)
	id := s.submit(true, `{}`)[0]
	require.NoError(t, stack.KillPostgres())
	s.start(quick(), echo)
	require.NoError(t, stack.RestartPostgres(t.Context()))
	s.untilStatus(id, jobs.StatusDone)
}
