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

// process is one `mass api` or `mass worker`, started again and again under the
// same name. All lives of it write into one log.
type process struct {
	name   string
	binary string
	args   []string
	env    []string
	log    string
	addr   string // of an API; "" for a worker
	clock  string // file by whose seconds its wall clock is wrong

	mu   sync.Mutex
	life *life // nil before the first start
}

// life is one operating system process.
type life struct {
	*os.Process
	born  time.Time
	ended chan struct{}
	err   error // how it ended; set before ended is closed
}

// start starts the process, unless it runs.
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
	cmd := exec.Command(p.binary, p.args...) //nolint:gosec,noctx // our own binary; it lives until it is killed
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, log, log
	cmd.SysProcAttr = childAttributes()
	l := &life{born: time.Now(), ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel ends the child with the thread that started it, so that no
		// child outlives the harness: the thread has to live as long, too.
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

// signal sends sig; a process that has ended is left alone.
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

// kill ends the process by SIGKILL and waits for its end.
func (p *process) kill() error {
	l := p.current()
	if l == nil {
		return nil
	}
	err := p.signal(syscall.SIGKILL)
	<-l.ended
	return err
}

// errUnclean: a process did not end as it should on SIGTERM.
var errUnclean = errors.New("did not end cleanly")

// terminate asks the process to end and waits; one that takes too long is killed.
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
