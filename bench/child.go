package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// child is a process under test. It dies with this one.
type child struct {
	cmd  *exec.Cmd
	log  string // path
	done chan struct{}
}

// startChild runs a command whose output, with a line a garbage collection, goes to a log of its own in dir.
func startChild(dir, name string, env []string, command ...string) (*child, error) {
	log, err := os.CreateTemp(dir, name+"-*.log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(command[0], command[1:]...) //nolint:noctx // stop ends it
	cmd.Env = traceGC(append(os.Environ(), env...))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c := &child{cmd: cmd, log: log.Name(), done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the death signal is that of the thread
		defer runtime.UnlockOSThread()
		defer close(c.done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// stop ends the process in good order, or by force after a while.
func (c *child) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(30 * time.Second):
		_ = c.cmd.Process.Kill()
		<-c.done
	}
}

// cpuOf is the processor time that a process has used, with that of its ended children.
func cpuOf(pid int) time.Duration {
	f := statOf(pid)
	if f == nil {
		return 0
	}
	var ticks int64
	for _, i := range []int{11, 12, 13, 14} { // utime stime cutime cstime
		n, _ := strconv.ParseInt(f[i], 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100 // USER_HZ
}

// parentOf is the parent of a process; 0 when there is none.
func parentOf(pid int) int {
	f := statOf(pid)
	if f == nil {
		return 0
	}
	n, _ := strconv.Atoi(f[1])
	return n
}

// family is a process and all its living children.
func family(parent int) []int {
	pids := []int{parent}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && parentOf(pid) == parent {
			pids = append(pids, pid)
		}
	}
	return pids
}

// familyCPU is cpuOf all of a family.
func familyCPU(parent int) (total time.Duration) {
	for _, pid := range family(parent) {
		total += cpuOf(pid)
	}
	return total
}

// statOf returns the fields of /proc/<pid>/stat from the state on; nil when the process is gone.
func statOf(pid int) []string {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	_, rest, ok := strings.Cut(string(content), ") ") // the name in parentheses may hold blanks
	f := strings.Fields(rest)
	if !ok || len(f) < 15 {
		return nil
	}
	return f
}
