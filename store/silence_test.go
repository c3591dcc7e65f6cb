package store_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// patience is how long a call may take that has to return at once. Without a
// bound it takes as long as TCP does: minutes.
const patience = 20 * time.Second

// remote is a store whose network can fail, and a connection that cannot.
type remote struct {
	*store.Store
	db     *sqlx.DB // of the store, through the proxy
	direct *sqlx.DB
	proxy  *devtest.Proxy
}

func setupRemote(t *testing.T, statementTimeout time.Duration) remote {
	t.Helper()
	url := devtest.Database(t)
	proxy, through := devtest.NewProxy(t, url)
	st, err := store.Open(store.Config{
		URL: through, MaxOpen: 4, MaxIdle: 4, ConnectTimeout: time.Minute, StatementTimeout: statementTimeout,
		Source: store.Source{Kind: "test", Version: "v", Commit: "c", Host: "h", PID: 1},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = st.Close() })
	direct, err := sqlx.Open("postgres", url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = direct.Close() })
	_, err = direct.ExecContext(t.Context(), `CREATE TABLE notes (note text)`)
	require.NoError(t, err)
	return remote{Store: st, db: store.Raw(st), direct: direct, proxy: proxy}
}

// within returns the error of a call, or fails the test when the call hangs.
func within(t *testing.T, call func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- call() }()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		require.FailNow(t, "the call did not return")
		return nil
	}
}

// recovers waits until the store works again.
func (r remote) recovers(t *testing.T) {
	t.Helper()
	r.proxy.Forward()
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := r.db.ExecContext(ctx, `INSERT INTO notes VALUES ('recovered')`)
		return err == nil
	}, time.Minute, 10*time.Millisecond, "the pool recovers")
}

// driverCalls are the ways to reach the server. Each takes the steps that need a
// network and returns the call that is made without one.
var driverCalls = map[string]func(ctx context.Context, t *testing.T, db *sqlx.DB) func() error{
	"query": func(ctx context.Context, _ *testing.T, db *sqlx.DB) func() error {
		return func() error { return db.QueryRowContext(ctx, `SELECT 1`).Scan(new(int)) }
	},
	"query with parameters": func(ctx context.Context, _ *testing.T, db *sqlx.DB) func() error {
		return func() error { return db.QueryRowContext(ctx, `SELECT $1::int`, 1).Scan(new(int)) }
	},
	"exec": func(ctx context.Context, _ *testing.T, db *sqlx.DB) func() error {
		return func() error {
			_, err := db.ExecContext(ctx, `INSERT INTO notes VALUES ($1)`, "x")
			return err
		}
	},
	"rows": func(ctx context.Context, t *testing.T, db *sqlx.DB) func() error {
		rows, err := db.QueryContext(ctx, `SELECT repeat('x', 1000) FROM generate_series(1, 1000000)`)
		require.NoError(t, err)
		require.True(t, rows.Next())
		return func() error {
			defer rows.Close()
			for rows.Next() {
			}
			return rows.Err()
		}
	},
	"begin": func(ctx context.Context, _ *testing.T, db *sqlx.DB) func() error {
		return func() error {
			_, err := db.BeginTxx(ctx, nil)
			return err
		}
	},
	"commit": func(ctx context.Context, t *testing.T, db *sqlx.DB) func() error {
		tx, err := db.BeginTxx(ctx, nil)
		require.NoError(t, err)
		_, err = tx.ExecContext(ctx, `INSERT INTO notes VALUES ('x')`)
		require.NoError(t, err)
		return tx.Commit
	},
	"rollback": func(ctx context.Context, t *testing.T, db *sqlx.DB) func() error {
		tx, err := db.BeginTxx(ctx, nil)
		require.NoError(t, err)
		return tx.Rollback
	},
	"ping": func(ctx context.Context, _ *testing.T, db *sqlx.DB) func() error {
		return func() error { return db.PingContext(ctx) }
	},
	"prepare": func(ctx context.Context, _ *testing.T, db *sqlx.DB) func() error {
		return func() error {
			_, err := db.PreparexContext(ctx, `SELECT 1`)
			return err
		}
	},
	"prepared query": func(ctx context.Context, t *testing.T, db *sqlx.DB) func() error {
		stmt, err := db.PreparexContext(ctx, `SELECT $1::int`)
		require.NoError(t, err)
		return func() error { return stmt.QueryRowContext(ctx, 1).Scan(new(int)) }
	},
	"prepared exec": func(ctx context.Context, t *testing.T, db *sqlx.DB) func() error {
		stmt, err := db.PreparexContext(ctx, `INSERT INTO notes VALUES ($1)`)
		require.NoError(t, err)
		return func() error {
			_, err := stmt.ExecContext(ctx, "x")
			return err
		}
	},
	"connect": func(ctx context.Context, _ *testing.T, db *sqlx.DB) func() error {
		db.SetMaxIdleConns(0)
		return func() error { return db.PingContext(ctx) }
	},
}

