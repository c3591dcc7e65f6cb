package store_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/migrations"
	"github.com/leomutto/pilot-in-a-box/store"
)

// Every event names the process that wrote it, whatever statement that was, and
// the process enters the trail once however many connections it has.
func TestEventsNameTheirProcess(t *testing.T) {
	t.Parallel()
	url := devtest.EmptyDatabase(t)
	st, err := store.Open(store.Config{URL: url, MaxOpen: 4, MaxIdle: 0, Source: store.Source{Kind: "api", Version: "v1", Commit: "abc", Host: "h", PID: 7}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	require.NoError(t, st.Ping(t.Context()), "a schema without the trail is no obstacle")
	_, err = migrations.Up(t.Context(), url)
	require.NoError(t, err)

	rows, err := st.InsertRequests(t.Context(), []store.NewRequest{{
		Payload: json.RawMessage(`{"a":1}`), SchemaVersion: "1.0-simple", Priority: jobs.Default, Origin: store.Origin{Actor: "user:1"},
	}})
	require.NoError(t, err)
	require.NoError(t, st.DeleteRequest(t.Context(), rows[0].ID, store.Origin{Actor: "user:1"}))
	span, err := st.AuditSpan(t.Context(), store.AuditFilter{})
	require.NoError(t, err)
	list, _, err := st.WalkAudit(t.Context(), store.AuditFilter{}, span, false, 100)
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.NotZero(t, list[0].SourceID)
	assert.Equal(t, list[0].SourceID, list[1].SourceID)
}
