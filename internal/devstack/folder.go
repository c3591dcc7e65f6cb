package devstack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Folder is a temporary data folder that holds any number of private servers.
// Package devfault combines them into installations that can be broken: a
// primary with its standby, a Redis Cluster, a connection pooler. The methods
// are safe for concurrent use.
type Folder struct {
	home     *home
	binaries binaries // of PostgreSQL
	password string   // of the PostgreSQL clusters
	logger   *slog.Logger

	mu       sync.Mutex
	servers  []*Server
	cleanups []func() error
}

// NewFolder makes a temporary data folder. Close stops its servers and removes
// it. A nil logger discards.
func NewFolder(ctx context.Context, logger *slog.Logger) (_ *Folder, err error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	f := &Folder{logger: logger}
	if f.home, err = openHome(ctx, "", logger); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.home.close())
		}
	}()
	if f.binaries, err = choosePostgres(ctx, f.home, Options{}, ""); err != nil {
		return nil, err
	}
	if f.password, err = password(f.home.path("postgres.password"), false); err != nil {
		return nil, fmt.Errorf("make the password of PostgreSQL: %w", err)
	}
	return f, nil
}

// Cleanup makes Close call undo after it has stopped the servers, and before it
// removes the folder.
func (f *Folder) Cleanup(undo func() error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cleanups = append(f.cleanups, undo)
}

// Close stops all servers and removes the folder.
func (f *Folder) Close(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	errs := make([]error, len(f.servers))
	var all sync.WaitGroup
	for i, s := range f.servers {
		all.Go(func() { errs[i] = s.Stop(ctx) })
	}
	all.Wait()
	for _, undo := range f.cleanups {
		errs = append(errs, undo())
	}
	f.servers, f.cleanups = nil, nil
	return errors.Join(append(errs, f.home.close())...)
}

// MakeDir makes a folder that belongs to the servers' account.
func (f *Folder) MakeDir(name string) (string, error) {
	dir := filepath.Join(f.home.servers, name)
	if err := errors.Join(os.MkdirAll(dir, 0o700), f.home.account.own(dir)); err != nil {
		return "", fmt.Errorf("make the folder of %s: %w", name, err)
	}
	return dir, nil
}

// Own gives a folder and everything in it to the servers' account.
func (f *Folder) Own(dir string) error { return f.home.account.own(dir) }

// WriteFile writes a file that only the servers' account can read.
func (f *Folder) WriteFile(path, content string) error {
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return f.home.account.own(path)
}

// Run runs a short command to its end as the servers' account.
func (f *Folder) Run(ctx context.Context, path string, args ...string) (string, error) {
	return run(ctx, f.home.account.command(syscall.SIGKILL, f.home.servers, path, args...))
}

// Program describes how a Folder starts a server.
type Program struct {
	Name          string // unique in the folder
	Path          string
	Args          func(port int) []string
	Stdin         func(port int) string // nil: the server reads nothing
	PIDFile       string                // file in which the server writes its process id; "" if it does not
	StopSignal    syscall.Signal
	OnParentDeath syscall.Signal // what the server gets when this process is killed; 0 is SIGKILL
	Ping          func(ctx context.Context, port int) error
}

// Server is one private server of a Folder.
type Server struct{ server server }

// Start starts a server on the given port, or on a free one when it is 0, and
// returns when the server answers.
func (f *Folder) Start(ctx context.Context, p Program, port int) (*Server, error) {
	onParentDeath := p.OnParentDeath
	if onParentDeath == 0 {
		onParentDeath = syscall.SIGKILL
	}
	s := &Server{server{
		name: p.Name, files: f.home.path(p.Name), pidFile: p.PIDFile, stopSignal: p.StopSignal,
		ping: p.Ping, logger: f.logger,
		command: func(port int) *exec.Cmd {
			cmd := f.home.account.command(onParentDeath, f.home.servers, p.Path, p.Args(port)...)
			if p.Stdin != nil {
				cmd.Stdin = strings.NewReader(p.Stdin(port))
			}
			return cmd
		},
	}}
	f.mu.Lock()
	f.servers = append(f.servers, s)
	f.mu.Unlock()
	return s, s.server.start(ctx, port)
}

