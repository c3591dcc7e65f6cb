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

// process is a child that runs until it is told to stop.
type process struct {
	*os.Process
	done     chan struct{} // closed when the child has ended
	err      error         // how it ended; set before done is closed
	expected atomic.Bool   // that it ends is our wish
}

// startProcess starts cmd. Linux sends a child its Pdeathsig when the thread that forked it ends, not the process, and Go
// ends idle threads: so the goroutine that starts the child keeps its thread for as long as the child lives.
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

// run runs a short command to its end and returns what it printed, which is also part of the error.
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

// command is a child under the account, in the folder dir. It gets a process group of its own, so that a Ctrl-C at the
// terminal reaches us alone and we stop it in good order, and onParentDeath when we are killed (Linux). It gets no
// environment of ours: that may hold secrets, and settings (PGDATA, LC_*) which would change what it does.
func (a *account) command(onParentDeath syscall.Signal, dir, path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...) //nolint:noctx // its life is not that of a call: stop and kill end it
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if a != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	signalOnParentDeath(cmd.SysProcAttr, onParentDeath)
	return cmd
}
