package store_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// act tries one action on a request, whatever its state, and tells whether it happened.
func act(b system, a jobs.Action, r jobs.Request) bool {
	ctx := b.ctx
	lease := jobs.Lease{ID: r.ID, Attempt: r.Attempt}
	switch a {
	case jobs.Claim:
		return len(b.claim(b.worker(), r.BatchID)) == 1
	case jobs.Finish:
		return b.settle(b.holder(r.ID), jobs.Outcome{Lease: lease, Action: a, Result: jobs.Result{JSON: json.RawMessage(`{}`)}}).Accepted
	case jobs.Fail, jobs.Retry:
		return b.settle(b.holder(r.ID), jobs.Outcome{Lease: lease, Action: a, Error: "boom", Delay: time.Minute}).Accepted
	case jobs.Release:
		list, err := b.ReleaseRequests(ctx, b.holder(r.ID), []jobs.Lease{lease}, "test", 64)
		require.NoError(b.t, err)
		return len(list) == 1
	case jobs.Rescue:
		list, _, err := b.RescueRequests(ctx, b.holder(r.ID).ID, store.RescueLimits{Step: 10, BatchSize: 64, MaxRescues: 10})
		require.NoError(b.t, err)
		return len(list) == 1
	case jobs.Expire:
		_, err := b.db.ExecContext(ctx, `UPDATE mass_requests SET expires_at = now() - interval '1 s' WHERE id = $1`, r.ID)
		require.NoError(b.t, err)
		list, err := b.ExpireRequests(ctx, 1000)
		require.NoError(b.t, err)
		_, err = b.db.ExecContext(ctx, `UPDATE mass_requests SET expires_at = NULL WHERE id = $1`, r.ID)
		require.NoError(b.t, err)
		return slices.Contains(list, r.ID)
	case jobs.Cancel, jobs.Replay:
		to := jobs.StatusCancelled
		if a == jobs.Replay {
			to = jobs.StatusPending
		}
		_, err := b.MoveRequest(ctx, r.ID, to, store.Origin{Actor: "test"})
		if err != nil {
			require.ErrorIs(b.t, err, store.ErrConflict)
		}
		return err == nil
	case jobs.Delete:
		require.NoError(b.t, b.DeleteRequest(ctx, r.ID, store.Origin{Actor: "test"}))
		return true
	case jobs.Retain:
		_, err := b.RetainRequests(ctx, 0, store.Position{CreatedAt: r.CreatedAt, ID: r.ID - 1}, 10)
		require.NoError(b.t, err)
		_, err = b.Request(ctx, r.ID)
		return errors.Is(err, store.ErrNotFound)
	}
	b.t.Fatalf("no statement for %s", a)
	return false
}

// Every action in every state: the statements obey the table of package jobs,
// and each move leaves exactly one event that tells of it.
func TestStatementsObeyTheTable(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, tr := range jobs.Transitions() {
		for _, from := range jobs.Statuses() {
			t.Run(fmt.Sprintf("%s/%s", tr.Action, from), func(t *testing.T) {
				b.t = t
				r := b.inStatus(from)
				before, err := b.Events(b.ctx, r.ID, 0, 100)
				require.NoError(t, err)

				legal := slices.Contains(tr.From, from)
				require.Equal(t, legal, act(b, tr.Action, r))

				after, err := b.Events(b.ctx, r.ID, 0, 100)
				require.NoError(t, err)
				if !legal {
					assert.Equal(t, before, after, "nothing happened, so nothing is told")
					assert.Equal(t, r, b.get(r.ID), "nothing changed")
					return
				}
				if tr.Action == jobs.Retain { // one event tells of all that went together
					var detail string
					require.NoError(t, b.db.GetContext(b.ctx, &detail, `SELECT detail FROM audit_events WHERE action = 'retain' ORDER BY id DESC LIMIT 1`))
					assert.Equal(t, fmt.Sprintf("removed 1 requests that were final for 00:00:00: %d", r.ID), detail)
					return
				}
				require.Len(t, after, len(before)+1)
				event := after[len(before)]
				assert.Equal(t, string(tr.Action), event.Action)
				assert.Equal(t, string(from), event.FromStatus)
				assert.Equal(t, string(tr.To), event.ToStatus)
				if tr.Action != jobs.Delete {
					assert.Equal(t, tr.To, b.get(r.ID).Status)
				}
			})
		}
	}
}

