package store_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/systemtest"
	"github.com/leomutto/pilot-in-a-box/store"
)

// happen adds events to the trail.
func (b system) happen(n int) {
	b.t.Helper()
	_, err := b.db.ExecContext(b.ctx, `
        INSERT INTO audit_events (request_id, action, actor, detail, client, input_digest)
        SELECT g, 'test', 'user:'||g, 'ä '||g, '10.0.0.1', sha256('x') FROM generate_series(1, $1::int) g`, n)
	require.NoError(b.t, err)
}

// sealAll seals whatever there is, so many events a seal.
func (b system) sealAll(atMost int) {
	b.t.Helper()
	mark, err := b.MarkTrail(b.ctx)
	require.NoError(b.t, err)
	require.Eventually(b.t, func() bool {
		ok, err := b.TrailVisible(b.ctx, mark)
		return err == nil && ok
	}, systemtest.Patience, time.Millisecond)
	for {
		if _, err := b.SealEvents(b.ctx, mark.UpTo, atMost); err != nil {
			require.ErrorIs(b.t, err, store.ErrNotFound)
			return
		}
	}
}

// forge runs statements as somebody who may do everything to the database.
func (b system) forge(statements ...string) {
	b.t.Helper()
	tables := []string{"audit_events", "audit_seals"}
	for _, table := range tables {
		statements = append([]string{"ALTER TABLE " + table + " DISABLE TRIGGER USER"}, statements...)
		statements = append(statements, "ALTER TABLE "+table+" ENABLE ALWAYS TRIGGER "+table+"_append_only")
	}
	for _, s := range statements {
		_, err := b.db.ExecContext(b.ctx, s)
		require.NoError(b.t, err, s)
	}
}

func TestTheChainHolds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	report, err := b.VerifyTrail(b.ctx, store.Verification{})
	require.NoError(t, err)
	assert.Zero(t, report)

	b.happen(25)
	report, err = b.VerifyTrail(b.ctx, store.Verification{})
	require.NoError(t, err)
	assert.Equal(t, int64(25), report.Unsealed)
	assert.WithinDuration(t, time.Now(), report.Oldest, time.Minute)

	b.sealAll(10)
	b.happen(7)
	var seen []int64
	report, err = b.VerifyTrail(b.ctx, store.Verification{Progress: func(s store.Seal, _ store.Report) { seen = append(seen, s.ID) }})
	require.NoError(t, err)
	assert.Equal(t, []int64{1, 2, 3}, seen)
	assert.Equal(t, int64(25), report.Events)
	assert.Equal(t, int64(7), report.Unsealed)

	b.sealAll(10)
	last := report.Last
	assert.Contains(t, last.String(), hex.EncodeToString(last.Hash))
	for from := range int64(5) {
		report, err = b.VerifyTrail(b.ctx, store.Verification{From: from, Anchor: last.Hash})
		require.NoError(t, err, from)
		assert.Equal(t, min(4, 5-from), report.Seals)
	}
	var broken *store.BrokenTrail
	_, err = b.VerifyTrail(b.ctx, store.Verification{Anchor: make([]byte, 32)})
	require.ErrorAs(t, err, &broken, "nothing has the hash that seal 1 continues")
	_, err = b.VerifyTrail(b.ctx, store.Verification{From: 9})
	require.ErrorAs(t, err, &broken)

	_, err = b.SealEvents(b.ctx, 32, 10)
	require.ErrorIs(t, err, store.ErrNotFound, "all is sealed")
}

