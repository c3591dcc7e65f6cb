package devstack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	readyTimeout  = 5 * time.Minute  // for a start, including recovery after a crash
	stopTimeout   = 30 * time.Second // for a shutdown, before SIGKILL
	orphanTimeout = 60 * time.Second // for the servers of a killed process to end
	pollInterval  = 5 * time.Millisecond
	portAttempts  = 10
	logTailLines  = 15
)

var errAddressInUse = errors.New("the port is taken by another process")

// server is one private server on a port of 127.0.0.1: its process, and the
// files that describe it.
type server struct {
	name       string // for people
	files      string // path of its .log and .lock files, without the extension
	pidFile    string // file in which the server writes its process id; "" if it does not
	stopSignal syscall.Signal
	command    func(port int) *exec.Cmd
	ping       func(ctx context.Context, port int) error // returns nil once the server works
	logger     *slog.Logger

	mu   sync.Mutex // held during start, stop and kill
	port int
	proc *process
}

// start starts the server on the given port, or on a free one when it is 0.
// Another process may take a free port before the server binds it, so a few
// ports are tried.
func (s *server) start(ctx context.Context, port int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if port != 0 {
		return s.startOn(ctx, port)
	}
	err := errAddressInUse
	for attempt := 0; attempt < portAttempts && errors.Is(err, errAddressInUse); attempt++ {
		var port int
		if port, err = freePort(); err != nil {
			return err
		}
		err = s.startOn(ctx, port)
	}
	return err
}

// freePort finds a port below the range of outgoing connections (from 32768 on
// Linux, 49152 on macOS). Otherwise a client's connection could take the port
// of a killed server before the server is back.
func freePort() (int, error) {
	var err error
	for range 100 {
		port := 20000 + rand.IntN(12000)
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil { //nolint:noctx // it returns at once
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("find a free port: %w", err)
}

func (s *server) startOn(ctx context.Context, port int) error {
	lock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := s.removeStalePIDFile(); err != nil {
		return err
	}
	log, err := s.openLog()
	if err != nil {
		return err
	}
	defer log.Close()

	cmd := s.command(port)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{lock} // see lock
	proc, err := startProcess(cmd)
	if err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	err = writeHolder(lock, proc.Pid)
	if err == nil {
		err = s.awaitReady(ctx, proc, port)
	}
	if err != nil {
		proc.expected.Store(true)
		_ = proc.Kill()
		<-proc.done
		return fmt.Errorf("start %s on port %d: %w", s.name, port, err)
	}
	s.port, s.proc = port, proc
	go s.reportEnd(proc)
	return nil
}

// lock makes sure that no process of an earlier start is still running. The
// server and the processes that it forks inherit the locked descriptor, so the
// lock is free once the last of them has ended, regardless of their parents.
// The caller holds the lock of the data folder, so any process that still runs
// is an orphan, and lock stops it.
func (s *server) lock(ctx context.Context) (*os.File, error) {
	path := s.files + ".lock"
	lock, err := tryLock(path)
	if !errors.Is(err, errLocked) {
		return lock, err
	}
	if pid := readPID(path); pid != 0 {
		_ = syscall.Kill(pid, syscall.SIGCONT)
		_ = syscall.Kill(pid, s.stopSignal)
	}
	ctx, cancel := context.WithTimeout(ctx, orphanTimeout)
	defer cancel()
	for errors.Is(err, errLocked) {
		if pause(ctx, nil) != nil {
			return nil, fmt.Errorf("a %s of an earlier run has not ended: stop %s", s.name, lockHolder(path))
		}
		lock, err = tryLock(path)
	}
	return lock, err
}

// removeStalePIDFile removes the PID file of a killed server. Another process
// may have the same id by now, as happens in a restarted container, and the
// server would conclude that it is already running. The caller holds the lock.
func (s *server) removeStalePIDFile() error {
	if s.pidFile == "" {
		return nil
	}
	if pid := readPID(s.pidFile); pid == 0 || pid != readPID(s.files+".lock") {
		return nil
	}
	if err := os.Remove(s.pidFile); err != nil {
		return fmt.Errorf("remove the process id that a killed %s left: %w", s.name, err)
	}
	return nil
}

// openLog starts a new log and keeps the previous one, which may explain why
// the server had to be started again.
func (s *server) openLog() (*os.File, error) {
	path := s.files + ".log"
	if err := os.Rename(path, path+".old"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("put the old log of %s aside: %w", s.name, err)
	}
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", s.name, err)
	}
	return log, nil
}

// awaitReady polls with a real connection. Another process on the port would
// not know the password, so an answer comes from the right server.
func (s *server) awaitReady(ctx context.Context, proc *process, port int) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		err := s.ping(ctx, port)
		if err == nil {
			return nil
		}
		if waitErr := pause(ctx, proc.done); waitErr != nil {
			return fmt.Errorf("the server does not answer (%w): %w%s", waitErr, err, s.logTail())
		}
		if !proc.ended() {
			continue
		}
		if s.logSaysAddressInUse() {
			return errAddressInUse
		}
		return fmt.Errorf("the server ended immediately (%w)%s", exitError(proc), s.logTail())
	}
}

func exitError(p *process) error {
	if p.err != nil {
		return p.err
	}
	return errors.New("exit status 0")
}

// pause waits for the poll interval or until done is closed. It returns an
// error when ctx has ended.
func pause(ctx context.Context, done <-chan struct{}) error {
	t := time.NewTimer(pollInterval)
	defer t.Stop()
	select {
	case <-t.C:
	case <-done:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// logSaysAddressInUse looks for the text of EADDRINUSE in the log, the only
// place where a server reports it.
func (s *server) logSaysAddressInUse() bool {
	content, err := os.ReadFile(s.files + ".log")
	return err == nil && bytes.Contains(content, []byte("Address already in use"))
}

// logTail returns the end of the server's log, for error messages.
func (s *server) logTail() string {
	path := s.files + ".log"
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Sprintf("; its log cannot be read: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	lines = lines[max(0, len(lines)-logTailLines):]
	return fmt.Sprintf("; the end of %s:\n%s", path, strings.Join(lines, "\n"))
}

// reportEnd logs an unexpected end of the server, of which its users see only
// lost connections.
func (s *server) reportEnd(proc *process) {
	<-proc.done
	if !proc.expected.Load() {
		s.logger.Error("a private server ended unexpectedly", "server", s.name, "error", exitError(proc), "log", s.files+".log")
	}
}

// stop shuts the server down. It sends SIGKILL when ctx ends or after
// stopTimeout. Stopping a stopped server does nothing.
func (s *server) stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopLocked(ctx)
}

func (s *server) stopLocked(ctx context.Context) error {
	if s.proc == nil {
		return nil
	}
	s.proc.expected.Store(true)
	_ = s.proc.Signal(syscall.SIGCONT) // it may be paused
	_ = s.proc.Signal(s.stopSignal)
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	select {
	case <-s.proc.done:
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("stop %s: %w; it was killed", s.name, ctx.Err()), s.killLocked()) //nolint:contextcheck // the context has ended
	}
}

// killLocked kills the server, and waits for the processes that it forked, too.
func (s *server) killLocked() error {
	s.proc.expected.Store(true)
	_ = s.proc.Kill()
	<-s.proc.done
	lock, err := s.lock(context.Background())
	if err != nil {
		return fmt.Errorf("kill %s: %w", s.name, err)
	}
	return unlock(lock)
}
