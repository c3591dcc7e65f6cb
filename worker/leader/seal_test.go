package leader_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/store"
	"github.com/leomutto/pilot-in-a-box/worker/leader"
)

func TestTheTrailIsSealedUpToTheFirstOpenTransaction(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.start(quick())
	s.insert(1)
	sealed := func(event int64) func() bool {
		return func() bool {
			last, err := s.store.LastSeal(t.Context())
			return err == nil && last.LastEvent >= event
		}
	}
	newest := func() (id int64) {
		require.NoError(t, s.db.GetContext(t.Context(), &id, `SELECT max(id) FROM audit_events`))
		return id
	}
	s.until(sealed(newest()), "all events are sealed")

	tx, err := s.db.BeginTxx(t.Context(), nil)
	require.NoError(t, err)
	var open int64
	require.NoError(t, tx.GetContext(t.Context(), &open, `INSERT INTO audit_events (action, actor) VALUES ('open', 'test') RETURNING id`))
	for range 3 {
		batch := s.insert(1)[0].BatchID
		s.until(func() bool { return s.queued(batch) }, "several rounds have passed")
	}
	assert.False(t, sealed(open)(), "events after the open transaction wait for it")
	require.NoError(t, tx.Commit())
	s.until(sealed(newest()), "all events are sealed")
	_, err = s.store.VerifyTrail(t.Context(), store.Verification{})
	require.NoError(t, err)
}

// lines collects what a leader logs.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// A leader that cannot seal says so as an error, and not in every round; when
// sealing goes on it says that, too.
func TestTheEndOfSealingIsAnAlarm(t *testing.T) {
	t.Parallel()
	s := setup(t)
	log := new(lines)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	insertSeal := `INSERT INTO audit_seals VALUES (1, 1, 1000000000, now(), 1, 1, sha256('a'), decode(repeat('00', 32), 'hex'), sha256('b'), '')`
	_, err := s.db.ExecContext(ctx, insertSeal)
	require.ErrorContains(t, err, "ends at event 1000000000")
	for _, statement := range []string{
		`ALTER TABLE audit_seals DISABLE TRIGGER audit_seals_continue`, insertSeal, `ALTER TABLE audit_seals ENABLE TRIGGER audit_seals_continue`,
	} {
		_, err := s.db.ExecContext(ctx, statement)
		require.NoError(t, err)
	}
	go func() {
		defer close(ended)
		me := &atomic.Pointer[store.WorkerIdentity]{}
		me.Store(&store.WorkerIdentity{})
		leader.New(s.store, s.rdb, s.enq, quick(), slog.New(slog.NewTextHandler(log, nil))).Run(ctx, me)
	}()
	defer func() { cancel(); <-ended }()
	const alarm = `the audit trail is not being sealed`
	s.insert(1)
	s.until(func() bool { return strings.Contains(log.String(), alarm) }, "the log has the alarm")
	for range 3 {
		batch := s.insert(1)[0].BatchID
		s.until(func() bool { return s.queued(batch) }, "several rounds have passed")
	}
	require.Equal(t, 1, strings.Count(log.String(), alarm), log.String())
	require.Contains(t, log.String(), "level=ERROR")
	require.Contains(t, log.String(), "seal 1 ends at event 1000000000")

	for _, statement := range []string{
		`ALTER TABLE audit_seals DISABLE TRIGGER audit_seals_append_only`, `DELETE FROM audit_seals`,
		`ALTER TABLE audit_seals ENABLE ALWAYS TRIGGER audit_seals_append_only`,
	} {
		_, err := s.db.ExecContext(ctx, statement)
		require.NoError(t, err)
	}
	s.until(func() bool {
		last, err := s.store.LastSeal(ctx)
		return err == nil && last.ID > 0
	}, "the leader seals again without a restart")
}
