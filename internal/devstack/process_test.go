package devstack

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// holdVariable makes this test binary a process that starts the servers on the
// named data folder and waits to be killed.
const holdVariable = "DEVSTACK_TEST_HOLD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdVariable); dir != "" {
		hold(dir)
	}
	os.Exit(m.Run())
}

func hold(dir string) {
	s, err := Start(context.Background(), Options{DataDir: dir})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode([]string{s.DatabaseURL(), s.RedisURL()}); err != nil {
		os.Exit(1)
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until killed, or left alone by a test that failed
	os.Exit(1)
}

func TestKilledParentLeavesNoChildren(t *testing.T) {
	t.Parallel()
	for _, paused := range []bool{false, true} {
		t.Run(fmt.Sprintf("paused=%t", paused), func(t *testing.T) {
			t.Parallel()
			dir := dataDir(t)
			parent := exec.CommandContext(t.Context(), os.Args[0])
			parent.Env = append(os.Environ(), holdVariable+"="+dir)
			parent.Stderr = os.Stderr
			stdin, err := parent.StdinPipe()
			require.NoError(t, err)
			defer stdin.Close()
			stdout, err := parent.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, parent.Start())
			var urls [2]string
			line, err := bufio.NewReader(stdout).ReadBytes('\n')
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(line, &urls))
			s := &Stack{postgresURL: urls[0], redisURL: urls[1]}
			query(t, s, "CREATE TABLE kept AS SELECT 1")
			require.NoError(t, client(t, s).Set(t.Context(), "kept", "1", 0).Err())
			pids := serverPIDs(t, dir)

			_, err = Start(t.Context(), Options{DataDir: dir})
			require.ErrorContains(t, err, fmt.Sprintf("in use by process %d", parent.Process.Pid))

			if paused {
				require.NoError(t, syscall.Kill(pids[1], syscall.SIGSTOP))
			}
			require.NoError(t, parent.Process.Kill())
			require.Error(t, parent.Wait())
			if runtime.GOOS == "linux" {
				awaitServersGone(t, dir) // no process stops the servers; they end by themselves
			}

			again := start(t, Options{DataDir: dir})
			requireRefused(t, s)
			query(t, again, "SELECT * FROM kept")
			require.Equal(t, "1", client(t, again).Get(t.Context(), "kept").Val())
		})
	}
}

// awaitServersGone waits for the locks that every process of the servers holds.
func awaitServersGone(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"postgres.lock", "redis.lock"} {
		f, err := os.Open(filepath.Join(dir, name))
		require.NoError(t, err)
		require.NoError(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
		require.NoError(t, f.Close())
	}
}

// Right after the kill, the old servers may still be shutting down.
func TestStart_waitsForServersOfAKilledProcess(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	s := start(t, Options{DataDir: dir})
	query(t, s, "CREATE TABLE kept AS SELECT 1")
	// This is the state after a SIGKILL on a system without Pdeathsig: the data
	// folder is unlocked, and the servers are still running.
	require.NoError(t, unlock(s.home.lock))
	s.postgres.proc.expected.Store(true)
	s.redis.proc.expected.Store(true)
	again := start(t, Options{DataDir: dir})
	<-s.postgres.proc.done
	<-s.redis.proc.done
	query(t, again, "SELECT * FROM kept")
	s.closing.Do(func() {}) // it has nothing left to close
}