func TestTheCheckConstraintsHoldTheSameNames(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for constraint, want := range map[string]string{
		"mass_requests_status_known":   fmt.Sprint(jobs.Statuses()),
		"mass_requests_priority_known": fmt.Sprint(jobs.Priorities()),
	} {
		var names []string
		err := b.db.SelectContext(b.ctx, &names, `
            SELECT m[1] FROM pg_constraint, regexp_matches(pg_get_constraintdef(oid), '''(\w+)''', 'g') m WHERE conname = $1`, constraint)
		require.NoError(t, err)
		assert.Equal(t, want, fmt.Sprint(names), constraint)
	}
}

func TestAnOutdatedAttemptChangesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	in := b.submit(`{"a": 1}`)[0]
	first, second := b.worker(), b.worker()
	old := b.claim(first, in.BatchID)[0]
	list, _, err := b.RescueRequests(b.ctx, first.ID, store.RescueLimits{Step: 10, BatchSize: 64, MaxRescues: 10})
	require.NoError(t, err)
	require.Len(t, list, 1)
	now := b.claim(second, list[0].ID)[0]
	require.Equal(t, old.Attempt+1, now.Attempt)

	for _, a := range []jobs.Action{jobs.Finish, jobs.Fail, jobs.Retry, jobs.Release} {
		assert.False(t, act(b, a, jobs.Request{ID: old.ID, Attempt: old.Attempt}), a)
	}
	assert.True(t, b.settle(second, jobs.Outcome{Lease: now.Lease, Action: jobs.Finish, Result: jobs.Result{JSON: json.RawMessage(`{"by": 2}`)}}).Accepted)
	assert.JSONEq(t, `{"by": 2}`, string(b.get(in.ID).Result))
	assert.False(t, b.settle(second, jobs.Outcome{Lease: now.Lease, Action: jobs.Finish, Result: jobs.Result{JSON: json.RawMessage(`{"by": 3}`)}}).Accepted, "done is reached once")
}

func TestTwoDeliveriesOfABatchClaimOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	in := b.submit(`{"a": 1}`, `{"a": 2}`, `{"a": 3}`)
	w := b.worker()
	var mu sync.Mutex
	var total int
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c, _, err := b.ClaimBatches(context.WithoutCancel(b.ctx), w, []int64{in[0].BatchID}, 16<<20)
			assert.NoError(t, err)
			mu.Lock()
			defer mu.Unlock()
			total += len(c)
		})
	}
	wg.Wait()
	assert.Equal(t, 3, total)
}

func TestARetryMovesToABatchOfItsOwn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	in := b.submit(`{"a": 1}`, `{"a": 2}`)
	w := b.worker()
	claimed := b.claim(w, in[0].BatchID)
	settled, err := b.WriteOutcomes(b.ctx, w, []jobs.Outcome{
		{Lease: claimed[0].Lease, Action: jobs.Retry, Error: "later", Delay: time.Hour},
		{Lease: claimed[1].Lease, Action: jobs.Finish, Result: jobs.Result{JSON: json.RawMessage(`{}`)}},
	})
	require.NoError(t, err)
	require.True(t, settled[0].Accepted)
	next := settled[0].Next
	assert.NotEqual(t, in[0].BatchID, next.ID)
	assert.Equal(t, []int64{claimed[0].ID}, next.Requests)

	r := b.get(claimed[0].ID)
	assert.Equal(t, jobs.StatusPending, r.Status)
	assert.Equal(t, 1, r.Failures)
	assert.Equal(t, "later", r.Error)
	assert.WithinDuration(t, r.UpdatedAt.Add(time.Hour), r.RunAt, time.Second)
	assert.True(t, r.RunAt.Equal(next.RunAt))
	assert.Zero(t, r.FinishedAt)
	assert.Equal(t, next.ID, r.BatchID)
}