func TestEveryForgeryIsNamed(t *testing.T) {
	t.Parallel()
	const insert = `INSERT INTO audit_events (id, action, actor) OVERRIDING SYSTEM VALUE VALUES `
	// Events 1–25 without 12, in seals of up to 10: 1–10, 11–21, 22–25.
	cases := map[string]struct {
		forgery     string
		seal, event int64
		says        string
	}{
		"time":        {`UPDATE audit_events SET at = at + interval '1 microsecond' WHERE id = 14`, 2, 14, "changed"},
		"infinity":    {`ALTER TABLE audit_events DROP CONSTRAINT audit_events_at_finite; UPDATE audit_events SET at = 'infinity' WHERE id = 3`, 1, 3, "changed"},
		"null":        {`UPDATE audit_events SET detail = '' WHERE detail IS NULL OR id = 7`, 1, 7, "changed"},
		"empty":       {`UPDATE audit_events SET from_status = '' WHERE id = 7`, 1, 7, "changed"},
		"swap":        {`UPDATE audit_events SET from_status = to_status, to_status = from_status, client = detail, detail = client WHERE id = 21`, 2, 21, "changed"},
		"one of two":  {`UPDATE audit_events SET actor = 'user:0' WHERE id IN (9, 2)`, 1, 2, "changed"},
		"delete":      {`DELETE FROM audit_events WHERE id = 23`, 3, 23, "missing"},
		"first":       {`DELETE FROM audit_events WHERE id = 1`, 1, 1, "missing"},
		"last":        {`DELETE FROM audit_events WHERE id = 10`, 1, 10, "missing"},
		"all":         {`DELETE FROM audit_events`, 1, 1, "missing"},
		"insert":      {insert + `(12, 'a', 'b')`, 2, 12, "added"},
		"renumber":    {`ALTER TABLE audit_events ALTER id DROP IDENTITY; UPDATE audit_events SET id = 12 WHERE id = 13`, 2, 12, "added"},
		"early":       {insert + `(0, 'a', 'b')`, 1, 0, "added"},
		"seal":        {`UPDATE audit_seals SET sealed_at = sealed_at + interval '1 second' WHERE id = 2`, 2, 0, "changed"},
		"marks":       {`UPDATE audit_seals SET marks = substr(marks, 6) WHERE id = 2`, 2, 0, "changed"},
		"first seal":  {`DELETE FROM audit_seals WHERE id = 1`, 1, 0, "missing"},
		"some seal":   {`DELETE FROM audit_seals WHERE id = 2`, 2, 0, "missing"},
		"seal number": {`DELETE FROM audit_seals WHERE id = 2; UPDATE audit_seals SET id = 2 WHERE id = 3`, 2, 0, "changed"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.happen(11)
			_, err := b.db.ExecContext(b.ctx, `SELECT nextval('audit_events_id_seq')`)
			require.NoError(t, err)
			b.happen(13) // 13 to 25
			b.sealAll(10)
			_, err = b.VerifyTrail(b.ctx, store.Verification{})
			require.NoError(t, err)

			b.forge(strings.Split(c.forgery, "; ")...)
			_, err = b.VerifyTrail(b.ctx, store.Verification{})
			var broken *store.BrokenTrail
			require.ErrorAs(t, err, &broken)
			assert.Equal(t, c.seal, broken.Seal, broken)
			assert.Equal(t, c.event, broken.Event, broken)
			assert.Contains(t, broken.Error(), c.says)
		})
	}
}

func TestAnAnchorTellsAChainThatWasMadeAnew(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.happen(20)
	b.sealAll(10)
	written, err := b.LastSeal(b.ctx)
	require.NoError(t, err)
	b.forge(`UPDATE audit_events SET actor = 'nobody' WHERE id = 4`, `DELETE FROM audit_seals`)
	b.sealAll(10)
	_, err = b.VerifyTrail(b.ctx, store.Verification{})
	require.NoError(t, err, "who may do everything can make the chain anew")
	_, err = b.VerifyTrail(b.ctx, store.Verification{Anchor: written.Hash})
	var broken *store.BrokenTrail
	require.ErrorAs(t, err, &broken)
	assert.Contains(t, broken.Error(), "anchor")
}

func TestTheSealerWaitsForWhoeverMayStillWrite(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.happen(3)
	late, err := b.db.BeginTxx(b.ctx, nil)
	require.NoError(t, err)
	_, err = late.ExecContext(b.ctx, `INSERT INTO audit_events (action, actor) VALUES ('late', 'test')`)
	require.NoError(t, err)
	b.happen(3)

	mark, err := b.MarkTrail(b.ctx)
	require.NoError(t, err)
	assert.Equal(t, int64(7), mark.UpTo)
	b.happen(3) // who comes after the mark does not hold it up
	ok, err := b.TrailVisible(b.ctx, mark)
	require.NoError(t, err)
	assert.False(t, ok, "event 4 is still to come")
	require.NoError(t, late.Commit())
	ok, err = b.TrailVisible(b.ctx, mark)
	require.NoError(t, err)
	assert.True(t, ok)
	seal, err := b.SealEvents(b.ctx, mark.UpTo, 100)
	require.NoError(t, err)
	assert.Equal(t, 7, seal.Events)
}

