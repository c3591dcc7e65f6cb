package leader_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
	"github.com/leomutto/pilot-in-a-box/worker/leader"
)

// Several leaders at once, which the lease prevents but a frozen process may
// cause for a moment, do nothing twice: each duty is a single statement that
// checks the state that it changes, or is repeated without harm.
func TestSeveralLeadersDoNothingTwice(t *testing.T) {
	t.Parallel()
	s := setup(t)
	silent, err := s.store.RegisterWorker(t.Context(), "elsewhere", 1, "test") // it claims, and never beats
	require.NoError(t, err)
	const rescued, expired, waiting = 60, 60, 20
	in := s.insert(rescued)
	claimed, _, err := s.store.ClaimBatches(t.Context(), silent, []int64{in[0].BatchID}, 1<<20)
	require.NoError(t, err)
	require.Len(t, claimed, rescued)
	late := make([]store.NewRequest, expired)
	for i := range late {
		late[i] = store.NewRequest{Payload: json.RawMessage(`{}`), SchemaVersion: "1.0-simple", Priority: jobs.Default, ExpiresAt: time.Now().Add(-time.Second)}
	}
	_, err = s.store.InsertRequests(t.Context(), late)
	require.NoError(t, err)
	var batches []int64
	for range waiting {
		batches = append(batches, s.insert(1)[0].BatchID)
	}

	ctx, stop := context.WithCancel(t.Context())
	var leaders sync.WaitGroup
	for range 3 {
		c := quick()
		c.Step = 7 // so that the leaders meet in the middle of their work
		leaders.Go(func() {
			leader.New(s.store, s.rdb, s.enq, c, slog.New(slog.NewTextHandler(&s.log, nil))).LeadWithoutElection(ctx)
		})
	}
	count := func(query string) (n int) {
		require.NoError(t, s.db.GetContext(t.Context(), &n, query))
		return n
	}
	s.until(func() bool {
		return count(`SELECT count(*) FROM mass_requests WHERE status = 'processing' OR status = 'pending' AND expires_at IS NOT NULL`) == 0
	}, "the requests are rescued, or have expired")
	for _, batch := range batches {
		s.until(func() bool { return s.queued(batch) }, "every batch has its task")
	}
	newest := count(`SELECT max(id) FROM audit_events`)
	s.until(func() bool {
		last, err := s.store.LastSeal(t.Context())
		return err == nil && last.LastEvent >= int64(newest)
	}, "the trail is sealed")
	stop()
	leaders.Wait()

	assert.Equal(t, rescued, count(`SELECT count(*) FROM audit_events WHERE action = 'rescue'`), "each request is rescued once")
	assert.Zero(t, count(`SELECT count(*) FROM mass_requests WHERE rescues > 1`))
	assert.Equal(t, expired, count(`SELECT count(*) FROM audit_events WHERE action = 'expire'`), "each request expires once")
	assert.Equal(t, rescued+waiting, count(`SELECT count(*) FROM mass_requests WHERE status = 'pending'`))
	report, err := s.store.VerifyTrail(t.Context(), store.Verification{})
	require.NoError(t, err, "the seals form one chain: %+v", report)
}