// After a crash of Postgres that undid a claim, two workers may bear the same attempt.
func TestTheSameAttemptOfAnotherWorkerIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	in := b.submit(`{}`)[0]
	first, second := b.worker(), b.worker()
	lease := b.claim(first, in.BatchID)[0].Lease
	end := jobs.Outcome{Lease: lease, Action: jobs.Finish, Result: jobs.Result{JSON: json.RawMessage(`{}`)}}
	assert.False(t, b.settle(second, end).Accepted)
	assert.True(t, b.settle(first, end).Accepted)
}

// A claim may be on disk a moment later; nothing else may.
func TestOnlyAClaimDoesNotWaitForTheDisk(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.db.ExecContext(b.ctx, `
        DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = on', current_database()); END $$; -- for the sessions to come
        CREATE TABLE commits (action text, setting text);
        CREATE FUNCTION note_commit() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO commits VALUES (NEW.action, current_setting('synchronous_commit'));
            RETURN NULL;
        END $$;
        CREATE CONSTRAINT TRIGGER note_commit AFTER INSERT ON audit_events
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note_commit()`)
	require.NoError(t, err)
	for _, tr := range jobs.Transitions() {
		for _, from := range tr.From {
			act(b, tr.Action, b.inStatus(from))
		}
	}
	var later []string
	require.NoError(t, b.db.SelectContext(b.ctx, &later, `SELECT DISTINCT action FROM commits WHERE setting <> 'on'`))
	assert.Equal(t, []string{string(jobs.Claim)}, later)
	var all int
	require.NoError(t, b.db.GetContext(b.ctx, &all, `SELECT count(DISTINCT action) FROM commits`))
	assert.Greater(t, all, len(jobs.Transitions())/2)
}

func TestSettleKeepsTheOrderAndTheValues(t *testing.T) {
	t.Parallel()
	b := setup(t)
	in := b.submit(`{"n": 1}`, `{"n": 2}`, `{"n": 3}`)
	w := b.worker()
	claimed := b.claim(w, in[0].BatchID)
	outcomes := []jobs.Outcome{
		{Lease: jobs.Lease{ID: 999999, Attempt: 1}, Action: jobs.Finish, Result: jobs.Result{JSON: json.RawMessage(`{}`)}},
		{Lease: claimed[2].Lease, Action: jobs.Finish, Result: jobs.Result{JSON: json.RawMessage(`{"big": 123456789012345678901234567890, "text": "a\"b\\c{},'"}`)}},
		{Lease: claimed[0].Lease, Action: jobs.Fail, Error: `quotes " and \ and {}`, Faults: json.RawMessage(`[{"pointer": "/a", "detail": "bad"}]`)},
	}
	settled, err := b.WriteOutcomes(b.ctx, w, outcomes)
	require.NoError(t, err)
	assert.Equal(t, []bool{false, true, true}, []bool{settled[0].Accepted, settled[1].Accepted, settled[2].Accepted})
	done := b.get(claimed[2].ID)
	assert.Contains(t, string(done.Result), "123456789012345678901234567890")
	assert.Contains(t, string(done.Result), `"a\"b\\c{},'"`)
	assert.NotZero(t, done.FinishedAt)
	failed := b.get(claimed[0].ID)
	assert.Equal(t, `quotes " and \ and {}`, failed.Error)
	assert.JSONEq(t, `[{"pointer": "/a", "detail": "bad"}]`, string(failed.Faults))
	assert.Equal(t, jobs.StatusProcessing, b.get(claimed[1].ID).Status)
}

