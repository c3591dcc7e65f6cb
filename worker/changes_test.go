package worker_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
)

// A worker announces its claims and outcomes once they are committed.
func TestChangesAreAnnounced(t *testing.T) {
	t.Parallel()
	s := setup(t)
	// All databases of this Redis share the channel: no other test has these ids.
	const first = 3_000_000_000
	_, err := s.db.ExecContext(t.Context(), `SELECT setval('mass_requests_id_seq', $1)`, first)
	require.NoError(t, err)
	heard := make(chan int64, 10000)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	subscribed := make(chan struct{}, 100)
	go func() {
		defer close(done)
		queue.HearChanges(ctx, s.rdb, func(ids []int64) {
			if ids == nil {
				subscribed <- struct{}{}
			}
			for _, id := range ids {
				if id > first {
					heard <- id
				}
			}
		})
	}()
	defer func() { stop(); <-done }()
	<-subscribed

	g := newGate()
	s.start(quick(), g.run)
	id := s.submit(true, `{}`)[0]
	require.Equal(t, id, <-heard, "the claim")
	r, err := s.store.Request(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, jobs.StatusProcessing, r.Status)
	<-g.started
	close(g.open)
	require.Equal(t, id, <-heard, "the outcome")
	r, err = s.store.Request(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, jobs.StatusDone, r.Status)
}
