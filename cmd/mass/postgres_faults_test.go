package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack"
	"github.com/leomutto/pilot-in-a-box/internal/devstack/devfault"
	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/internal/doctor"
	"github.com/leomutto/pilot-in-a-box/migrations"
)

// defaultBounds are the time limits that the product has by default. The other
// tests use longer ones.
var defaultBounds = map[string]string{
	"MASS_ANSWER_TIMEOUT": "5s", "MASS_DB_CONNECT_TIMEOUT": "3s", "MASS_DB_STATEMENT_TIMEOUT": "10s", "MASS_SHUTDOWN_TIMEOUT": "20s",
	"MASS_ADDR": "127.0.0.1:0", "MASS_AUTH": "off",
}

// slower is how much longer a bound is that a busy machine must keep.
const slower = 10

func with(settings map[string]string) map[string]string {
	all := maps.Clone(defaultBounds)
	maps.Copy(all, settings)
	return all
}

func startFolder(t *testing.T) *devstack.Folder {
	t.Helper()
	f, err := devstack.NewFolder(t.Context(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, f.Close(ctx))
	})
	return f
}

// startPair starts a primary and a synchronous standby with a migrated database.
func startPair(t *testing.T) *devfault.Pair {
	t.Helper()
	f := startFolder(t)
	pair, err := devfault.StartPair(t.Context(), f, devfault.PairOptions{})
	require.NoError(t, err)
	_, err = migrations.Up(t.Context(), pair.DatabaseURL())
	require.NoError(t, err)
	return pair
}

// steadyLoad submits requests one after the other until it is stopped.
type steadyLoad struct {
	mu       sync.Mutex
	stored   []int64 // ids of all requests that were answered with 201
	statuses map[int]int
	stop     func()
}

func startLoad(t *testing.T, url string, clients int) *steadyLoad {
	t.Helper()
	l := &steadyLoad{statuses: map[int]int{}}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	l.stop = sync.OnceFunc(func() { cancel(); all.Wait() })
	t.Cleanup(l.stop)
	for range clients {
		all.Go(func() {
			for ctx.Err() == nil {
				status, raw := try(t, http.MethodPost, url+"/mass-requests/", `{"payload": {"n": 1}}`)
				l.mu.Lock()
				l.statuses[status]++
				if status == http.StatusCreated {
					var r massRequest
					assert.NoError(t, json.Unmarshal(raw, &r))
					l.stored = append(l.stored, r.ID)
				}
				l.mu.Unlock()
				if status != http.StatusCreated {
					time.Sleep(20 * time.Millisecond) // a client that tries again at once would only heat the machine
				}
			}
		})
	}
	return l
}

func (l *steadyLoad) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.stored)
}

