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
	readyTimeout  = 2 * time.Minute  // start, including the recovery after a crash
	stopTimeout   = 30 * time.Second // orderly stop, before SIGKILL
	orphanTimeout = 60 * time.Second // for what a killed process left behind to end
	pollInterval  = 5 * time.Millisecond
	portAttempts  = 10
	logTailLines  = 15
)

var errAddressInUse = errors.New("the port is taken by another process")

// server is one private server on a port of 127.0.0.1: its process, and the files that describe it.
type server struct {
	name       string // for people
	files      string // path without extension of its .log and .lock
	pidFile    string // where the server itself notes its process id; "" when it does not
	stopSignal syscall.Signal
	command    func(port int) *exec.Cmd
	ping       func(ctx context.Context, port int) error // nil once the server does its work
	logger     *slog.Logger

	mu   sync.Mutex // held during start, stop and kill
	port int
	proc *process
}

// start starts the server on the given port, or on a free one when it is 0. Another process may take a free port before
// the server binds it, so a few ports are tried.
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

// freePort finds a port below those that the system gives to outgoing connections (from 32768 on Linux, 49152 on
// macOS): else the port of a killed server could be taken by a client's connection before the server is back.
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

// lock makes sure that no process of an earlier start is left. The server inherits the locked descriptor, and so do the
// processes it forks: the lock is free when the last of them has ended, whatever became of their parents. The caller has
// the data folder's lock, so whoever still runs is an orphan and is told to stop.
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

// removeStalePIDFile removes what a killed server of ours left: its number may be another process's by now, and surely is
// in a restarted container, which the server would take for itself still running. Called with the lock held.
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

// openLog begins a new log and keeps the one before, which may tell why there had to be a new start.
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

// awaitReady polls over a real connection. Whoever else may listen on the port does not know the password, so an answer
// is our server's.
func (s *server) awaitReady(ctx context.Context, proc *process, port int) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		err := s.ping(ctx, port)
		if err == nil {
			return nil
		}
		if waitErr := pause(ctx, proc.done); waitErr != nil {
			return fmt.Errorf("it does not answer (%w): %w%s", waitErr, err, s.logTail())
		}
		if !proc.ended() {
			continue
		}
		if s.logSaysAddressInUse() {
			return errAddressInUse
		}
		return fmt.Errorf("it ended at once (%w)%s", exitError(proc), s.logTail())
	}
}

func exitError(p *process) error {
	if p.err != nil {
		return p.err
	}
	return errors.New("exit status 0")
}

// pause waits a moment, less when done is closed; it fails when ctx has ended.
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

// logSaysAddressInUse looks for the system's text for EADDRINUSE: a server that ends tells its reason nowhere else.
func (s *server) logSaysAddressInUse() bool {
	content, err := os.ReadFile(s.files + ".log")
	return err == nil && bytes.Contains(content, []byte("Address already in use"))
}

// logTail is the end of the server's log, to be put into an error.
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

// reportEnd tells when the server ends by itself: its users see nothing but lost connections.
func (s *server) reportEnd(proc *process) {
	<-proc.done
	if !proc.expected.Load() {
		s.logger.Error("a private server ended unexpectedly", "server", s.name, "error", exitError(proc), "log", s.files+".log")
	}
}

// stop ends the server in good order; when ctx ends or stopTimeout has passed, by SIGKILL. A stopped server stays stopped.
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
		return errors.Join(fmt.Errorf("stop %s: %w; it was killed", s.name, ctx.Err()), s.killLocked()) //nolint:contextcheck // the context is at its end
	}
}

// killLocked also waits for the processes that the server forked.
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
