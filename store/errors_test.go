package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/internal/systemtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/migrations"
	"github.com/leomutto/pilot-in-a-box/store"
)

func TestAnAbsentServerIsUnavailableAndMayComeBack(t *testing.T) {
	t.Parallel()
	stack := devtest.Private(t)
	_, err := migrations.Up(t.Context(), stack.DatabaseURL())
	require.NoError(t, err)
	st, err := store.Open(store.Config{URL: stack.DatabaseURL(), MaxOpen: 4, MaxIdle: 4, ConnectTimeout: 30 * time.Second})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	_, _, err = st.ClaimBatches(t.Context(), store.WorkerIdentity{ID: 1}, []int64{1}, 16<<20) // prepares the statement
	require.NoError(t, err)

	require.NoError(t, stack.KillPostgres())
	for range 8 { // every connection of the pool is broken
		_, _, err = st.ClaimBatches(t.Context(), store.WorkerIdentity{ID: 1}, []int64{1}, 16<<20)
		require.ErrorIs(t, err, store.ErrUnavailable)
		require.ErrorIs(t, st.Ping(t.Context()), store.ErrUnavailable)
	}
	require.NoError(t, stack.RestartPostgres(t.Context()))
	require.Eventually(t, func() bool {
		_, _, err = st.ClaimBatches(t.Context(), store.WorkerIdentity{ID: 1}, []int64{1}, 16<<20)
		return err == nil
	}, systemtest.Patience, 10*time.Millisecond, "the prepared statement works on new connections")
}

func TestAStatementThatTakesTooLongIsUnavailable(t *testing.T) {
	t.Parallel()
	url := devtest.Database(t)
	st, err := store.Open(store.Config{URL: url, MaxOpen: 4, StatementTimeout: 50 * time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	tx, err := store.Raw(st).BeginTxx(context.WithoutCancel(t.Context()), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), `LOCK TABLE mass_requests IN ACCESS EXCLUSIVE MODE`)
	require.NoError(t, err)
	_, err = st.Request(t.Context(), 1)
	require.ErrorIs(t, err, store.ErrUnavailable)
	require.NoError(t, tx.Rollback())
	require.Eventually(t, func() bool { // a busy machine may need more than the timeout at first
		_, err = st.Request(t.Context(), 1)
		return !errors.Is(err, store.ErrUnavailable)
	}, systemtest.Patience, time.Millisecond)
	assert.ErrorIs(t, err, store.ErrNotFound)
}

// Errors name what they are about, so that one place can say it to clients.
func TestErrorsNameTheirNoun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	by := store.Origin{Actor: "test"}
	for noun, call := range map[store.Noun]func() error{
		store.NounUser:    func() error { _, err := b.User(b.ctx, 1); return err },
		store.NounAPIKey:  func() error { _, err := b.RevokeAPIKey(b.ctx, 1, by); return err },
		store.NounSession: func() error { _, err := b.BrowserSession(b.ctx, []byte("x"), time.Hour); return err },
		store.NounWorker:  func() error { _, err := b.Beat(b.ctx, store.WorkerIdentity{ID: 1}); return err },
		store.NounRequest: func() error { return b.DeleteRequest(b.ctx, 1, by) },
	} {
		err := call()
		require.ErrorIs(t, err, store.ErrNotFound, noun)
		var missing *store.NotFoundError
		require.ErrorAs(t, err, &missing, noun)
		assert.Equal(t, noun, missing.Noun)
	}

	_, err := b.AddUser(b.ctx, "a@example.com", auth.Admin, "hash", by)
	require.NoError(t, err)
	_, err = b.AddUser(b.ctx, "a@example.com", auth.Admin, "hash", by)
	require.ErrorIs(t, err, store.ErrEmailTaken, "the constraint's name says so")
	require.ErrorIs(t, err, store.ErrConflict)
	require.NotErrorIs(t, err, store.ErrLastAdmin)

	r := b.inStatus(jobs.StatusDone)
	for noun, call := range map[store.Noun]func() error{
		store.NounRequest:  func() error { _, err := b.MoveRequest(b.ctx, r.ID, jobs.StatusCancelled, by); return err },
		store.NounCallback: func() error { _, err := b.ReplayDelivery(b.ctx, r.ID, by); return err },
	} {
		err := call()
		require.ErrorIs(t, err, store.ErrConflict, noun)
		var conflict *store.ConflictError
		require.ErrorAs(t, err, &conflict, noun)
		assert.Equal(t, noun, conflict.Noun)
	}
}