func TestAValuePostgresRefusesIsInvalidAndWritesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	in := b.submit(`{"n": 1}`, `{"n": 2}`)
	w := b.worker()
	claimed := b.claim(w, in[0].BatchID)
	_, err := b.WriteOutcomes(b.ctx, w, []jobs.Outcome{
		{Lease: claimed[0].Lease, Action: jobs.Finish, Result: jobs.Result{JSON: json.RawMessage(`{}`)}},
		{Lease: claimed[1].Lease, Action: jobs.Finish, Result: jobs.Result{JSON: json.RawMessage(`{"nul": "\u0000"}`)}},
	})
	require.ErrorIs(t, err, store.ErrInvalid)
	assert.Equal(t, jobs.StatusProcessing, b.get(claimed[0].ID).Status)

	_, err = b.InsertRequests(b.ctx, []store.NewRequest{
		{Payload: json.RawMessage(`{}`), SchemaVersion: "1.0-simple", Priority: jobs.Default},
		{Payload: json.RawMessage(`{"broken`), SchemaVersion: "1.0-simple", Priority: jobs.Default},
	})
	require.ErrorIs(t, err, store.ErrInvalid)
	var n int
	require.NoError(t, b.db.GetContext(b.ctx, &n, `SELECT count(*) FROM mass_requests`))
	assert.Equal(t, 2, n, "all or none")
}

func TestReleaseMakesNewBatchesByPriority(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var items []store.NewRequest
	for i, p := range []jobs.Priority{jobs.High, jobs.High, jobs.High, jobs.Low} {
		group := 0
		if p == jobs.Low {
			group = 1
		}
		items = append(items, store.NewRequest{Payload: json.RawMessage(fmt.Sprintf(`{"n": %d}`, i)), SchemaVersion: "1.0-simple", Priority: p, Group: group})
	}
	in, err := b.InsertRequests(b.ctx, items)
	require.NoError(t, err)
	require.Equal(t, in[0].BatchID, in[2].BatchID)
	require.NotEqual(t, in[0].BatchID, in[3].BatchID)
	w := b.worker()
	claimed, _, err := b.ClaimBatches(b.ctx, w, []int64{in[0].BatchID, in[3].BatchID}, 16<<20)
	require.NoError(t, err)
	var leases []jobs.Lease
	for _, c := range claimed {
		leases = append(leases, c.Lease)
	}
	leases = append(leases, jobs.Lease{ID: claimed[0].ID, Attempt: 77}) // outdated
	list, err := b.ReleaseRequests(b.ctx, w, leases, "shutdown", 2)
	require.NoError(t, err)
	var sizes []string
	for _, batch := range list {
		sizes = append(sizes, fmt.Sprint(batch.Priority, len(batch.Requests)))
		assert.Zero(t, batch.RunAt, "due at once")
	}
	assert.ElementsMatch(t, []string{"high2", "high1", "low1"}, sizes)
	r := b.get(in[0].ID)
	assert.Equal(t, jobs.StatusPending, r.Status)
	assert.Zero(t, r.Failures, "nobody tried it")
}

func TestRescueIsolatesAndGivesUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	in := b.submit(`{"n": 1}`, `{"n": 2}`)
	limits := store.RescueLimits{Step: 10, BatchSize: 64, MaxRescues: 2}
	batchIDs := []int64{in[0].BatchID}
	for round, want := range []int{1, 2, 0} { // together, then alone, then not again
		w := b.worker()
		claimed, _, err := b.ClaimBatches(b.ctx, w, batchIDs, 16<<20)
		require.NoError(t, err)
		require.Len(t, claimed, 2)
		list, more, err := b.RescueRequests(b.ctx, w.ID, limits)
		require.NoError(t, err)
		assert.False(t, more)
		assert.Len(t, list, want, "round %d", round)
		batchIDs = nil
		for _, l := range list {
			batchIDs = append(batchIDs, l.ID)
		}
	}
	r := b.get(in[0].ID)
	assert.Equal(t, jobs.StatusFailed, r.Status)
	assert.Zero(t, r.Failures, "no retry is used up")
	assert.Equal(t, 3, r.Rescues)
	assert.Contains(t, r.Error, "3 workers in turn fell silent")
}

