package devstack

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// process is a child process that runs until it is stopped.
type process struct {
	*os.Process
	done     chan struct{} // closed when the child has ended
	err      error         // how it ended; set before done is closed
	expected atomic.Bool   // whether its end is intended
}

// startProcess starts cmd. Linux sends a child its Pdeathsig when the thread
// that forked it ends, not when the process ends, and Go ends idle threads. The
// goroutine that starts the child therefore keeps its thread while the child
// lives.
func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		p.Process = cmd.Process
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// run runs a short command to its end and returns its output. An error includes
// the output, too.
func run(ctx context.Context, cmd *exec.Cmd) (string, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second // the command's own children may outlive its SIGKILL
	p, err := startProcess(cmd)
	if err != nil {
		return "", err
	}
	select {
	case <-p.done:
		err = p.err
	case <-ctx.Done():
		_ = p.Kill()
		<-p.done
		err = ctx.Err()
	}
	if err != nil {
		return "", fmt.Errorf("run %s: %w\n%s", cmd.Path, err, strings.TrimSpace(out.String()))
	}
	return out.String(), nil
}

// command returns a command that runs as the account in the folder dir. The
// child gets its own process group, so that a Ctrl-C at the terminal reaches
// only this process, which then shuts the child down. On Linux the child gets
// the signal onParentDeath when this process is killed. It does not inherit the
// environment, which may contain secrets and settings (PGDATA, LC_*) that would
// change its behavior.
func (a *account) command(onParentDeath syscall.Signal, dir, path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...) //nolint:noctx // it outlives the call; stop ends it
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if a != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	signalOnParentDeath(cmd.SysProcAttr, onParentDeath)
	return cmd
}