// After a failover to the synchronous standby, with the old primary left
// read-only, submissions work again at once, every answer 201 is a row, and every
// request is processed. The processes know either both servers, or one name that
// moves some time after the promotion.
func TestFailoverToAStandby(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"several hosts", "a name that moves"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pair := startPair(t)
			addrs := pair.Addrs()
			databaseURL := devfault.SeveralHostsURL(pair.DatabaseURL(), addrs[1], addrs[0])
			move := func() {}
			if name == "a name that moves" {
				proxy, err := devfault.NewProxy(addrs[0])
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, proxy.Close()) })
				databaseURL, err = proxy.URL(pair.DatabaseURL())
				require.NoError(t, err)
				move = func() { proxy.SetTarget(addrs[1]) }
			}
			env := with(map[string]string{"DATABASE_URL": databaseURL, "REDIS_URL": devtest.Redis(t)})
			apiOut, _ := background(t, env, "api")
			workerOut, stopWorker := background(t, env, "worker")
			url := listening(t, apiOut)
			load := startLoad(t, url, 4)
			require.Eventually(t, func() bool { return load.count() > 50 && strings.Contains(workerOut.String(), "became leader") }, patience, time.Millisecond)

			require.NoError(t, pair.Demote(t.Context()))
			require.NoError(t, pair.Promote(t.Context()))
			if name == "a name that moves" { // and until it does, everybody is connected with the old primary
				before := load.count()
				time.Sleep(2 * time.Second)
				require.Equal(t, before, load.count(), "the old primary stores nothing")
			}
			move()
			moved, before := time.Now(), load.count()
			require.Eventually(t, func() bool { return load.count() > before }, patience, time.Millisecond)
			t.Logf("the first submission was stored %v after the promotion", time.Since(moved))
			assert.Less(t, time.Since(moved), slower*5*time.Second)
			mark := load.count()
			require.Eventually(t, func() bool { return load.count() > mark+50 }, patience, time.Millisecond)
			load.stop()
			for status := range load.statuses {
				assert.Contains(t, []int{http.StatusCreated, http.StatusServiceUnavailable}, status, "%v", load.statuses)
			}

			db := sqlx.MustConnect("postgres", pair.DatabaseURL())
			defer db.Close()
			var open int
			require.Eventually(t, func() bool {
				err := db.GetContext(t.Context(), &open, `SELECT count(*) FROM mass_requests WHERE status <> 'done'`)
				return err == nil && open == 0
			}, patience, 10*time.Millisecond, "all requests are processed")
			var rows int
			require.NoError(t, db.GetContext(t.Context(), &rows, `SELECT count(DISTINCT id) FROM mass_requests WHERE id = ANY ($1)`, pq.Array(load.stored)))
			assert.Equal(t, len(load.stored), rows, "every 201 is a row")
			require.Eventually(t, func() bool {
				var leads bool
				err := db.GetContext(t.Context(), &leads, `
                    SELECT EXISTS (SELECT FROM mass_leader l JOIN mass_workers w ON w.id = l.worker_id AND w.token = l.token
                                   WHERE renewed_at > now() - interval '3 s')`)
				return err == nil && leads
			}, patience, 10*time.Millisecond, "the worker leads on the new primary")
			require.NoError(t, stopWorker())
		})
	}
}

// When all open connections to PostgreSQL go silent and new ones work, a worker
// is back soon, says in its log what happened, and ends when it is asked to.
func TestAWorkerBehindAFrozenProxy(t *testing.T) {
	t.Parallel()
	database := devtest.Database(t)
	before, _, _ := strings.Cut(strings.SplitN(database, "@", 2)[1], "/")
	proxy, err := devfault.NewProxy(before)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, proxy.Close()) })
	through, err := proxy.URL(database)
	require.NoError(t, err)
	redisURL := devtest.Redis(t)
	apiOut, _ := background(t, with(map[string]string{"DATABASE_URL": database, "REDIS_URL": redisURL}), "api")
	workerOut, stopWorker := background(t, with(map[string]string{"DATABASE_URL": through, "REDIS_URL": redisURL}), "worker")
	url := listening(t, apiOut)
	load := startLoad(t, url, 4)
	db := sqlx.MustConnect("postgres", database)
	defer db.Close()
	done := func() (n int) {
		require.NoError(t, db.GetContext(t.Context(), &n, `SELECT count(*) FROM mass_requests WHERE status = 'done'`))
		return n
	}
	require.Eventually(t, func() bool { return done() > 100 && strings.Contains(workerOut.String(), "became leader") }, patience, time.Millisecond)

	for round := range 2 {
		require.Positive(t, proxy.SilenceOpen())
		frozen := time.Now()
		require.Eventually(t, func() bool {
			var beats bool
			require.NoError(t, db.GetContext(t.Context(), &beats, `SELECT coalesce(max(last_seen_at) > $1, false) FROM mass_workers`, frozen))
			return beats
		}, patience, 10*time.Millisecond, "the worker gives a sign of life")
		beat := time.Since(frozen)
		mark := done()
		require.Eventually(t, func() bool { return done() > mark+100 }, patience, 10*time.Millisecond, "the worker works")
		t.Logf("round %d: the worker was seen after %v and worked after %v", round, beat, time.Since(frozen))
		assert.Less(t, time.Since(frozen), slower*15*time.Second)
		assert.Contains(t, workerOut.String(), "database unavailable")
	}

	// The worker ends also while nothing at all comes through.
	proxy.SilenceAll()
	stopping := time.Now()
	_ = stopWorker() // it cannot hand its requests back
	t.Logf("the worker ended after %v", time.Since(stopping))
	assert.Less(t, time.Since(stopping), slower*(20+10)*time.Second)
	load.stop()
}

