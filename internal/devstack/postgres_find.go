package devstack

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// usualPlaces lists where packages install PostgreSQL without adding it to
// $PATH.
func usualPlaces() []string {
	return []string{
		"/usr/lib/postgresql/*/bin",                          // Debian, Ubuntu
		"/usr/pgsql-*/bin",                                   // RHEL, Fedora (PGDG)
		"/usr/libexec/postgresql*",                           // Alpine
		"/opt/homebrew/opt/postgresql@*/bin",                 // Homebrew on Apple silicon
		"/usr/local/opt/postgresql@*/bin",                    // Homebrew on Intel
		"/Applications/Postgres.app/Contents/Versions/*/bin", // Postgres.app
		"/usr/local/pgsql/bin",                               // built from source
	}
}

// binaries describes a folder with the programs of one PostgreSQL.
type binaries struct {
	dir     string
	version string // "15.20"
	wrapper bool   // the programs are scripts that wrap the real ones
}

// major returns the major version, such as "15". It decides whether the
// binaries can use a cluster.
func (b binaries) major() string {
	end := strings.IndexFunc(b.version, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		return b.version
	}
	return b.version[:end]
}

// choosePostgres returns an installed PostgreSQL that fits the existing cluster
// (major "" accepts any). It downloads one if none is installed.
func choosePostgres(ctx context.Context, h *home, o Options, major string) (binaries, error) {
	found := findPostgres(ctx, o.SearchPath, h.account)
	if err := ctx.Err(); err != nil {
		return binaries{}, fmt.Errorf("look for an installed PostgreSQL: %w", err)
	}
	if len(found) == 0 {
		b, err := downloadPostgres(ctx, h, o.DownloadURL, major)
		if err != nil {
			return binaries{}, fmt.Errorf("no PostgreSQL is installed, and the download failed (%w). "+
				"There are three ways out: set DATABASE_URL to an existing server, install PostgreSQL (%s), "+
				"or let this machine reach %s", err, installCommand("PostgreSQL"), repository(o.DownloadURL))
		}
		return b, nil
	}
	for _, b := range found {
		if major == "" || b.major() == major {
			return b, nil
		}
	}
	return binaries{}, fmt.Errorf("the data in %s was created by PostgreSQL %s, but the installed version is %s (%s): "+
		"install PostgreSQL %s, remove the data folder to start from scratch, or migrate the data with pg_dump or pg_upgrade",
		h.dir, major, found[0].version, found[0].dir, major)
}

// findPostgres returns every PostgreSQL that the account can run. Those in the
// search path come first, in its order, then those in the usual places, newest
// first, then scripts that wrap one.
func findPostgres(ctx context.Context, searchPath []string, acct *account) []binaries {
	if searchPath != nil {
		return probePostgres(ctx, searchPath, acct)
	}
	var usual []string
	for _, pattern := range usualPlaces() {
		if dirs, err := filepath.Glob(pattern); err == nil {
			usual = append(usual, dirs...)
		}
	}
	packaged := probePostgres(ctx, usual, acct)
	number := func(b binaries) int { n, _ := strconv.Atoi(b.major()); return n }
	slices.SortStableFunc(packaged, func(a, b binaries) int { return number(b) - number(a) })

	found := append(probePostgres(ctx, pathFolders(), acct), packaged...)
	slices.SortStableFunc(found, func(a, b binaries) int {
		switch {
		case a.wrapper == b.wrapper:
			return 0
		case a.wrapper:
			return 1
		default:
			return -1
		}
	})
	return found
}

// probePostgres returns the folders that contain both programs that a private
// cluster needs.
func probePostgres(ctx context.Context, dirs []string, acct *account) []binaries {
	var found []binaries
	for _, dir := range dirs {
		initdb, err := filepath.EvalSymlinks(filepath.Join(dir, "initdb"))
		if err != nil {
			continue
		}
		if target := filepath.Dir(initdb); isFile(filepath.Join(target, "postgres")) {
			dir = target // $PATH often contains links
		}
		if slices.ContainsFunc(found, func(b binaries) bool { return b.dir == dir }) {
			continue
		}
		// "postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)"
		out, err := run(ctx, acct.command(syscall.SIGKILL, "/", filepath.Join(dir, "postgres"), "--version"))
		if fields := strings.Fields(out); err == nil && len(fields) >= 3 {
			found = append(found, binaries{dir: dir, version: fields[2], wrapper: isScript(initdb)})
		}
	}
	return found
}

func pathFolders() []string { return filepath.SplitList(os.Getenv("PATH")) }

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func isScript(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	start := make([]byte, 2)
	_, err = f.Read(start)
	return err == nil && string(start) == "#!"
}

// lookIn returns the first of the named programs in the folders; nil means
// $PATH.
func lookIn(searchPath []string, names ...string) (string, error) {
	if searchPath == nil {
		searchPath = pathFolders()
	}
	for _, dir := range searchPath {
		for _, name := range names {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return filepath.Abs(path)
			}
		}
	}
	return "", fmt.Errorf("find %s: %w", strings.Join(names, " or "), exec.ErrNotFound)
}

// installCommand returns the command that installs PostgreSQL or Redis on this
// machine.
func installCommand(product string) string {
	for _, m := range []struct{ tool, postgres, redis string }{
		{"apt-get", "apt-get install postgresql", "apt-get install redis-server"},
		{"dnf", "dnf install postgresql-server", "dnf install valkey"},
		{"apk", "apk add postgresql", "apk add redis"},
		{"pacman", "pacman -S postgresql", "pacman -S valkey"},
		{"brew", "brew install postgresql@17", "brew install redis"},
	} {
		if _, err := exec.LookPath(m.tool); err != nil {
			continue
		}
		if product == "Redis" {
			return m.redis
		}
		return m.postgres
	}
	return "with your package manager"
}
