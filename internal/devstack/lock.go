package devstack

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

var errLocked = errors.New("locked by another process")

// tryLock locks the file, creating it if necessary, or returns errLocked. The
// kernel releases the lock when the last copy of the descriptor is closed, so a
// killed process leaves no lock behind.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock file: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errLocked
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

// unlock releases the lock immediately. Closing the file alone might not: a
// child that another goroutine is starting has a copy of the descriptor until
// it executes its program.
func unlock(lock *os.File) error {
	return errors.Join(syscall.Flock(int(lock.Fd()), syscall.LOCK_UN), lock.Close())
}

// writeHolder writes the id of the process that holds a lock into the lock
// file, for error messages.
func writeHolder(lock *os.File, pid int) error {
	if err := lock.Truncate(0); err != nil {
		return fmt.Errorf("empty the lock file: %w", err)
	}
	if _, err := lock.WriteAt([]byte(strconv.Itoa(pid)+"\n"), 0); err != nil {
		return fmt.Errorf("write the lock file: %w", err)
	}
	return nil
}

// readPID reads the process id in the first line of a file. It returns 0 if
// there is none.
func readPID(path string) int {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid < 1 {
		return 0
	}
	return pid
}

func lockHolder(path string) string {
	if pid := readPID(path); pid != 0 {
		return fmt.Sprintf("process %d", pid)
	}
	return "another process"
}