func TestRescueGoesInSteps(t *testing.T) {
	t.Parallel()
	b := setup(t)
	in := b.submit(`{"n": 1}`, `{"n": 2}`, `{"n": 3}`)
	w := b.worker()
	require.Len(t, b.claim(w, in[0].BatchID), 3)
	_, more, err := b.RescueRequests(b.ctx, w.ID, store.RescueLimits{Step: 2, BatchSize: 64, MaxRescues: 5})
	require.NoError(t, err)
	assert.True(t, more)
	require.NoError(t, b.RemoveWorker(b.ctx, w))
	_, err = b.Beat(b.ctx, w)
	require.NoError(t, err, "a worker that still holds a request is not forgotten")
	_, more, err = b.RescueRequests(b.ctx, w.ID, store.RescueLimits{Step: 2, BatchSize: 64, MaxRescues: 5})
	require.NoError(t, err)
	assert.False(t, more)
	require.NoError(t, b.RemoveWorker(b.ctx, w))
	_, err = b.Beat(b.ctx, w)
	assert.ErrorIs(t, err, store.ErrNotFound)
}

func TestAResultIsCompleteWhateverIsStored(t *testing.T) {
	t.Parallel()
	b := setup(t)
	in := b.submit(`{"n": 1.50}`, `{"n": 2}`, `{"n": 3}`)
	w := b.worker()
	claimed := b.claim(w, in[0].BatchID)
	for i, r := range []jobs.Result{
		{JSON: json.RawMessage(`{"warnings": []}`), AsSubmitted: true},
		{JSON: json.RawMessage(`{}`), AsSubmitted: true},
		{JSON: json.RawMessage(`{"normalized": {"m": 3}}`)},
	} {
		b.settle(w, jobs.Outcome{Lease: claimed[i].Lease, Action: jobs.Finish, Result: r})
	}
	for i, want := range []string{`{"normalized":{"n": 1.50},"warnings": []}`, `{"normalized":{"n": 2}}`, `{"normalized": {"m": 3}}`} {
		assert.Equal(t, want, string(b.get(in[i].ID).Result))
		var asked string
		require.NoError(t, b.db.Get(&asked, `SELECT mass_result(r)::text FROM mass_requests r WHERE id = $1`, in[i].ID))
		assert.Equal(t, want, asked, "and the same in SQL")
	}

	replayed, err := b.MoveRequest(b.ctx, in[0].ID, jobs.StatusPending, store.Origin{Actor: "alice"})
	require.NoError(t, err)
	assert.Nil(t, replayed.Result)
}

func TestReplayStartsAnew(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.inStatus(jobs.StatusFailed)
	got, err := b.MoveRequest(b.ctx, r.ID, jobs.StatusPending, store.Origin{Actor: "alice"})
	require.NoError(t, err)
	assert.Equal(t, jobs.StatusPending, got.Status)
	assert.NotEqual(t, r.BatchID, got.BatchID)
	assert.Zero(t, got.Failures)
	assert.Empty(t, got.Error)
	assert.Nil(t, got.Result)
	assert.Zero(t, got.FinishedAt)
	assert.Equal(t, r.Attempt, got.Attempt, "the fencing token never goes back")
}

func TestMoveErrors(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.MoveRequest(b.ctx, 4711, jobs.StatusCancelled, store.Origin{Actor: "x"})
	require.ErrorIs(t, err, store.ErrNotFound)
	r := b.inStatus(jobs.StatusDone)
	_, err = b.MoveRequest(b.ctx, r.ID, jobs.StatusCancelled, store.Origin{Actor: "x"})
	require.ErrorIs(t, err, store.ErrConflict)
	var te *jobs.TransitionError
	require.True(t, errors.As(err, &te))
	assert.Equal(t, jobs.StatusDone, te.From)
}

