package jobs_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

func TestTheTableOfTransitions(t *testing.T) {
	t.Parallel()
	// The whole table, written down a second time: for each state, the targets
	// that a person may choose.
	want := map[jobs.Status][]jobs.Status{
		jobs.StatusPending:    {jobs.StatusCancelled},
		jobs.StatusProcessing: {jobs.StatusCancelled},
		jobs.StatusDone:       {jobs.StatusPending},
		jobs.StatusFailed:     {jobs.StatusPending},
		jobs.StatusCancelled:  {jobs.StatusPending},
	}
	for _, from := range jobs.Statuses() {
		assert.Equal(t, want[from], jobs.PersonTargets(from), from)
		for _, to := range jobs.Statuses() {
			_, ok := jobs.PersonAction(from, to)
			assert.Equal(t, slices.Contains(want[from], to), ok, "%s → %s", from, to)
		}
	}
	for _, tr := range jobs.Transitions() {
		assert.NotEmpty(t, tr.From, tr.Action)
		assert.Equal(t, tr.From, tr.Action.From())
		if tr.To != "" && !tr.To.Final() && tr.Action != jobs.Replay {
			for _, from := range tr.From {
				assert.False(t, from.Final(), "only a replay leaves a final state, not %s", tr.Action)
			}
		}
	}
	err := &jobs.TransitionError{From: jobs.StatusDone, To: jobs.StatusCancelled}
	assert.EqualError(t, err, "a done request cannot be set to cancelled; allowed: [pending]")
}

func TestEachPriorityHasAQueue(t *testing.T) {
	t.Parallel()
	for _, p := range jobs.Priorities() {
		assert.Positive(t, jobs.QueueWeights()[jobs.QueueName(p, 0)])
	}
}

func TestRetryPolicy(t *testing.T) {
	t.Parallel()
	p := jobs.RetryPolicy{MaxTries: 5, Base: time.Second, Max: 10 * time.Second, Jitter: 0.5}
	assert.True(t, p.Again(4))
	assert.False(t, p.Again(5))
	for failures, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 4: 8 * time.Second, 5: 10 * time.Second, 5000: 10 * time.Second} {
		assert.Equal(t, want, p.Delay(failures, 0), "after %d", failures)
		assert.Equal(t, want+want/2, p.Delay(failures, 1), "after %d, with all the jitter", failures)
	}
	assert.Equal(t, time.Second, p.Delay(0, 0))
}

func TestTaskIDs(t *testing.T) {
	t.Parallel()
	for _, id := range []int64{1, 42, 1 << 62} {
		got, ok := jobs.ParseTaskID(jobs.TaskID(id))
		assert.True(t, ok)
		assert.Equal(t, id, got)
	}
	for _, bad := range []string{"", "batch_", "batch_0", "batch_-1", "batch_x", "batch_99999999999999999999", "7"} {
		_, ok := jobs.ParseTaskID(bad)
		assert.False(t, ok, bad)
	}
}

func TestBatchPayload(t *testing.T) {
	t.Parallel()
	raw, err := json.Marshal(jobs.Batch{ID: 7, Priority: jobs.High, Requests: []int64{100, 101}}.Payload())
	require.NoError(t, err)
	assert.Equal(t, `{"batch":7}`, string(raw))
	p, err := jobs.ParseBatchPayload(raw)
	require.NoError(t, err)
	assert.EqualValues(t, 7, p.Batch)
	for _, bad := range []string{"", "{}", `{"batch": 0}`, `{"batch": -1}`, `{"batch": "7"}`, "null", "\xff"} {
		_, err := jobs.ParseBatchPayload([]byte(bad))
		assert.Error(t, err, bad)
	}
}

func FuzzParseBatchPayload(f *testing.F) {
	f.Add([]byte(`{"batch": 7}`))
	f.Add([]byte(`{"batch":7,"n":64}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := jobs.ParseBatchPayload(raw)
		if err != nil {
			return
		}
		if p.Batch <= 0 {
			t.Errorf("accepted batch %d", p.Batch)
		}
		encoded, err := json.Marshal(p)
		require.NoError(t, err)
		again, err := jobs.ParseBatchPayload(encoded)
		require.NoError(t, err)
		require.Equal(t, p, again)
	})
}