// mass migrate and mass doctor end by themselves when PostgreSQL accepts
// connections and is silent.
func TestCommandsAgainstASilentServer(t *testing.T) {
	t.Parallel()
	database := devtest.Database(t)
	for name, args := range map[string][]string{
		"up": {"migrate", "up"}, "status": {"migrate", "status"}, "doctor": {"doctor"}, "keys": {"key", "list"}, "verify": {"audit", "verify"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxy, through := devtest.NewProxy(t, database)
			proxy.Swallow()
			begun := time.Now()
			var out output
			err := run(t.Context(), args, getenv(with(map[string]string{"DATABASE_URL": through, "REDIS_URL": devtest.Redis(t), "MASS_DATA_DIR": filepath.Join(t.TempDir(), "none")})), &out, &out)
			require.Error(t, err)
			assert.Less(t, time.Since(begun), slower*15*time.Second)
		})
	}
}

// startPooled starts a PgBouncer in front of a migrated PostgreSQL and returns
// the URLs through the pooler and around it.
func startPooled(t *testing.T, mode string) (pooled, direct string) {
	t.Helper()
	f := startFolder(t)
	dir, err := f.MakeDir("postgres")
	require.NoError(t, err)
	data := filepath.Join(dir, "data")
	require.NoError(t, f.InitPostgres(t.Context(), data))
	server, err := f.StartPostgres(t.Context(), "postgres", data, 0)
	require.NoError(t, err)
	pooler, err := devfault.StartPgBouncer(t.Context(), f, devfault.PgBouncerOptions{Target: server.Addr(), Mode: mode})
	if errors.Is(err, devfault.ErrNoPgBouncer) {
		t.Skip(err)
	}
	require.NoError(t, err)
	return pooler.DatabaseURL(), f.PostgresURL(server.Addr())
}

// Processes behind a connection pooler in transaction mode do not start, and say
// why in one sentence. So does the doctor.
func TestTransactionPoolingIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	pooled, direct := startPooled(t, "transaction")
	_, err := migrations.Up(t.Context(), direct)
	require.NoError(t, err)
	env := with(map[string]string{"DATABASE_URL": pooled, "REDIS_URL": devtest.Redis(t), "MASS_DATA_DIR": t.TempDir()})
	for _, command := range []string{"api", "worker", "dev"} {
		var out output
		err := run(t.Context(), []string{command}, getenv(env), &out, &out)
		require.ErrorContains(t, err, "set it to session pooling", command)
		assert.NotContains(t, err.Error(), "\n")
	}
	d, healthy := examine(t, env)
	assert.False(t, healthy)
	assert.Equal(t, doctor.Fail, d.level("postgres"))
	assert.Contains(t, d.about("postgres")[0].Detail, "session pooling")
	var out output
	require.ErrorContains(t, run(t.Context(), []string{"migrate", "up"}, getenv(env), &out, &out), "session pooling")
	env["DATABASE_DIRECT_URL"] = direct
	require.NoError(t, run(t.Context(), []string{"migrate", "up"}, getenv(env), &out, &out), "migrations take the direct way")
}

// The whole system works through a PgBouncer in session mode, and the doctor finds
// nothing wrong with it.
func TestTheSystemBehindASessionPooler(t *testing.T) {
	t.Parallel()
	pooled, direct := startPooled(t, "session")
	env := with(map[string]string{"DATABASE_URL": pooled, "DATABASE_DIRECT_URL": direct, "REDIS_URL": devtest.Redis(t)})
	var out output
	require.NoError(t, run(t.Context(), []string{"migrate", "up"}, getenv(env), &out, &out))
	apiOut, _ := background(t, env, "api")
	_, stopWorker := background(t, env, "worker")
	url := listening(t, apiOut)
	load := startLoad(t, url, 4)
	require.Eventually(t, func() bool { return load.count() > 100 }, patience, time.Millisecond)
	load.stop()
	assert.Len(t, load.statuses, 1, "%v", load.statuses)
	for _, id := range load.stored {
		assert.Equal(t, "done", untilFinal(t, url, id).Status)
	}
	db := sqlx.MustConnect("postgres", direct)
	defer db.Close()
	var wrong int
	require.NoError(t, db.GetContext(t.Context(), &wrong, `
        SELECT count(*) FROM audit_events e LEFT JOIN audit_sources s ON s.id = e.source_id
        WHERE s.kind IS DISTINCT FROM CASE WHEN e.action = 'submit' THEN 'api' ELSE 'worker' END AND e.request_id IS NOT NULL`))
	assert.Zero(t, wrong, "events that bear the source of another process")
	require.Eventually(t, func() bool {
		d, _ := examine(t, env)
		return d.untroubled()
	}, patience, 100*time.Millisecond)
	require.NoError(t, stopWorker())
}