// The end of a context ends every kind of call, also when the server is silent,
// and the pool works again once the network does.
func TestAContextEndsACallToASilentServer(t *testing.T) {
	t.Parallel()
	for name, prepare := range driverCalls {
		for mode, swallow := range map[string]func(*devtest.Proxy){"both ways": (*devtest.Proxy).Swallow, "answers": (*devtest.Proxy).SwallowAnswers} {
			t.Run(name+", "+mode, func(t *testing.T) {
				t.Parallel()
				r := setupRemote(t, time.Hour)
				require.NoError(t, r.Ping(t.Context()))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				call := prepare(ctx, t, r.db)
				swallow(r.proxy)
				time.AfterFunc(50*time.Millisecond, cancel)
				err := within(t, call)
				require.ErrorIs(t, err, context.Canceled)
				r.recovers(t)
			})
		}
	}
}

// Every method of a process's life returns when its context ends, with an error
// that callers know how to treat, so callers need no bound of their own.
func TestAContextEndsEveryMethodOnASilentServer(t *testing.T) {
	t.Parallel()
	r := setupRemote(t, time.Hour)
	lead, err := r.TryLead(t.Context(), store.WorkerIdentity{})
	require.NoError(t, err)
	in, err := r.InsertRequests(t.Context(), []store.NewRequest{{Payload: json.RawMessage(`{}`), SchemaVersion: "1.0-simple", Priority: jobs.Default}})
	require.NoError(t, err)
	id := in[0].ID
	r.proxy.Swallow()
	for name, call := range map[string]func(context.Context) error{
		"ping":    r.Ping,
		"check":   lead.Check,
		"request": func(ctx context.Context) error { _, err := r.Request(ctx, id); return err },
		"insert": func(ctx context.Context) error {
			_, err := r.InsertRequests(ctx, []store.NewRequest{{Payload: json.RawMessage(`{}`), SchemaVersion: "1.0-simple", Priority: jobs.Default}})
			return err
		},
		"claim": func(ctx context.Context) error {
			_, _, err := r.ClaimBatches(ctx, store.WorkerIdentity{ID: 1}, []int64{1}, 16<<20)
			return err
		},
		"register": func(ctx context.Context) error { _, err := r.RegisterWorker(ctx, "h", 1, "v"); return err },
		"move": func(ctx context.Context) error {
			_, err := r.MoveRequest(ctx, id, jobs.StatusCancelled, store.Origin{Actor: "test"})
			return err
		},
		"delete": func(ctx context.Context) error { return r.DeleteRequest(ctx, id, store.Origin{Actor: "test"}) },
		"lead":   func(ctx context.Context) error { _, err := r.TryLead(ctx, store.WorkerIdentity{}); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			// Several at once: none waits for another that is stuck.
			errs := make(chan error, 3)
			for range cap(errs) {
				go func() { errs <- call(ctx) }()
			}
			for range cap(errs) {
				err := within(t, func() error { return <-errs })
				require.ErrorIs(t, err, store.ErrUnavailable)
			}
		})
	}
}

// A statement without a context's end waits as long as the server may work on
// it, and little longer.
func TestSilenceHasABound(t *testing.T) {
	t.Parallel()
	r := setupRemote(t, 100*time.Millisecond)
	require.NoError(t, r.Ping(t.Context()))
	r.proxy.SwallowAnswers()
	err := within(t, func() error {
		_, err := r.RegisterWorker(context.Background(), "h", 1, "v")
		return err
	})
	require.ErrorIs(t, err, store.ErrUnavailable)
	require.ErrorIs(t, err, store.ErrOutcomeUnknown)
	r.recovers(t)
}

