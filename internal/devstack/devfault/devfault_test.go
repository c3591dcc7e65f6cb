package devfault_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack"
	"github.com/leomutto/pilot-in-a-box/internal/devstack/devfault"
)

const patience = 10 * time.Minute

func TestMain(m *testing.M) {
	logging.Disable() // these tests kill servers on purpose
	os.Exit(m.Run())
}

func TestProxy(t *testing.T) {
	t.Parallel()
	first, second := echo(t, "1"), echo(t, "2")
	p, err := devfault.NewProxy(first)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })

	before := dial(t, p)
	require.Equal(t, "1a", exchange(t, before, "a"))
	p.SetTarget(second)
	require.Equal(t, "1b", exchange(t, before, "b"), "an open connection stays where it is")
	require.Equal(t, "2c", exchange(t, dial(t, p), "c"))

	require.Positive(t, p.SilenceOpen())
	requireSilent(t, before)
	require.Equal(t, "2d", exchange(t, dial(t, p), "d"), "new connections work")

	p.SilenceAll()
	during := dial(t, p)
	requireSilent(t, during)
	p.Forward()
	requireSilent(t, during)
	require.Equal(t, "2e", exchange(t, dial(t, p), "e"))

	p.ForgetSilent()
	requireSilent(t, before)

	p.Refuse()
	requireClosed(t, before)
	requireClosed(t, dial(t, p))
	p.Forward()
	require.Equal(t, "2f", exchange(t, dial(t, p), "f"))
}

func TestPair_promotionLosesNothing(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pair, err := devfault.StartPair(ctx, folder(t), devfault.PairOptions{})
	require.NoError(t, err)
	old := open(t, pair.DatabaseURL())
	exec(t, old, "CREATE TABLE kept (n int)")
	for n := range 2 { // the second time the other way round
		exec(t, open(t, pair.DatabaseURL()), fmt.Sprintf("INSERT INTO kept VALUES (%d)", n))
		former := pair.DatabaseURL()
		require.NoError(t, pair.Demote(ctx))
		_, err = open(t, former).Exec("INSERT INTO kept VALUES (100)")
		var refused *pq.Error
		require.ErrorAs(t, err, &refused)
		require.Equal(t, "25006", string(refused.Code), "the old primary answers, and takes no writes")

		require.NoError(t, pair.Promote(ctx))
		require.NotEqual(t, former, pair.DatabaseURL())
		require.Equal(t, n+1, count(t, open(t, pair.DatabaseURL()), "kept"))
		require.NoError(t, pair.Rebuild(ctx))
	}
	require.NoError(t, pair.KillPrimary())
	require.NoError(t, pair.Promote(ctx))
	require.Equal(t, 2, count(t, open(t, pair.DatabaseURL()), "kept"))
}

// Without this difference, a test of a promotion would prove nothing.
func TestPair_onlyTheSynchronousOneWaitsForItsStandby(t *testing.T) {
	t.Parallel()
	for _, asynchronous := range []bool{false, true} {
		t.Run(fmt.Sprint("asynchronous=", asynchronous), func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			pair, err := devfault.StartPair(ctx, folder(t), devfault.PairOptions{Asynchronous: asynchronous})
			require.NoError(t, err)
			db := open(t, pair.DatabaseURL())
			exec(t, db, "CREATE TABLE kept (n int)")
			if asynchronous { // otherwise the table itself might be lost
				require.Eventually(t, func() bool {
					return count(t, db, "pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()") == 1
				}, patience, 10*time.Millisecond)
			}
			pair.Replication.SilenceAll()
			short, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			if asynchronous {
				exec(t, db, "INSERT INTO kept VALUES (1)")
			} else {
				answered := make(chan error, 1)
				go func() {
					_, err := open(t, pair.DatabaseURL()).Exec("INSERT INTO kept VALUES (1)")
					answered <- err
				}()
				select {
				case err := <-answered:
					t.Fatalf("the commit was answered (%v) before the standby had it", err)
				case <-short.Done():
				}
			}
			require.NoError(t, pair.KillPrimary())
			require.NoError(t, pair.Promote(ctx))
			require.Zero(t, count(t, open(t, pair.DatabaseURL()), "kept"), "the standby never got the row")
		})
	}
}

func TestSeveralHosts(t *testing.T) {
	t.Parallel()
	const one = "postgres://u:p@127.0.0.1:1/mass?sslmode=disable"
	require.Equal(t, "postgres://u:p@a:1,b:2/mass?sslmode=disable", devfault.SeveralHostsURL(one, "a:1", "b:2"))
	require.Equal(t, "postgres://u:p@/mass?sslmode=disable&host=a,b&port=1,2", devfault.HostListURL(one, "a:1", "b:2"))
}

func TestPgBouncer(t *testing.T) {
	t.Parallel()
	f := folder(t)
	pair, err := devfault.StartPair(t.Context(), f, devfault.PairOptions{Asynchronous: true})
	require.NoError(t, err)
	pooler, err := devfault.StartPgBouncer(t.Context(), f, devfault.PgBouncerOptions{Target: pair.Primary().Addr(), Mode: "session"})
	if errors.Is(err, devfault.ErrNoPgBouncer) {
		t.Skip(err)
	}
	require.NoError(t, err)
	exec(t, open(t, pooler.DatabaseURL()), "CREATE TABLE things (n int)")
	_, err = open(t, pooler.DatabaseURL()+"&random_page_cost=1.1").Exec("SELECT 1")
	require.ErrorContains(t, err, "unsupported startup parameter", "as PgBouncer is installed")
	require.NoError(t, pooler.Kill())
	require.Error(t, open(t, pooler.DatabaseURL()).Ping())
	require.NoError(t, pooler.Restart(t.Context()))
	require.Zero(t, count(t, open(t, pooler.DatabaseURL()), "things"))
}

