package devfault

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/leomutto/pilot-in-a-box/internal/devstack"
)

// ErrNoPgBouncer means that the program is not installed.
var ErrNoPgBouncer = errors.New("pgbouncer is not installed (Debian's package is called pgbouncer)")

// PgBouncerOptions describes a PgBouncer.
type PgBouncerOptions struct {
	Target   string   // address of the PostgreSQL as host:port
	Mode     string   // "session" or "transaction"
	Settings []string // further lines of the section [pgbouncer]; the defaults are those of PgBouncer
}

// PgBouncer is a connection pooler.
type PgBouncer struct {
	*devstack.Server

	folder *devstack.Folder
}

// StartPgBouncer starts a PgBouncer in front of a PostgreSQL of the same folder.
// It refuses startup parameters that it does not know, as PgBouncer does by
// default. The error is ErrNoPgBouncer where it is not installed.
func StartPgBouncer(ctx context.Context, f *devstack.Folder, o PgBouncerOptions) (*PgBouncer, error) {
	binary, err := findPgBouncer()
	if err != nil {
		return nil, err
	}
	dir, err := f.MakeDir("pgbouncer")
	if err != nil {
		return nil, err
	}
	port, err := devstack.FreePort()
	if err != nil {
		return nil, err
	}
	host, serverPort, err := net.SplitHostPort(o.Target)
	if err != nil {
		return nil, fmt.Errorf("read the address of the PostgreSQL behind PgBouncer: %w", err)
	}
	users, ini := filepath.Join(dir, "users.txt"), filepath.Join(dir, "pgbouncer.ini")
	lines := append([]string{
		"[databases]", fmt.Sprintf("* = host=%s port=%s", host, serverPort),
		"[pgbouncer]", "listen_addr = 127.0.0.1", fmt.Sprintf("listen_port = %d", port), "unix_socket_dir =",
		"auth_type = scram-sha-256", "auth_file = " + users, "admin_users = mass", "pool_mode = " + o.Mode,
		"default_pool_size = 150", "max_client_conn = 1000", "server_login_retry = 1",
	}, o.Settings...)
	err = errors.Join(
		f.WriteFile(users, fmt.Sprintf("%q %q\n", "mass", f.PostgresPassword())),
		f.WriteFile(ini, strings.Join(lines, "\n")+"\n"))
	if err != nil {
		return nil, err
	}
	server, err := f.Start(ctx, devstack.Program{
		Name: "pgbouncer", Path: binary, StopSignal: syscall.SIGTERM,
		Args: func(int) []string { return []string{ini} },
		Ping: f.PingPostgres,
	}, port)
	return &PgBouncer{Server: server, folder: f}, err
}

// DatabaseURL is the URL of the database `mass` through the pooler.
func (b *PgBouncer) DatabaseURL() string { return b.folder.PostgresURL(b.Addr()) }

// CheckPgBouncer returns ErrNoPgBouncer where PgBouncer is not installed.
func CheckPgBouncer() error {
	_, err := findPgBouncer()
	return err
}

// findPgBouncer looks in $PATH and where Debian keeps it.
func findPgBouncer() (string, error) {
	if path, err := exec.LookPath("pgbouncer"); err == nil {
		return path, nil
	}
	const usual = "/usr/sbin/pgbouncer"
	if _, err := os.Stat(usual); err != nil {
		return "", ErrNoPgBouncer
	}
	return usual, nil
}
