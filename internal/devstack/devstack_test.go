package devstack

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

func TestStart_keepsDataOverRestart(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	first := start(t, Options{DataDir: dir})
	query(t, first, "CREATE TABLE kept AS SELECT 42 AS n")
	require.NoError(t, client(t, first).Set(t.Context(), "kept", "42", 0).Err())
	servers := serverPIDs(t, dir)
	require.NoError(t, first.Close(t.Context()))
	require.NoError(t, first.Close(t.Context()), "a second Close")
	for _, pid := range servers {
		require.NoFileExists(t, fmt.Sprintf("/proc/%d/exe", pid))
	}
	requireRefused(t, first)

	second := start(t, Options{DataDir: dir})
	var n int
	require.NoError(t, open(t, second).QueryRow("SELECT n FROM kept").Scan(&n))
	require.Equal(t, 42, n)
	require.Equal(t, "42", client(t, second).Get(t.Context(), "kept").Val())
	require.Contains(t, second.Postgres(), "private PostgreSQL ")
	require.Contains(t, second.Redis(), "private Redis ")
}

func TestStart_withoutDataDirLeavesNothing(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Ephemeral: true})
	dir := s.home.dir
	require.DirExists(t, dir)
	require.NoError(t, s.Close(t.Context()))
	require.NoDirExists(t, dir)
}

func TestStart_removesTemporaryFoldersOfKilledProcesses(t *testing.T) {
	t.Parallel()
	left, err := os.MkdirTemp("", temporaryPattern)
	require.NoError(t, err)
	old := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(left, old, old))
	live := start(t, Options{Ephemeral: true})
	require.NoDirExists(t, left)
	require.NoError(t, os.Chtimes(live.home.dir, old, old))
	start(t, Options{Ephemeral: true})
	require.DirExists(t, live.home.dir)
}

func TestStart_usesTheServersItIsGiven(t *testing.T) {
	t.Parallel()
	s := start(t, Options{DatabaseURL: "postgres://me:secret@db:5432/x", RedisURL: "redis-sentinel://:secret@a:1,b:2"})
	require.Equal(t, "postgres://me:secret@db:5432/x", s.DatabaseURL())
	require.Equal(t, "redis-sentinel://:secret@a:1,b:2", s.RedisURL())
	require.Equal(t, "PostgreSQL at db:5432 (DATABASE_URL)", s.Postgres())
	require.NotContains(t, s.Redis(), "secret")
}

func TestStart_refusesADataDirInUse(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	first := start(t, Options{DataDir: dir, Ephemeral: true})
	_, err := Start(t.Context(), Options{DataDir: dir, Ephemeral: true})
	require.ErrorContains(t, err, fmt.Sprintf("%s is in use by process %d", dir, os.Getpid()))
	require.NoError(t, first.Close(t.Context()))
	start(t, Options{DataDir: dir, Ephemeral: true})
}

func TestStart_letsNobodyInWithoutPassword(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	s := start(t, Options{DataDir: dir, Ephemeral: true})
	wrong := func(serverURL string) string {
		u, err := url.Parse(serverURL)
		require.NoError(t, err)
		u.User = url.UserPassword(u.User.Username(), "wrong")
		return u.String()
	}
	err := execSQL(t.Context(), wrong(s.DatabaseURL()), "SELECT 1")
	require.ErrorContains(t, err, "password authentication failed")
	opt, err := redis.ParseURL(wrong(s.RedisURL()))
	require.NoError(t, err)
	require.ErrorContains(t, newClient(t, opt).Ping(t.Context()).Err(), "WRONGPASS")

	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 && filepath.Dir(path) == dir {
			err = fmt.Errorf("%s has mode %s", path, info.Mode())
		}
		return err
	}))
}

func TestStart_goesOnWithAPortThatIsTaken(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Ephemeral: true})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for _, srv := range []*server{s.postgres, s.redis} {
		require.NoError(t, srv.stop(t.Context()))
		err := srv.startOn(t.Context(), taken.Addr().(*net.TCPAddr).Port)
		require.ErrorIs(t, err, errAddressInUse, srv.name)
		require.NoError(t, srv.start(t.Context(), 0), srv.name)
	}
}

func TestStart_ignoresAStalePostmasterPID(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	s := start(t, Options{DataDir: dir, Ephemeral: true})
	data := filepath.Join(s.home.servers, "postgres")
	require.NoError(t, s.Close(t.Context()))
	// This is the state after the process id of a killed server was given to
	// another process of the same user.
	other := start(t, Options{DatabaseURL: "postgres://elsewhere/x", Ephemeral: true})
	stale := fmt.Appendf(nil, "%d\n%s\n", other.redis.proc.Pid, data)
	require.NoError(t, os.WriteFile(filepath.Join(data, "postmaster.pid"), stale, 0o600))
	require.NoError(t, s.home.account.own(filepath.Join(data, "postmaster.pid")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "postgres.lock"), stale, 0o600))
	start(t, Options{DataDir: dir, Ephemeral: true})
}