// The doctor notices a leader that is no worker, a trail that is not sealed, and
// standbys that a commit does not wait for.
func TestDoctorSeesFaultsOfPostgres(t *testing.T) {
	t.Parallel()
	f := startFolder(t)
	pair, err := devfault.StartPair(t.Context(), f, devfault.PairOptions{Asynchronous: true})
	require.NoError(t, err)
	_, err = migrations.Up(t.Context(), pair.DatabaseURL())
	require.NoError(t, err)
	env := map[string]string{"DATABASE_URL": pair.DatabaseURL(), "REDIS_URL": devtest.Redis(t)}
	d, _ := examine(t, env)
	assert.Equal(t, doctor.Warn, d.level("standbys"))
	assert.Contains(t, d.about("standbys")[0].Advice, "synchronous_standby_names")
	assert.Equal(t, doctor.OK, d.level("seals"))

	db := sqlx.MustConnect("postgres", pair.DatabaseURL())
	defer db.Close()
	conn, err := db.Connx(t.Context()) // a program that is no worker takes the lead
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.ExecContext(t.Context(), `UPDATE mass_leader SET worker_id = 99, backend = pg_backend_pid(), renewed_at = now() + interval '4 s'`)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), `INSERT INTO audit_events (action, actor, at) VALUES ('test', 'test', now() - interval '1 hour')`)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err = conn.ExecContext(t.Context(), `UPDATE mass_leader SET renewed_at = now() + interval '4 s', taken_at = now()`)
		require.NoError(t, err)
		d, _ = examine(t, env)
		return d.level("leader") == doctor.Fail
	}, patience, time.Millisecond)
	assert.Contains(t, d.about("leader")[0].Detail, "worker 99, which is not registered")
	assert.Equal(t, doctor.Fail, d.level("seals"))
}

// Two installations in one database, a schema each, and in one Redis, a number
// each: both recover from an empty Redis, and the doctor is right about both.
func TestTwoInstallationsInOneDatabase(t *testing.T) {
	t.Parallel()
	database := devtest.EmptyDatabase(t)
	db := sqlx.MustConnect("postgres", database)
	defer db.Close()
	type installation struct {
		env map[string]string
		url string
	}
	var both []*installation
	for _, schema := range []string{"a", "b"} {
		db.MustExec(`CREATE SCHEMA ` + schema)
		i := &installation{env: with(map[string]string{"DATABASE_URL": database + "&search_path=" + schema, "REDIS_URL": devtest.Redis(t)})}
		var out output
		require.NoError(t, run(t.Context(), []string{"migrate", "up"}, getenv(i.env), &out, &out))
		apiOut, _ := background(t, i.env, "api")
		workerOut, _ := background(t, i.env, "worker")
		i.url = listening(t, apiOut)
		require.Eventually(t, func() bool { return strings.Contains(workerOut.String(), "became leader") }, patience, time.Millisecond, schema)
		both = append(both, i)
	}
	later := time.Now().Add(3 * time.Second).UTC().Format(time.RFC3339Nano)
	for _, i := range both {
		var r massRequest
		do(t, http.MethodPost, i.url+"/mass-requests/", `{"payload": {"n": 1}, "run_at": "`+later+`"}`, http.StatusCreated, &r)
		opt, err := redis.ParseURL(i.env["REDIS_URL"])
		require.NoError(t, err)
		rdb := redis.NewClient(opt)
		require.NoError(t, rdb.FlushDB(t.Context()).Err())
		require.NoError(t, rdb.Close())
		assert.Equal(t, "done", untilFinal(t, i.url, r.ID).Status, "the leader of the installation enqueues what Redis lost")
	}
	for _, i := range both {
		require.Eventually(t, func() bool {
			d, _ := examine(t, i.env)
			return d.untroubled() && strings.Contains(d.about("leader")[0].Detail, "worker 1 ")
		}, patience, 100*time.Millisecond)
	}
}
