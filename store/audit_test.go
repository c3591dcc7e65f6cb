package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/store"
)

const enterSource = `INSERT INTO audit_sources (kind, version, build_commit, host, pid) VALUES ('api', 'v1', 'abc', 'h', 7) RETURNING id`

func TestAuditEventsTellEverything(t *testing.T) {
	t.Parallel()
	b := setup(t)
	span, err := b.AuditSpan(b.ctx, store.AuditFilter{From: time.Now()})
	require.NoError(t, err)
	assert.True(t, span.Empty(), "there is no trail yet")

	var source int64
	require.NoError(t, b.db.GetContext(b.ctx, &source, enterSource))
	o := store.Origin{
		Actor: "user:12", RequestID: "R1", Client: "192.0.2.7", TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", SpanID: "00f067aa0ba902b7",
	}
	require.NoError(t, b.RecordExport(b.ctx, o, "export", "csv all"))
	require.NoError(t, b.RecordExport(b.ctx, store.Origin{Actor: "cli:ann"}, "export", "csv all"))
	_, err = b.db.ExecContext(b.ctx, `
        INSERT INTO audit_events (action, actor, source_id, input_digest, output_digest, schema_version, biocore_version)
        VALUES ('finish', 'worker:1', $1, '\x01', '\x02', '1.1', 'b2')`, source)
	require.NoError(t, err)

	span, err = b.AuditSpan(b.ctx, store.AuditFilter{})
	require.NoError(t, err)
	list, rest, err := b.WalkAudit(b.ctx, store.AuditFilter{}, span, false, 100)
	require.NoError(t, err)
	assert.True(t, rest.Empty())
	require.Len(t, list, 3)
	first := list[0]
	assert.Equal(t, []string{"export", "user:12", "R1", "192.0.2.7"}, []string{first.Action, first.Actor, first.HTTPRequestID, first.Client})
	assert.Len(t, first.TraceID, 16)
	assert.Len(t, first.SpanID, 8)
	assert.Nil(t, list[1].TraceID, "nothing, and not the empty one")
	last := list[2]
	assert.Equal(t, []string{"api", "v1", "abc", "1.1", "b2"}, []string{last.Process, last.Version, last.Commit, last.SchemaVersion, last.BioCoreVersion})
	assert.Equal(t, []byte{2}, last.OutputDigest)
}

// The ends are found by halving, whatever gaps the ids have.
func TestAuditSpanFindsTimes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.db.ExecContext(b.ctx, `
        INSERT INTO audit_events (id, at, action, actor) OVERRIDING SYSTEM VALUE
        SELECT g * g, '2026-03-01T00:00:00Z'::timestamptz + g * interval '10 minutes', 'test', 'x' FROM generate_series(1, 200) g`)
	require.NoError(t, err)
	at := func(g int) time.Time { return time.Date(2026, 3, 1, 0, 10*g, 0, 0, time.UTC) }
	for _, from := range []int{-5, 1, 2, 77, 199, 200, 300} {
		for _, to := range []int{from + 1, from + 2, from + 50, 400} {
			f := store.AuditFilter{From: at(from), Before: at(to)}
			rest, err := b.AuditSpan(b.ctx, f)
			require.NoError(t, err)
			var ids, want []int64
			for !rest.Empty() {
				var found []store.AuditEvent
				found, rest, err = b.WalkAudit(b.ctx, f, rest, false, 7)
				require.NoError(t, err)
				for i := range found {
					ids = append(ids, found[i].ID)
				}
			}
			for g := int64(max(from, 1)); g < int64(min(to, 201)); g++ {
				want = append(want, g*g)
			}
			require.Equal(t, want, ids, "%d to %d", from, to)
		}
	}
}