// A write whose answer is lost may have happened: it is reported so, and is
// never sent a second time.
func TestAWriteThatWasSentIsNotRepeated(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(r remote, cancel func()){
		"context ends":    func(_ remote, cancel func()) { cancel() },
		"connection ends": func(r remote, _ func()) { r.proxy.Forward(); r.proxy.Cut() },
	} {
		for kind, exec := range map[string]func(ctx context.Context, db *sqlx.DB, stmt *sql.Stmt) error{
			"plain": func(ctx context.Context, db *sqlx.DB, _ *sql.Stmt) error {
				_, err := db.ExecContext(ctx, `INSERT INTO notes VALUES ($1)`, "once")
				return err
			},
			"prepared": func(ctx context.Context, _ *sqlx.DB, stmt *sql.Stmt) error {
				_, err := stmt.ExecContext(ctx, "once")
				return err
			},
		} {
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				r := setupRemote(t, time.Hour)
				stmt, err := r.db.PrepareContext(t.Context(), `INSERT INTO notes VALUES ($1)`)
				require.NoError(t, err)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				r.proxy.SwallowAnswers()
				result := make(chan error, 1)
				go func() { result <- exec(ctx, r.db, stmt) }()
				count := func() (n int) {
					require.NoError(t, r.direct.GetContext(t.Context(), &n, `SELECT count(*) FROM notes WHERE note = 'once'`))
					return n
				}
				require.Eventually(t, func() bool { return count() == 1 }, time.Minute, time.Millisecond, "the server has done it")
				lose(r, cancel)
				err = within(t, func() error { return <-result })
				require.ErrorIs(t, err, store.ErrOutcomeUnknown)
				r.recovers(t)
				assert.Equal(t, 1, count())
			})
		}
	}
}

// Connections that the server closed while they were idle are replaced, and no
// statement is lost with them.
func TestClosedIdleConnectionsAreReplaced(t *testing.T) {
	t.Parallel()
	r := setupRemote(t, time.Hour)
	var held []*sqlx.Conn
	for range 4 {
		conn, err := r.db.Connx(t.Context())
		require.NoError(t, err)
		held = append(held, conn)
	}
	for _, conn := range held {
		require.NoError(t, conn.Close())
	}
	_, err := r.direct.ExecContext(t.Context(), `
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		var n int
		require.NoError(t, r.direct.GetContext(t.Context(), &n, `
            SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`))
		return n == 0
	}, time.Minute, time.Millisecond)
	time.Sleep(50 * time.Millisecond) // for the proxy to pass it on
	for range 8 {
		_, err := r.db.ExecContext(t.Context(), `INSERT INTO notes VALUES ('x')`)
		require.NoError(t, err)
	}
}

// A statement that is given up does not go on in the server.
func TestAStatementThatIsGivenUpEndsOnTheServer(t *testing.T) {
	t.Parallel()
	r := setupRemote(t, time.Hour)
	stmt, err := r.db.PrepareContext(t.Context(), `SELECT pg_sleep($1)`)
	require.NoError(t, err)
	defer func() { require.NoError(t, stmt.Close()) }()
	for name, exec := range map[string]func(ctx context.Context) error{
		"query": func(ctx context.Context) error {
			return r.db.QueryRowContext(ctx, `SELECT pg_sleep(600)::text`).Scan(new(string))
		},
		"prepared": func(ctx context.Context) error { _, err := stmt.ExecContext(ctx, 600.0); return err },
		"transaction": func(ctx context.Context) error {
			tx, err := r.db.BeginTxx(ctx, nil)
			if err != nil {
				return err
			}
			_, err = tx.ExecContext(ctx, `SELECT pg_sleep(600)`)
			return errors.Join(err, tx.Rollback())
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- exec(ctx) }()
		asleep := func() (n int) {
			require.NoError(t, r.direct.GetContext(t.Context(), &n, `
                SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'`))
			return n
		}
		require.Eventually(t, func() bool { return asleep() == 1 }, time.Minute, time.Millisecond, name)
		cancel()
		require.ErrorIs(t, within(t, func() error { return <-result }), context.Canceled, name)
		require.Eventually(t, func() bool { return asleep() == 0 }, time.Minute, time.Millisecond, name)
	}
}

// A long answer is no silence, however slowly it is read.
func TestALongStatementIsNotCut(t *testing.T) {
	t.Parallel()
	url := devtest.Database(t)
	st, err := store.Open(store.Config{URL: url + "&statement_timeout=0", MaxOpen: 1, StatementTimeout: time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	_, err = store.Raw(st).ExecContext(t.Context(), `SELECT pg_sleep(7)`)
	require.NoError(t, err, "what the URL says counts: no statement timeout, no bound")
}