// Port is the port of the server. It survives a restart.
func (s *Server) Port() int {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	return s.server.port
}

// Addr is the address of the server as host:port.
func (s *Server) Addr() string { return redisAddr(s.Port()) }

// Running reports whether the process of the server runs.
func (s *Server) Running() bool {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	return s.server.proc != nil && !s.server.proc.ended()
}

// Stop shuts the server down in an orderly way.
func (s *Server) Stop(ctx context.Context) error { return s.server.stop(ctx) }

// Kill ends the server and the processes that it forked, as a crash would.
func (s *Server) Kill() error {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	if s.server.proc == nil {
		return nil
	}
	return s.server.killLocked()
}

// Restart starts the server on its old port, after killing it if it runs.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.Kill(); err != nil {
		return err
	}
	return s.server.start(ctx, s.Port())
}

// Signal sends a signal to the process of the server, such as SIGSTOP.
func (s *Server) Signal(sig syscall.Signal) error {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	if s.server.proc == nil {
		return fmt.Errorf("send %v to %s: it was never started", sig, s.server.name)
	}
	if err := s.server.proc.Signal(sig); err != nil {
		return fmt.Errorf("send %v to %s: %w", sig, s.server.name, err)
	}
	return nil
}

// InitPostgres creates an empty cluster in a folder that must not exist. All
// clusters of a Folder have the same role and password.
func (f *Folder) InitPostgres(ctx context.Context, data string) error {
	c := cluster{binaries: f.binaries, data: data, password: f.password}
	if err := c.initialize(ctx, f.home, true); err != nil {
		return fmt.Errorf("initialize a PostgreSQL cluster: %w", err)
	}
	return nil
}

// StartPostgres starts a PostgreSQL on a cluster. It keeps every commit over a
// crash of the server, but not over a crash of the machine.
func (f *Folder) StartPostgres(ctx context.Context, name, data string, port int, settings ...string) (*Server, error) {
	c := cluster{binaries: f.binaries, data: data, password: f.password}
	settings = append([]string{"fsync=off"}, settings...)
	return f.Start(ctx, Program{
		Name: name, Path: filepath.Join(c.dir, "postgres"),
		Args:       func(port int) []string { return c.arguments(port, false, settings) },
		PIDFile:    filepath.Join(data, "postmaster.pid"),
		StopSignal: syscall.SIGINT, OnParentDeath: syscall.SIGINT,
		Ping: c.ping,
	}, port)
}

// PostgresPassword is the password of the role of all clusters of the folder.
func (f *Folder) PostgresPassword() string { return f.password }

// PostgresProgram returns the path of a program of PostgreSQL, such as
// pg_basebackup.
func (f *Folder) PostgresProgram(name string) string { return filepath.Join(f.binaries.dir, name) }

// PostgresURL returns the URL of the database `mass` at an address.
func (f *Folder) PostgresURL(addr string) string {
	return fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", postgresRole, f.password, addr, postgresDatabase)
}

// PingPostgres returns nil when the database `mass` answers on a port, which
// may be that of a pooler.
func (f *Folder) PingPostgres(ctx context.Context, port int) error {
	return (&cluster{binaries: f.binaries, password: f.password}).ping(ctx, port)
}

// RedisProgram describes a Redis, or with the argument --sentinel a Sentinel.
// Its configuration is a file, because Sentinels and the servers that they
// manage rewrite theirs. The file must exist when the server starts.
func (f *Folder) RedisProgram(name, secret, file string, args ...string) (Program, error) {
	binary, err := lookIn(nil, "redis-server", "valkey-server")
	if err != nil {
		return Program{}, err
	}
	return Program{
		Name: name, Path: binary, StopSignal: syscall.SIGTERM,
		Args: func(port int) []string { return append([]string{file, "--port", strconv.Itoa(port)}, args...) },
		Ping: func(ctx context.Context, port int) error { return pingRedis(ctx, port, secret) },
	}, nil
}

// FreePort returns a port that no process listens on, below the range of
// outgoing connections.
func FreePort() (int, error) { return freePort() }