func TestEventsAreAppendOnlyAndSurviveDelete(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.inStatus(jobs.StatusDone)
	require.NoError(t, b.DeleteRequest(b.ctx, r.ID, store.Origin{Actor: "alice"}))
	_, err := b.Request(b.ctx, r.ID)
	require.ErrorIs(t, err, store.ErrNotFound)
	require.ErrorIs(t, b.DeleteRequest(b.ctx, r.ID, store.Origin{Actor: "alice"}), store.ErrNotFound)
	events, err := b.Events(b.ctx, r.ID, 0, 100)
	require.NoError(t, err)
	var actions []string
	for _, e := range events {
		actions = append(actions, e.Action)
	}
	assert.Equal(t, []string{"submit", "claim", "finish", "delete"}, actions)
	for _, q := range []string{`UPDATE audit_events SET actor = 'x'`, `DELETE FROM audit_events`, `TRUNCATE audit_events`} {
		_, err := b.db.ExecContext(b.ctx, q)
		assert.ErrorContains(t, err, "append-only", q)
	}
}

// The trail names what came in and what came out by their digests, each of its own request.
func TestAnEndKeepsTheDigestsOfItsRequest(t *testing.T) {
	t.Parallel()
	b := setup(t)
	in := b.submit(`{"a": 1}`, `{"a": 2}`, `{"a": 3}`)
	w := b.worker()
	var outcomes []jobs.Outcome
	for i, c := range b.claim(w, in[0].BatchID) {
		digest := sha256.Sum256(c.Payload)
		o := jobs.Outcome{Lease: c.Lease, Action: jobs.Finish, InputDigest: digest[:]}
		switch i {
		case 0:
			o.Result.JSON = json.RawMessage(`{"figure":  1.50,"a":true}`)
		case 1:
			o.Result.JSON = json.RawMessage(`{"note": "` + strings.Repeat("stored out of the row ", 500) + `"}`)
		default:
			o.Action, o.Error = jobs.Fail, "no"
		}
		outcomes = append(outcomes, o)
	}
	_, err := b.WriteOutcomes(b.ctx, w, outcomes)
	require.NoError(t, err)
	var wrong int
	require.NoError(t, b.db.GetContext(b.ctx, &wrong, `
        SELECT 3 - count(*) FROM audit_events e JOIN mass_requests r ON r.id = e.request_id
        WHERE e.action IN ('finish', 'fail') AND e.input_digest = sha256(convert_to(r.payload::text, 'UTF8'))
          AND e.output_digest IS NOT DISTINCT FROM sha256(convert_to(r.result::text, 'UTF8'))`))
	assert.Zero(t, wrong)
	var digest []byte
	require.NoError(t, b.db.GetContext(b.ctx, &digest, `SELECT output_digest FROM audit_events WHERE action = 'finish' AND request_id = $1`, outcomes[0].ID))
	want := sha256.Sum256([]byte(`{"figure":  1.50,"a":true}`)) // as the worker wrote it
	assert.Equal(t, want[:], digest)
}

// Claims are bounded by the bytes of the payloads. A batch is claimed in parts
// in the order of its requests, each of them once, and a payload that is larger
// than the bound is claimed alone.
func TestClaimsAreBoundedByBytes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const size = 10_000
	items := make([]store.NewRequest, 7)
	for i := range items {
		items[i] = store.NewRequest{Payload: fmt.Appendf(nil, `{"x":"%s"}`, strings.Repeat("x", size-8)), SchemaVersion: "1.0-simple", Priority: jobs.Default}
	}
	in, err := b.InsertRequests(b.ctx, items)
	require.NoError(t, err)
	worker, batch := b.worker(), []int64{in[0].BatchID}
	var parts []int
	var ids []int64
	for _, bytes := range []int64{2*size + 100, 2*size + 100, 1, 100 * size, 100 * size} {
		claimed, more, err := b.ClaimBatches(b.ctx, worker, batch, bytes)
		require.NoError(t, err)
		parts = append(parts, len(claimed))
		assert.Equal(t, bytes < 100*size, more)
		for _, c := range claimed {
			ids = append(ids, c.ID)
			assert.Equal(t, 1, c.Attempt)
		}
	}
	assert.Equal(t, []int{2, 2, 1, 2, 0}, parts)
	slices.Sort(ids)
	for i := range in {
		assert.Equal(t, in[i].ID, ids[i], "once, and in order")
	}
}