func TestSmallPostgres(t *testing.T) {
	t.Parallel()
	small, err := devfault.StartSmallPostgres(t.Context(), folder(t), 512<<20)
	if errors.Is(err, devfault.ErrNoDisk) {
		t.Skip(err)
	}
	require.NoError(t, err)
	db := open(t, small.DatabaseURL())
	exec(t, db, "CREATE TABLE kept AS SELECT 1 AS n")
	require.NoError(t, small.Disk.Fill())
	_, err = db.Exec("CREATE TABLE large AS SELECT repeat(n::text, 200) FROM generate_series(1, 100000) n")
	require.Error(t, err)
	require.NoError(t, small.Free(t.Context()))
	require.Equal(t, 1, count(t, open(t, small.DatabaseURL()), "kept"))
	exec(t, open(t, small.DatabaseURL()), "CREATE TABLE large AS SELECT repeat(n::text, 200) FROM generate_series(1, 100000) n")
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s, err := devfault.StartSentinel(ctx, folder(t), devfault.SentinelOptions{Password: "master-secret", SentinelPassword: "sentinel-secret"})
	require.NoError(t, err)
	require.Regexp(t, `^redis-sentinel://:master-secret@127\.0\.0\.1:\d+,[^/]+/0\?master=mass&sentinel_password=sentinel-secret$`, s.URL())
	rdb := redis.NewFailoverClient(s.Options())
	t.Cleanup(func() { _ = rdb.Close() })
	require.NoError(t, rdb.Set(ctx, "a", "1", 0).Err())
	for range 2 {
		dead, err := s.KillMaster(ctx)
		require.NoError(t, err)
		require.NoError(t, s.AwaitFailover(ctx, dead))
		require.Eventually(t, func() bool { return rdb.Set(ctx, "b", "2", 0).Err() == nil }, patience, 50*time.Millisecond)
		require.NoError(t, s.Rejoin(ctx, dead))
	}
	require.Equal(t, "2", rdb.Get(ctx, "b").Val())
}

func TestCluster(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c, err := devfault.StartCluster(ctx, folder(t), "secret")
	require.NoError(t, err)
	const key = "asynq:{default}:pending"
	dead, err := c.KillMasterOf(ctx, key)
	require.NoError(t, err)
	require.NoError(t, c.AwaitFailover(ctx, key, dead))
	rdb := redis.NewClusterClient(c.Options())
	t.Cleanup(func() { _ = rdb.Close() })
	require.Eventually(t, func() bool { return rdb.Set(ctx, key, "2", 0).Err() == nil }, patience, 50*time.Millisecond)
	require.NoError(t, c.Rejoin(ctx, dead))
	master, err := c.MasterOf(ctx, key)
	require.NoError(t, err)
	require.NotEqual(t, dead, master)
}

func TestFillRedis(t *testing.T) {
	t.Parallel()
	r, err := devfault.StartMemoryRedis(t.Context(), folder(t), "secret")
	require.NoError(t, err)
	opt, err := redis.ParseURL(r.URL())
	require.NoError(t, err)
	rdb := redis.NewClient(opt)
	t.Cleanup(func() { _ = rdb.Close() })
	require.NoError(t, rdb.Set(t.Context(), "a", "1", 0).Err())
	require.NoError(t, devfault.FillRedis(t.Context(), rdb))
	require.ErrorContains(t, rdb.Set(t.Context(), "b", "1", 0).Err(), "OOM")
	require.Equal(t, "1", rdb.Get(t.Context(), "a").Val())
	require.NoError(t, devfault.FreeRedis(t.Context(), rdb))
	require.NoError(t, rdb.Set(t.Context(), "b", "1", 0).Err())
}

func folder(t *testing.T) *devstack.Folder {
	t.Helper()
	f, err := devstack.NewFolder(t.Context(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close(context.Background())) })
	return f
}

func open(t *testing.T, databaseURL string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", databaseURL)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func exec(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	_, err := db.Exec(statement)
	require.NoError(t, err)
}

func count(t *testing.T, db *sql.DB, table string) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRow("SELECT count(*) FROM "+table).Scan(&n))
	return n
}

// echo starts a server that answers everything with its name in front.
func echo(t *testing.T, name string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf := make([]byte, 1)
				for {
					if _, err := io.ReadFull(conn, buf); err != nil {
						return
					}
					_, _ = conn.Write([]byte(name + string(buf)))
				}
			}()
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, p *devfault.Proxy) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func exchange(t *testing.T, conn net.Conn, say string) string {
	t.Helper()
	_, err := conn.Write([]byte(say))
	require.NoError(t, err)
	buf := make([]byte, 2)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	_, err = io.ReadFull(conn, buf)
	require.NoError(t, err)
	return string(buf)
}

func requireSilent(t *testing.T, conn net.Conn) {
	t.Helper()
	_, err := conn.Write([]byte("x"))
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

func requireClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	_, err := conn.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}
