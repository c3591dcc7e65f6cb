package leader_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/store"
)

func TestTheTrailIsSealedUpToTheFirstOpenTransaction(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.start(quick())
	s.insert(1)
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
	s.until(sealed(newest()), "all events are sealed")

	tx, err := s.db.BeginTxx(t.Context(), nil)
	require.NoError(t, err)
	var open int64
	require.NoError(t, tx.GetContext(t.Context(), &open, `INSERT INTO audit_events (action, actor) VALUES ('open', 'test') RETURNING id`))
	for range 3 {
		batch := s.insert(1)[0].BatchID
		s.until(func() bool { return s.queued(batch) }, "several rounds have passed")
	}
	assert.False(t, sealed(open)(), "events after the open transaction wait for it")
	require.NoError(t, tx.Commit())
	s.until(sealed(newest()), "all events are sealed")
	_, err = s.store.VerifyTrail(t.Context(), store.Verification{})
	require.NoError(t, err)
}
