package devstack

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStart_namesTheWaysOutWhenThereIsNoPostgres(t *testing.T) {
	dir := dataDir(t)
	confineEmbeddedPostgres(t)
	nothing := httptest.NewServer(http.NotFoundHandler())
	defer nothing.Close()
	_, err := Start(t.Context(), Options{
		DataDir: dir, RedisURL: "redis://elsewhere", SearchPath: []string{t.TempDir()}, DownloadURL: nothing.URL,
	})
	require.ErrorContains(t, err, "no version found matching") // what embedded-postgres says about a 404
	for _, way := range []string{"set DATABASE_URL", "install PostgreSQL (", "reach " + nothing.URL} {
		require.ErrorContains(t, err, way)
	}
}

// The repository has the layout of Maven Central, and its archive has that of
// zonky's. The programs in the archive are links to the programs that are
// installed here.
func TestStart_downloadsPostgres(t *testing.T) {
	xz, err := exec.LookPath("xz")
	if err != nil {
		t.Skip("needs xz to pack an archive")
	}
	account := (*account)(nil)
	if os.Geteuid() == 0 {
		account, err = serversAccount()
		require.NoError(t, err)
	}
	installed := findPostgres(t.Context(), nil, account)
	require.NotEmpty(t, installed)
	dir := dataDir(t)
	confineEmbeddedPostgres(t)
	jar := fakeArchive(t, xz, installed[0].dir)
	var asked []string
	maven := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		if filepath.Ext(r.URL.Path) != ".jar" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(jar)
	}))
	defer maven.Close()

	s := start(t, Options{
		DataDir: dir, RedisURL: "redis://elsewhere", SearchPath: []string{t.TempDir()}, DownloadURL: maven.URL, Ephemeral: true,
	})
	require.Contains(t, asked[0], "/io/zonky/test/postgres/embedded-postgres-binaries-")
	query(t, s, "SELECT 1")
	require.Contains(t, s.Postgres(), filepath.Join(dir, "servers", "postgresql-"+string(downloadable()[0]), "bin"))
	left, err := filepath.Glob(filepath.Join(dir, "servers", "download-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// confineEmbeddedPostgres makes embedded-postgres use a folder of the test for
// its archive and its log.
func confineEmbeddedPostgres(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("TMPDIR", dir)
}

func fakeArchive(t *testing.T, xz, installed string) []byte {
	t.Helper()
	var tarball, jar bytes.Buffer
	tw := tar.NewWriter(&tarball)
	for _, program := range []string{"initdb", "pg_ctl", "postgres"} {
		script := fmt.Sprintf("#!/bin/sh\nexec %s \"$@\"\n", filepath.Join(installed, program))
		require.NoError(t, tw.WriteHeader(&tar.Header{Name: "bin/" + program, Mode: 0o755, Size: int64(len(script))}))
		_, err := tw.Write([]byte(script))
		require.NoError(t, err)
	}
	require.NoError(t, tw.Close())
	pack := exec.Command(xz, "--compress", "--stdout", "--check=crc32")
	pack.Stdin = &tarball
	packed, err := pack.Output()
	require.NoError(t, err)
	zw := zip.NewWriter(&jar)
	entry, err := zw.Create("postgres-linux-x86_64.txz")
	require.NoError(t, err)
	_, err = entry.Write(packed)
	require.NoError(t, err)
	require.NoError(t, zw.Close())
	return jar.Bytes()
}

func TestStart_refusesDataOfAnotherMajorVersion(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "servers", "postgres"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "servers", "postgres", "PG_VERSION"), []byte("9\n"), 0o600))
	_, err := Start(t.Context(), Options{DataDir: dir, RedisURL: "redis://elsewhere"})
	require.ErrorContains(t, err, "was created by PostgreSQL 9, but the installed version is 1")
	require.ErrorContains(t, err, "install PostgreSQL 9, remove the data folder")
}

func TestStart_postgresErrorHasTheEndOfItsLog(t *testing.T) {
	t.Parallel()
	o := Options{DataDir: dataDir(t), RedisURL: "redis://elsewhere", Ephemeral: true}
	s := start(t, o)
	require.NoError(t, s.Close(t.Context()))
	config, err := os.OpenFile(filepath.Join(s.home.servers, "postgres", "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = config.WriteString("no_such_setting = 1\n")
	require.NoError(t, err)
	require.NoError(t, config.Close())
	_, err = Start(t.Context(), o)
	require.ErrorContains(t, err, `unrecognized configuration parameter "no_such_setting"`)
}

func TestStart_needsThePasswordOfAnExistingCluster(t *testing.T) {
	t.Parallel()
	o := Options{DataDir: dataDir(t), RedisURL: "redis://elsewhere", Ephemeral: true}
	require.NoError(t, start(t, o).Close(t.Context()))
	require.NoError(t, os.Remove(filepath.Join(o.DataDir, "postgres.password")))
	_, err := Start(t.Context(), o)
	require.ErrorContains(t, err, "postgres.password")
}

func TestStart_redis(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ program, script, err string }{
		"too old": {
			"redis-server", `echo "Redis server v=6.0.16 sha=00000000:0"`, "is Redis 6.0.16, and MASS needs 6.2 or newer",
		},
		"ends at once": {
			"valkey-server", `test "$1" = - && { echo "out of luck"; exit 3; }; echo "Valkey server v=8.0.1"`,
			"the server ended immediately (exit status 3)",
		},
		"unknown version": {"redis-server", "echo hello", `printed "hello"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bin := dataDir(t)
			require.NoError(t, os.Chmod(bin, 0o755))
			writeScript(t, filepath.Join(bin, test.program), test.script)
			_, err := Start(t.Context(), Options{DataDir: dataDir(t), DatabaseURL: "postgres://elsewhere/x", SearchPath: []string{bin}})
			require.ErrorContains(t, err, test.err)
			if test.program == "valkey-server" {
				require.ErrorContains(t, err, "out of luck", "the end of the log")
			}
		})
	}
}

func TestFindPostgres_prefersProgramsToScripts(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	for _, program := range []string{"initdb", "postgres"} {
		writeScript(t, filepath.Join(bin, program), "echo 'postgres (PostgreSQL) 16.1'")
	}
	found := findPostgres(t.Context(), []string{bin}, nil)
	require.Equal(t, []binaries{{dir: bin, version: "16.1", wrapper: true}}, found)
	require.Equal(t, "16", found[0].major())
	require.Equal(t, "19", binaries{version: "19beta1"}.major())
}

// writeScript makes a program of a shell script. No other test may fork while
// the file is open for writing: its child would hold it open for a moment, and
// the program could not be run ("text file busy").
func writeScript(t *testing.T, path, script string) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
}
