package devstack

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func skipUnlessRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func TestRoot_serversRunAsAnotherUser(t *testing.T) {
	t.Parallel()
	skipUnlessRoot(t)
	dir := dataDir(t)
	start(t, Options{DataDir: dir, Ephemeral: true})
	want, err := serversAccount()
	require.NoError(t, err)
	for _, pid := range serverPIDs(t, dir) {
		out, err := exec.Command("ps", "-o", "uid=", "-p", strconv.Itoa(pid)).Output()
		require.NoError(t, err)
		require.Equal(t, strconv.Itoa(int(want.uid)), strings.TrimSpace(string(out)))
	}
}

// Other users cannot reach, for example, a folder below /root.
func TestRoot_dataDirThatOtherUsersCannotReach(t *testing.T) {
	t.Parallel()
	skipUnlessRoot(t)
	closed := dataDir(t)
	require.NoError(t, os.Chmod(closed, 0o700))
	dir := filepath.Join(closed, "project", ".mass")

	s := start(t, Options{DataDir: dir, Ephemeral: true})
	other := s.home.servers
	require.Equal(t, elsewhere, filepath.Dir(other))
	query(t, s, "CREATE TABLE kept AS SELECT 1")
	require.NoError(t, s.Close(t.Context()))
	s = start(t, Options{DataDir: dir, Ephemeral: true})
	require.Equal(t, other, s.home.servers)
	query(t, s, "SELECT * FROM kept")
	require.NoError(t, s.Close(t.Context()))

	require.NoError(t, os.RemoveAll(dir))
	s = start(t, Options{DataDir: dir, Ephemeral: true})
	require.NoDirExists(t, other, "nothing points to it anymore")
	t.Cleanup(func() {
		require.NoError(t, os.RemoveAll(s.home.servers))
		require.NoError(t, os.Remove(s.home.servers+".of"))
	})
}

func TestRoot_dataOfAnotherUserStayTheirs(t *testing.T) {
	t.Parallel()
	skipUnlessRoot(t)
	dir := dataDir(t)
	servers := filepath.Join(dir, "servers")
	require.NoError(t, os.Mkdir(servers, 0o700))
	nobody, err := lookupAccount("nobody") // a first choice would be postgres
	require.NoError(t, err)
	require.NoError(t, os.Chown(servers, int(nobody.uid), int(nobody.gid)))
	s := start(t, Options{DataDir: dir, Ephemeral: true})
	require.Equal(t, nobody.uid, s.home.account.uid)
}

// The other tests of this package, as an ordinary user.
func TestRoot_allTestsAsOrdinaryUser(t *testing.T) {
	t.Parallel()
	skipUnlessRoot(t)
	dir := dataDir(t)
	require.NoError(t, os.Chmod(dir, 0o755))
	binary := filepath.Join(dir, "devstack.test")
	copyFile(t, os.Args[0], binary)
	nobody, err := lookupAccount("nobody")
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), binary, "-test.count=1")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody.uid, Gid: nobody.gid}}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	require.NoError(t, err)
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	require.NoError(t, err)
	_, err = io.Copy(out, in)
	require.NoError(t, err)
	require.NoError(t, out.Close())
}

// A process that is killed while it has a small disk leaves it mounted.
func TestRoot_killedProcessesLeaveNoMounts(t *testing.T) {
	t.Parallel()
	skipUnlessRoot(t)
	dir, err := os.MkdirTemp("", temporaryPattern)
	require.NoError(t, err)
	disk := filepath.Join(dir, "servers", "disk")
	require.NoError(t, os.MkdirAll(disk, 0o700))
	if err := exec.Command("mount", "-t", "tmpfs", "tmpfs", disk).Run(); err != nil {
		require.NoError(t, os.RemoveAll(dir))
		t.Skipf("this machine does not let root mount anything: %v", err)
	}
	old := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(dir, old, old))
	start(t, Options{DatabaseURL: "postgres://elsewhere/x", Ephemeral: true})
	require.NoDirExists(t, dir)
}
