package devtest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	_ "github.com/lib/pq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
)

func TestMain(m *testing.M) {
	devtest.Main(m, func(ctx context.Context, databaseURL string) (err error) {
		db, err := sql.Open("postgres", databaseURL)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, db.Close()) }()
		_, err = db.ExecContext(ctx, "CREATE TABLE things (name text)")
		return err
	})
}

func TestDatabase_isMigratedAndOnesOwn(t *testing.T) {
	t.Parallel()
	for i := range 8 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			db := open(t, devtest.Database(t))
			var n int
			require.NoError(t, db.QueryRow("SELECT count(*) FROM things").Scan(&n))
			require.Zero(t, n, "rows of another test")
			_, err := db.Exec("INSERT INTO things VALUES ('mine')")
			require.NoError(t, err)
		})
	}
}

func TestDatabase_isDroppedWhileInUse(t *testing.T) {
	t.Parallel()
	outer := t
	var databaseURL string
	t.Run("inner", func(t *testing.T) {
		databaseURL = devtest.Database(t)
		db, err := sql.Open("postgres", databaseURL)
		require.NoError(t, err)
		require.NoError(t, db.Ping())
		outer.Cleanup(func() { _ = db.Close() }) // not before the database is dropped
	})
	require.ErrorContains(t, open(t, databaseURL).Ping(), "does not exist")
}

func TestEmptyDatabase(t *testing.T) {
	t.Parallel()
	db := open(t, devtest.EmptyDatabase(t))
	var n int
	require.NoError(t, db.QueryRow("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").Scan(&n))
	require.Zero(t, n)
}

func TestRedis_isOnesOwnAndFlushed(t *testing.T) {
	t.Parallel()
	var first string
	t.Run("inner", func(t *testing.T) {
		first = devtest.Redis(t)
		require.NoError(t, client(t, first).Set(t.Context(), "key", "value", 0).Err())
		second := devtest.Redis(t)
		require.NotEqual(t, first, second)
		require.ErrorIs(t, client(t, second).Get(t.Context(), "key").Err(), redis.Nil)
	})
	require.ErrorIs(t, client(t, first).Get(t.Context(), "key").Err(), redis.Nil)
}

func TestPrivate_survivesKills(t *testing.T) {
	t.Parallel()
	stack := devtest.Private(t)
	db, rdb := open(t, stack.DatabaseURL()), client(t, stack.RedisURL())
	_, err := db.Exec("CREATE TABLE kept AS SELECT 1")
	require.NoError(t, err)
	require.NoError(t, rdb.Set(t.Context(), "kept", "1", 0).Err())

	require.NoError(t, stack.KillPostgres())
	require.NoError(t, stack.KillRedis())
	require.Error(t, db.Ping())
	require.Error(t, rdb.Ping(t.Context()).Err())

	require.NoError(t, stack.RestartPostgres(t.Context()))
	require.NoError(t, stack.RestartRedis(t.Context()))
	var n int
	require.NoError(t, db.QueryRow("SELECT count(*) FROM kept").Scan(&n))
	require.Equal(t, 1, n)
	require.Equal(t, "1", rdb.Get(t.Context(), "kept").Val())
	require.NoError(t, stack.RestartRedis(t.Context()), "a server that runs")
	require.Equal(t, "1", rdb.Get(t.Context(), "kept").Val())
}

func TestPrivate_pausesRedis(t *testing.T) {
	t.Parallel()
	servers := devtest.Private(t)
	rdb := client(t, servers.RedisURL())
	require.NoError(t, rdb.Ping(t.Context()).Err())
	require.NoError(t, servers.PauseRedis())
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.Error(t, rdb.Ping(ctx).Err())
	require.NoError(t, servers.ResumeRedis())
	require.NoError(t, rdb.Ping(t.Context()).Err())
	require.NoError(t, servers.PauseRedis(), "the end of the test must end a paused server, too")
}

func open(t *testing.T, databaseURL string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", databaseURL)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func client(t *testing.T, redisURL string) *redis.Client {
	t.Helper()
	opt, err := redis.ParseURL(redisURL)
	require.NoError(t, err)
	opt.ContextTimeoutEnabled = true
	c := redis.NewClient(opt)
	t.Cleanup(func() { _ = c.Close() })
	return c
}
