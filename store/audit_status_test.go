package store_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/lib/pq"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/store"
)

// addSeal inserts a seal that continues seal 2 of a trail of 20 events, except
// for what the test changes.
func (b system) addSeal(change string) error {
	values := map[string]string{
		"id": "id + 1", "first_event": "last_event + 1", "last_event": "last_event + 5", "previous_hash": "seal_hash",
	}
	if column, value, ok := strings.Cut(change, "="); ok {
		values[column] = value
	}
	_, err := b.db.ExecContext(b.ctx, fmt.Sprintf(`
        INSERT INTO audit_seals (id, first_event, last_event, sealed_at, events, version, block_hash, previous_hash, seal_hash, marks)
        SELECT %s, %s, %s, now(), 5, 1, seal_hash, %s, sha256(seal_hash), '' FROM audit_seals ORDER BY id DESC LIMIT 1`,
		values["id"], values["first_event"], values["last_event"], values["previous_hash"]))
	return err
}

// A seal after which no event could be sealed is refused, whoever adds it: here
// it is the owner of the tables, and a superuser.
func TestASealMustContinueTheChain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.happen(20)
	b.sealAll(10)
	b.happen(5)
	for change, says := range map[string]string{
		"last_event=last_event + 1000000000": "ends at event 1000000020, but the newest event is 25",
		"last_event=last_event + 6":          "ends at event 26, but the newest event is 25",
		"id=id + 2":                          "seal 4 does not follow seal 2",
		"id=id - 5":                          "does not follow seal 2",
		"first_event=last_event + 2":         "does not continue the chain",
		"first_event=last_event":             "does not continue the chain",
		"previous_hash=block_hash":           "does not continue the chain",
		"id=id":                              "audit_seals_pkey",
	} {
		err := b.addSeal(change)
		var refused *pq.Error
		require.ErrorAs(t, err, &refused, change)
		assert.Contains(t, refused.Message, says, change)
		assert.Equal(t, "23", string(refused.Code[:2]), change)
	}
	// A temporary table that hides the sequence changes nothing.
	tx, err := b.db.BeginTxx(b.ctx, nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(b.ctx, `CREATE TEMP TABLE audit_events_id_seq AS SELECT 9223372036854775807 AS last_value, true AS is_called`)
	require.NoError(t, err)
	_, err = tx.ExecContext(b.ctx, `
        INSERT INTO audit_seals SELECT id + 1, last_event + 1, last_event + 1000, now(), 5, 1, seal_hash, seal_hash, seal_hash, '' FROM audit_seals ORDER BY id DESC LIMIT 1`)
	require.ErrorContains(t, err, "but the newest event is 25")
	require.NoError(t, tx.Rollback())

	b.sealAll(10)
	status, err := b.SealStatus(b.ctx)
	require.NoError(t, err)
	assert.Equal(t, int64(25), status.Last.LastEvent)
	assert.Empty(t, status.Problem())
	_, err = b.VerifyTrail(b.ctx, store.Verification{})
	require.NoError(t, err)
}

// What docs/audit.md says about a seal that ends sealing: it is told, and the
// documented statements mend it.
func TestABrokenEndIsToldAndMended(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.happen(20)
	b.sealAll(10)
	b.forge() // leaves the trigger disabled that would refuse the seal
	require.NoError(t, b.addSeal("last_event=last_event + 1000000000"))
	_, err := b.db.ExecContext(b.ctx, `ALTER TABLE audit_seals ENABLE TRIGGER audit_seals_continue`)
	require.NoError(t, err)
	b.happen(5)

	var broken *store.BrokenTrail
	_, err = b.SealEvents(b.ctx, 25, 10)
	require.ErrorAs(t, err, &broken)
	assert.Equal(t, int64(3), broken.Seal)
	status, err := b.SealStatus(b.ctx)
	require.NoError(t, err)
	assert.Equal(t, "seal 3 ends at event 1000000020, but the newest event is 25: no event can be sealed after it", status.Problem())

	page, err := os.ReadFile("../docs/audit.md")
	require.NoError(t, err)
	_, script, ok := strings.Cut(string(page), "```sql\nBEGIN;\n")
	require.True(t, ok)
	script, _, ok = strings.Cut(script, "COMMIT;")
	require.True(t, ok)
	require.Contains(t, script, "id >= 16")
	_, err = b.db.ExecContext(b.ctx, "BEGIN; "+strings.ReplaceAll(script, "id >= 16", "id >= 3")+" COMMIT")
	require.NoError(t, err)
	assert.Contains(t, b.deeds()[len(b.deeds())-1], "seal_remove seal 3 (events 21 to 1000000020)")
	b.sealAll(10)
	status, err = b.SealStatus(b.ctx)
	require.NoError(t, err)
	assert.Equal(t, int64(26), status.Last.LastEvent)
	assert.Empty(t, status.Problem())
	report, err := b.VerifyTrail(b.ctx, store.Verification{})
	require.NoError(t, err)
	assert.Zero(t, report.Unsealed)
	_, err = b.db.ExecContext(b.ctx, `DELETE FROM audit_seals`)
	require.ErrorContains(t, err, "append-only", "the guard is back")
}

func TestEventsThatWaitForASealAreAFault(t *testing.T) {
	t.Parallel()
	b := setup(t)
	status, err := b.SealStatus(b.ctx)
	require.NoError(t, err)
	assert.Empty(t, status.Problem(), "nothing has happened")
	b.happen(1)
	status, err = b.SealStatus(b.ctx)
	require.NoError(t, err)
	assert.Empty(t, status.Problem(), "the event is new")
	old := func() {
		_, err := b.db.ExecContext(b.ctx, `INSERT INTO audit_events (at, action, actor) VALUES (now() - interval '1 hour', 'test', 'ann')`)
		require.NoError(t, err)
	}
	b.sealAll(10)
	old()
	status, err = b.SealStatus(b.ctx)
	require.NoError(t, err)
	assert.Empty(t, status.Problem(), "the sealer lags behind and goes on")
	b.forge(`UPDATE audit_seals SET sealed_at = now() - interval '30 minutes'`)
	status, err = b.SealStatus(b.ctx)
	require.NoError(t, err)
	assert.Contains(t, status.Problem(), "the audit trail was last sealed at")
	b.forge(`DELETE FROM audit_seals`, `DELETE FROM audit_events WHERE id = 1`)
	status, err = b.SealStatus(b.ctx)
	require.NoError(t, err)
	assert.Contains(t, status.Problem(), "the audit trail has no seal, although events have waited for one since")
}
