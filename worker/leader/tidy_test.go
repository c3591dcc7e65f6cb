package leader_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

func TestARequestThatWasNotStartedInTimeExpires(t *testing.T) {
	t.Parallel()
	s := setup(t)
	in, err := s.store.InsertRequests(t.Context(), []store.NewRequest{
		{Payload: json.RawMessage(`{}`), SchemaVersion: "1.0-simple", Priority: jobs.Default, ExpiresAt: time.Now().Add(-time.Second)},
		{Payload: json.RawMessage(`{}`), SchemaVersion: "1.0-simple", Priority: jobs.Default, ExpiresAt: time.Now().Add(time.Hour)},
	})
	require.NoError(t, err)
	s.start(quick())
	s.until(func() bool { return s.request(in[0].ID).Status == jobs.StatusFailed }, "the late request fails")
	assert.Contains(t, s.request(in[0].ID).Error, "expired")
	events, err := s.store.Events(t.Context(), in[0].ID, 0, 10)
	require.NoError(t, err)
	assert.Equal(t, "expire", events[len(events)-1].Action)
	assert.Equal(t, jobs.StatusPending, s.request(in[1].ID).Status)
}

// Requests that were parked under a former limit are released once there is none.
func TestParkedRequestsAreReleasedWithoutALimit(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]int{"no limit": 0, "a limit": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			in := s.insert(1)
			_, err := s.db.ExecContext(t.Context(), `UPDATE mass_requests SET parked = true`)
			require.NoError(t, err)
			c := quick()
			c.CallerMax = limit
			s.start(c)
			if limit > 0 {
				other := s.insert(1)
				s.until(func() bool { return s.queued(other[0].BatchID) }, "the leader has been at work")
				assert.False(t, s.queued(in[0].BatchID), "a parked request waits for its turn")
				return
			}
			s.until(func() bool { return s.queued(in[0].BatchID) }, "the request is released and enqueued")
		})
	}
}
