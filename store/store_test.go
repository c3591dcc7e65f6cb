package store_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/systemtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

func TestMain(m *testing.M) { systemtest.Main(m) }

// system is a store on a database of its own, with a second connection to look
// behind it.
type system struct {
	*store.Store
	db  *sqlx.DB
	ctx context.Context
	t   *testing.T
}

func setup(t *testing.T) system {
	t.Helper()
	d := systemtest.NewDatabase(t)
	return system{Store: d.Store, db: d.DB, ctx: t.Context(), t: t}
}

// submit inserts one request per payload, all in one batch.
func (b system) submit(payloads ...string) []store.Inserted {
	b.t.Helper()
	var items []store.NewRequest
	for _, p := range payloads {
		items = append(items, store.NewRequest{Payload: json.RawMessage(p), SchemaVersion: "1.0-simple", Priority: jobs.Default})
	}
	in, err := b.InsertRequests(b.ctx, items)
	require.NoError(b.t, err)
	return in
}

func (b system) worker() store.WorkerIdentity {
	b.t.Helper()
	id, err := b.RegisterWorker(b.ctx, "host", 1, "test")
	require.NoError(b.t, err)
	return id
}

func (b system) claim(worker store.WorkerIdentity, batch int64) []jobs.Claimed {
	b.t.Helper()
	c, _, err := b.ClaimBatches(b.ctx, worker, []int64{batch}, 16<<20)
	require.NoError(b.t, err)
	return c
}

func (b system) settle(worker store.WorkerIdentity, o jobs.Outcome) store.OutcomeResult {
	b.t.Helper()
	s, err := b.WriteOutcomes(b.ctx, worker, []jobs.Outcome{o})
	require.NoError(b.t, err)
	return s[0]
}

// holder is the worker that holds a request; zero when nobody does.
func (b system) holder(id int64) (worker store.WorkerIdentity) {
	b.t.Helper()
	require.NoError(b.t, b.db.GetContext(b.ctx, &worker, `
        SELECT coalesce(r.claimed_by, 0) AS id, coalesce(w.token::text, '') AS token
        FROM mass_requests r LEFT JOIN mass_workers w ON w.id = r.claimed_by WHERE r.id = $1`, id))
	return worker
}

func (b system) get(id int64) jobs.Request {
	b.t.Helper()
	r, err := b.Request(b.ctx, id)
	require.NoError(b.t, err)
	return r
}

// inStatus makes a request that is in the given state, by legal moves only.
func (b system) inStatus(s jobs.Status) jobs.Request {
	b.t.Helper()
	in := b.submit(`{"a": 1}`)[0]
	if s == jobs.StatusPending {
		return b.get(in.ID)
	}
	if s == jobs.StatusCancelled {
		_, err := b.MoveRequest(b.ctx, in.ID, jobs.StatusCancelled, store.Origin{Actor: "test"})
		require.NoError(b.t, err)
		return b.get(in.ID)
	}
	w := b.worker()
	c := b.claim(w, in.BatchID)[0]
	switch s {
	case jobs.StatusDone:
		b.settle(w, jobs.Outcome{Lease: c.Lease, Action: jobs.Finish, Result: jobs.Result{JSON: json.RawMessage(`{"ok": true}`)}})
	case jobs.StatusFailed:
		b.settle(w, jobs.Outcome{Lease: c.Lease, Action: jobs.Fail, Error: "no"})
	}
	r := b.get(in.ID)
	require.Equal(b.t, s, r.Status)
	return r
}
