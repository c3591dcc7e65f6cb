package devstack

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
)

const (
	postgresRole     = "mass"
	postgresDatabase = "mass"
	pingTimeout      = 5 * time.Second
)

// cluster is a private PostgreSQL: its binaries, its data folder and the
// password of its only role.
type cluster struct {
	binaries
	data     string
	password string
}

func (s *Stack) startPostgres(ctx context.Context, o Options) error {
	h := s.home
	c := cluster{data: filepath.Join(h.servers, "postgres")}
	major, err := clusterMajor(c.data)
	if err != nil {
		return err
	}
	if c.binaries, err = choosePostgres(ctx, h, o, major); err != nil {
		return err
	}
	if c.password, err = password(h.path("postgres.password"), major != ""); err != nil {
		return fmt.Errorf("password of the cluster in %s: %w", c.data, err)
	}
	if major == "" {
		if err := c.initialize(ctx, h, o.Ephemeral); err != nil {
			return fmt.Errorf("initialize a PostgreSQL cluster: %w", err)
		}
	}
	s.postgres = &server{
		name:       "PostgreSQL",
		files:      h.path("postgres"),
		pidFile:    filepath.Join(c.data, "postmaster.pid"),
		stopSignal: syscall.SIGINT, // "fast shutdown": clients are disconnected, a checkpoint is written
		command:    func(port int) *exec.Cmd { return c.command(h, port, o.Ephemeral, o.Settings) },
		ping:       c.ping,
		logger:     o.Logger,
	}
	if err := s.postgres.start(ctx, o.PostgresPort); err != nil {
		return err
	}
	s.postgresURL = c.url(s.postgres.port, postgresDatabase)
	s.postgresInfo = fmt.Sprintf("private PostgreSQL %s on port %d (%s)", c.version, s.postgres.port, c.dir)
	return nil
}

// clusterMajor returns the major version that created the cluster, or "" if
// there is no cluster.
func clusterMajor(data string) (string, error) {
	content, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the version of the cluster: %w", err)
	}
	return strings.TrimSpace(string(content)), nil
}

// password reads the password in a file. If there is no file, it creates one,
// unless mustExist is set.
func password(path string, mustExist bool) (string, error) {
	content, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(content)), nil
	}
	if mustExist || !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the password: %w", err)
	}
	random := make([]byte, 16)
	_, _ = rand.Read(random) // never fails, according to its documentation
	secret := hex.EncodeToString(random)
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("keep the password: %w", err)
	}
	return secret, nil
}

// initialize creates the cluster in a temporary folder next to its own, so that
// an interrupted initdb leaves nothing half done.
func (c *cluster) initialize(ctx context.Context, h *home, ephemeral bool) error {
	unfinished := c.data + ".new"
	if err := os.RemoveAll(unfinished); err != nil {
		return fmt.Errorf("remove an unfinished cluster: %w", err)
	}
	// On the command line every user could see the password. The servers'
	// account must be able to read the file.
	passwordFile, err := os.CreateTemp(h.servers, "password-")
	if err != nil {
		return fmt.Errorf("hand over the password: %w", err)
	}
	defer os.Remove(passwordFile.Name())
	_, err = passwordFile.WriteString(c.password + "\n")
	if err := errors.Join(err, passwordFile.Close(), h.account.own(passwordFile.Name())); err != nil {
		return fmt.Errorf("hand over the password: %w", err)
	}
	// The C locale is the same on every machine: text sorts by code point.
	args := []string{
		"--pgdata", unfinished, "--username", postgresRole, "--pwfile", passwordFile.Name(),
		"--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C",
	}
	if ephemeral {
		args = append(args, "--no-sync")
	}
	initdb := h.account.command(syscall.SIGKILL, h.servers, filepath.Join(c.dir, "initdb"), args...)
	if _, err := run(ctx, initdb); err != nil {
		return err
	}
	if err := os.Rename(unfinished, c.data); err != nil {
		return fmt.Errorf("put the new cluster in its place: %w", err)
	}
	return nil
}

// command returns the command that runs the server.
func (c *cluster) command(h *home, port int, ephemeral bool, further []string) *exec.Cmd {
	args := c.arguments(port, ephemeral, further)
	return h.account.command(syscall.SIGINT, h.servers, filepath.Join(c.dir, "postgres"), args...)
}

// arguments returns the arguments of the server. The server listens on TCP
// only, because the path of a socket is limited to about 100 bytes, and data
// folders can have longer paths.
func (c *cluster) arguments(port int, ephemeral bool, further []string) []string {
	settings := []string{
		"listen_addresses=127.0.0.1", "port=" + strconv.Itoa(port), "unix_socket_directories=",
		"max_connections=300", "timezone=UTC", "log_timezone=UTC", "logging_collector=off", "log_destination=stderr",
	}
	if ephemeral {
		settings = append(settings, "fsync=off", "synchronous_commit=off", "full_page_writes=off")
	}
	args := []string{"-D", c.data}
	for _, setting := range append(settings, further...) { // of several values of one setting, the last one counts
		args = append(args, "-c", setting)
	}
	return args
}

func (c *cluster) url(port int, database string) string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s?sslmode=disable", postgresRole, c.password, port, database)
}

// ping connects to the database `mass`, and creates it if it is missing. The
// connection has its own timeout because pq's handshake ignores the context,
// and another process on the port might accept connections and never answer.
func (c *cluster) ping(ctx context.Context, port int) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	limit := fmt.Sprintf("&connect_timeout=%d", pingTimeout/time.Second)
	err := execSQL(ctx, c.url(port, postgresDatabase)+limit, "SELECT 1")
	if pq.As(err, pqerror.InvalidCatalogName) != nil {
		return execSQL(ctx, c.url(port, "postgres")+limit, "CREATE DATABASE "+pq.QuoteIdentifier(postgresDatabase))
	}
	return err
}

func execSQL(ctx context.Context, databaseURL, statement string) (err error) {
	db, err := sql.Open("postgres", databaseURL)
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, statement); err != nil {
		return fmt.Errorf("run %q: %w", statement, err)
	}
	return nil
}
