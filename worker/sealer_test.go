package worker_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/systemtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

func TestTheLeaderSealsTheTrail(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.start(quick(), echo)
	s.untilStatus(s.submit(true, `{}`)[0], jobs.Done)
	sealed := func(event int64) func() bool {
		return func() bool {
			last, err := s.store.LastSeal(t.Context())
			return err == nil && last.LastEvent >= event
		}
	}
	newest := func() (id int64) {
		require.NoError(t, s.db.GetContext(t.Context(), &id, `SELECT max(id) FROM audit_events`))
		return id
	}
	require.Eventually(t, sealed(newest()), systemtest.Patience, 5*time.Millisecond)

	tx, err := s.db.BeginTxx(t.Context(), nil)
	require.NoError(t, err)
	var open int64
	require.NoError(t, tx.GetContext(t.Context(), &open, `INSERT INTO audit_events (action, actor) VALUES ('open', 'test') RETURNING id`))
	for range 3 {
		s.untilStatus(s.submit(true, `{}`)[0], jobs.Done)
	}
	assert.False(t, sealed(open)(), "what comes after the open one waits for it")
	require.NoError(t, tx.Commit())
	require.Eventually(t, sealed(newest()), systemtest.Patience, 5*time.Millisecond)
	_, err = s.store.VerifyTrail(t.Context(), store.Verification{})
	require.NoError(t, err)
}