// A newest seal that ends beyond the events to be sealed, and is not broken, shows
// that the chain changed after it was read. A sealer that took these events for
// sealed would leave them until the next event comes.
func TestASealBeyondTheEventsIsAConflict(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.happen(10)
	b.sealAll(100)
	_, err := b.SealEvents(b.ctx, 10, 100)
	require.ErrorIs(t, err, store.ErrNotFound, "all ten are sealed")
	_, err = b.SealEvents(b.ctx, 9, 100)
	require.ErrorIs(t, err, store.ErrConflict)
}

// What docs/audit.md says about how to compute the hashes without this program.
func TestTheHashesCanBeComputedInSQL(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.happen(5)
	b.sealAll(10)
	seal, err := b.LastSeal(b.ctx)
	require.NoError(t, err)
	var block, whole []byte
	require.NoError(t, b.db.GetContext(b.ctx, &block, `
        SELECT sha256(convert_to(E'mass audit block 1\n', 'UTF8') || string_agg(sha256(record_send(ROW(
                   id, at, request_id, batch_id, attempt, action, actor, from_status, to_status, detail, source_id, http_request_id, client,
                   schema_version, biocore_version, input_digest, output_digest, trace_id, span_id))), ''::bytea ORDER BY id))
        FROM audit_events WHERE id BETWEEN 1 AND 5`))
	assert.Equal(t, seal.Block, block)
	require.NoError(t, b.db.GetContext(b.ctx, &whole, `
        SELECT sha256(convert_to(E'mass audit seal 1\n', 'UTF8') || int8send(id) || int8send(first_event) || int8send(last_event)
                   || int8send(events) || int8send((extract(epoch FROM sealed_at) * 1000000)::bigint) || block_hash || sha256(marks) || previous_hash)
        FROM audit_seals WHERE id = 1`))
	assert.Equal(t, seal.Hash, whole)
	assert.Equal(t, make([]byte, sha256.Size), seal.Previous)
}

func TestEveryColumnIsSealed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var columns []string
	require.NoError(t, b.db.SelectContext(b.ctx, &columns,
		`SELECT column_name FROM information_schema.columns WHERE table_name = 'audit_events'`))
	assert.ElementsMatch(t, columns, strings.Split(strings.Join(strings.Fields(store.SealedColumns), ""), ","))
}

func TestTheTrailAndItsSealsAreAppendOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.happen(1)
	b.sealAll(10)
	_, err := b.db.ExecContext(b.ctx, enterSource)
	require.NoError(t, err)
	for table, column := range map[string]string{"audit_events": "detail = ''", "audit_seals": "events = 2", "audit_sources": "host = ''"} {
		for _, statement := range []string{"UPDATE %s SET " + column, "DELETE FROM %s", "TRUNCATE %s"} {
			for _, role := range []string{"origin", "replica"} {
				tx, err := b.db.BeginTxx(b.ctx, nil)
				require.NoError(t, err)
				_, err = tx.ExecContext(b.ctx, "SET LOCAL session_replication_role = "+role)
				require.NoError(t, err)
				_, err = tx.ExecContext(b.ctx, fmt.Sprintf(statement, table))
				assert.ErrorContains(t, err, "append-only")
				require.NoError(t, tx.Rollback())
			}
		}
	}
}

func TestNothingIsLateUnderLoad(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var writers sync.WaitGroup
	for w := range 6 {
		writers.Go(func() {
			for i := range 60 {
				tx, err := b.db.BeginTxx(b.ctx, nil)
				if !assert.NoError(t, err) {
					return
				}
				for range 1 + (w+i)%3 {
					_, err = tx.ExecContext(b.ctx, `INSERT INTO audit_events (action, actor) SELECT 'test', pg_sleep(0.0002)::text FROM generate_series(1, 5)`)
					assert.NoError(t, err)
				}
				if i%7 == 0 {
					assert.NoError(t, tx.Rollback())
				} else {
					assert.NoError(t, tx.Commit())
				}
			}
		})
	}
	ended := make(chan struct{})
	go func() { writers.Wait(); close(ended) }()
	for over := false; !over; {
		select {
		case <-ended:
			over = true // and once more
		default:
		}
		b.sealAll(50)
	}
	report, err := b.VerifyTrail(b.ctx, store.Verification{})
	require.NoError(t, err)
	assert.Zero(t, report.Unsealed)
	assert.Greater(t, report.Seals, int64(50))
	var n int64
	require.NoError(t, b.db.GetContext(b.ctx, &n, `SELECT count(*) FROM audit_events`))
	assert.Equal(t, n, report.Events)
}
