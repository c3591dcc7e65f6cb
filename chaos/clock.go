package chaos

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A Go program asks the kernel for the time, without the C library, so that no
// preloaded library comes in between, with or without cgo; and a time namespace
// of Linux moves the monotonic clock but not the wall clock. What remains is the
// package time itself: the binary under test is built with one more line in
// time.Now, laid over the toolchain's sources for that build only. It reaches
// everything in the process, Asynq and the drivers, too, and as with a real jump
// the monotonic clock, and with it every timer, goes on.

// clockVariable names the environment variable with the path of the file by whose
// seconds the wall clock of a process is wrong.
const clockVariable = "MASS_CHAOS_CLOCK"

const (
	clockAnchor = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	clockLine   = "\tsec += wrongBy()\n"
	clockSource = `package time

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

// wrong is shared memory: the file that MASS_CHAOS_CLOCK names.
var wrong = func() *atomic.Int64 {
	path, _ := syscall.Getenv("` + clockVariable + `")
	if path == "" {
		return nil
	}
	fd, err := syscall.Open(path, syscall.O_RDONLY, 0)
	if err != nil {
		panic("chaos: open " + path + ": " + err.Error())
	}
	defer syscall.Close(fd)
	memory, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic("chaos: map " + path + ": " + err.Error())
	}
	return (*atomic.Int64)(unsafe.Pointer(&memory[0]))
}()

func wrongBy() int64 {
	if wrong == nil {
		return 0
	}
	return wrong.Load()
}
`
)

// ClockOverlay writes into dir what "go build -overlay" needs to make a binary
// whose wall clock the harness can move, and returns its path. The toolchain's
// root is what "go env GOROOT" says.
func ClockOverlay(root, dir string) (string, error) {
	source := filepath.Join(root, "src", "time", "time.go")
	original, err := os.ReadFile(source)
	if err != nil {
		return "", fmt.Errorf("read the package time: %w", err)
	}
	if strings.Count(string(original), clockAnchor) != 1 {
		return "", errors.New("this toolchain's time.Now is not the one that the harness knows; adapt clock.go")
	}
	moved := strings.Replace(string(original), clockAnchor, clockAnchor+clockLine, 1)
	now, extra := filepath.Join(dir, "time.go"), filepath.Join(dir, "wrong.go")
	list, err := json.Marshal(map[string]any{"Replace": map[string]string{
		source: now, filepath.Join(root, "src", "time", "wrong.go"): extra,
	}})
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, errors.Join(err, os.WriteFile(now, []byte(moved), 0o600),
		os.WriteFile(extra, []byte(clockSource), 0o600), os.WriteFile(overlay, list, 0o600))
}

// setClock makes the wall clock of the process wrong by d, in whole seconds, at once.
func (p *process) setClock(d time.Duration) error {
	f, err := os.OpenFile(p.clock, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open the clock of %s: %w", p.name, err)
	}
	// In one write and in place: the process reads it at any moment.
	_, err = f.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(int64(d/time.Second))), 0)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("set the clock of %s: %w", p.name, err)
	}
	return nil
}
