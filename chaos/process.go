package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// process is one `mass api` or `mass worker` that is started repeatedly under
// the same name. All of its lives write to one log.
type process struct {
	name   string
	binary string
	args   []string
	env    []string
	log    string
	addr   string // of an API; "" for a worker
	clock  string // file with the offset of its wall clock in seconds

	mu   sync.Mutex
	life *life // nil before the first start
}

// life is one operating system process, from its start to its end.
type life struct {
	*os.Process
	born  time.Time
	ended chan struct{}
	err   error // how it ended; set before ended is closed
}

// start starts the process unless it is running.
func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life != nil && !p.life.over() {
		return nil
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	cmd := exec.Command(p.binary, p.args...) //nolint:gosec,noctx // our own binary, which runs until it is killed
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, log, log
	cmd.SysProcAttr = childAttributes()
	l := &life{born: time.Now(), ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel kills the child when the thread that started it ends, so
		// that no child outlives the harness. The thread must therefore live as
		// long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer log.Close()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		l.Process = cmd.Process
		started <- nil
		l.err = cmd.Wait()
		close(l.ended)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	p.life = l
	return nil
}

func (l *life) over() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

func (p *process) current() *life {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.life
}

func (p *process) running() bool {
	l := p.current()
	return l != nil && !l.over()
}

func (p *process) pid() int {
	if l := p.current(); l != nil {
		return l.Pid
	}
	return 0
}

// signal sends sig, unless the process has ended.
func (p *process) signal(sig syscall.Signal) error {
	l := p.current()
	if l == nil {
		return nil
	}
	if err := l.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %v to %s: %w", sig, p.name, err)
	}
	return nil
}

// kill sends SIGKILL and waits for the end of the process.
func (p *process) kill() error {
	l := p.current()
	if l == nil {
		return nil
	}
	err := p.signal(syscall.SIGKILL)
	<-l.ended
	return err
}

// errUnclean means that a process did not exit cleanly on SIGTERM.
var errUnclean = errors.New("did not end cleanly")

// terminate sends SIGTERM and waits for the end of the process. It kills a
// process that takes too long.
func (p *process) terminate(ctx context.Context, limit time.Duration) error {
	l := p.current()
	if l == nil || l.over() {
		return nil
	}
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-l.ended:
		if l.err != nil {
			return fmt.Errorf("%s %w: %w", p.name, errUnclean, l.err)
		}
		return nil
	case <-late.C:
	case <-ctx.Done():
	}
	return errors.Join(fmt.Errorf("%s %w: still running after %v", p.name, errUnclean, limit), p.kill())
}