func TestStart_canBeCanceled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Start(ctx, Options{Ephemeral: true})
	require.ErrorIs(t, err, context.Canceled)
	require.NotContains(t, err.Error(), "download")
}

func TestClose_endsAPausedServer(t *testing.T) {
	t.Parallel()
	s := start(t, Options{DatabaseURL: "postgres://elsewhere/x", Ephemeral: true})
	require.NoError(t, s.redis.proc.Signal(syscall.SIGSTOP))
	require.NoError(t, s.Close(t.Context()))
	require.True(t, s.redis.proc.ended())
}

func TestStart_onAGivenPort(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	first := start(t, Options{DataDir: dir, Ephemeral: true})
	require.NoError(t, first.Close(t.Context()))
	second := start(t, Options{DataDir: dir, Ephemeral: true, PostgresPort: first.postgres.port, RedisPort: first.redis.port})
	require.Equal(t, first.DatabaseURL(), second.DatabaseURL())
	require.Equal(t, first.RedisURL(), second.RedisURL())
}

// A server must not end with the thread that happened to start it.
func TestServersOutliveThreads(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Ephemeral: true})
	const more = 200 // more goroutines than this process has threads, so that every free thread takes part
	var locked, ended sync.WaitGroup
	locked.Add(more)
	for range more {
		ended.Go(func() {
			runtime.LockOSThread() // a goroutine that ends locked takes its thread with it
			locked.Done()
			locked.Wait()
		})
	}
	ended.Wait()
	query(t, s, "SELECT 1")
	require.NoError(t, client(t, s).Ping(t.Context()).Err())
	require.False(t, s.postgres.proc.ended())
	require.False(t, s.redis.proc.ended())
}

func TestMemoryRedis(t *testing.T) {
	t.Parallel()
	s := start(t, Options{DatabaseURL: "postgres://elsewhere/x", SearchPath: []string{t.TempDir()}})
	require.True(t, s.InMemoryRedis())
	require.Contains(t, s.Redis(), "miniredis in process")
	rdb := client(t, s)
	require.NoError(t, rdb.Set(t.Context(), "short", "1", 20*time.Millisecond).Err())
	require.Eventually(t, func() bool { return rdb.Exists(t.Context(), "short").Val() == 0 }, 10*time.Minute, time.Millisecond)

	opt, err := asynq.ParseRedisURI(s.RedisURL())
	require.NoError(t, err)
	handled := make(chan string, 1)
	worker := asynq.NewServer(opt, asynq.Config{TaskCheckInterval: 10 * time.Millisecond, LogLevel: asynq.FatalLevel})
	require.NoError(t, worker.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		handled <- string(task.Payload())
		return nil
	})))
	defer worker.Shutdown()
	queue := asynq.NewClient(opt)
	defer queue.Close()
	_, err = queue.Enqueue(asynq.NewTask("kind", []byte("payload")))
	require.NoError(t, err)
	select {
	case payload := <-handled:
		require.Equal(t, "payload", payload)
	case <-time.After(10 * time.Minute):
		t.Fatal("the task was not handled")
	}
}

// start fails the test if the servers do not start, and stops them at its end.
func start(t *testing.T, o Options) *Stack {
	t.Helper()
	s, err := Start(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close(context.Background())) })
	return s
}

// dataDir is a folder that other users may pass through, unlike t.TempDir's
// when root runs the tests.
func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "devstack-test-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o711))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func serverPIDs(t *testing.T, dir string) []int {
	t.Helper()
	pids := []int{readPID(filepath.Join(dir, "postgres.lock")), readPID(filepath.Join(dir, "redis.lock"))}
	require.NotContains(t, pids, 0)
	return pids
}

func open(t *testing.T, s *Stack) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", s.DatabaseURL())
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func query(t *testing.T, s *Stack, statement string) {
	t.Helper()
	require.NoError(t, execSQL(t.Context(), s.DatabaseURL(), statement))
}

func client(t *testing.T, s *Stack) *redis.Client {
	t.Helper()
	opt, err := redis.ParseURL(s.RedisURL())
	require.NoError(t, err)
	return newClient(t, opt)
}

func newClient(t *testing.T, opt *redis.Options) *redis.Client {
	t.Helper()
	opt.MaxRetries, opt.ContextTimeoutEnabled = -1, true
	c := redis.NewClient(opt)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func requireRefused(t *testing.T, s *Stack) {
	t.Helper()
	for _, serverURL := range []string{s.DatabaseURL(), s.RedisURL()} {
		u, err := url.Parse(serverURL)
		require.NoError(t, err)
		_, err = net.Dial("tcp", u.Host)
		require.Error(t, err)
	}
}
