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

// A Go program asks the kernel for the time directly, with or without cgo, so a
// preloaded library cannot change it. A Linux time namespace moves the
// monotonic clock but not the wall clock. That leaves package time itself: the
// binary under test is built with one additional line in time.Now, overlaid on
// the toolchain's sources for that build only. The line affects everything in
// the process, including Asynq and the drivers. As after a real jump of the
// clock, the monotonic clock and all timers continue normally.

// clockVariable is the environment variable with the path of the file that
// holds the offset of a process's wall clock in seconds.
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

// ClockOverlay writes the files that "go build -overlay" needs to build a
// binary whose wall clock the harness can move into dir, and returns the path
// of the overlay. root is the toolchain's root, as printed by "go env GOROOT".
func ClockOverlay(root, dir string) (string, error) {
	source := filepath.Join(root, "src", "time", "time.go")
	original, err := os.ReadFile(source)
	if err != nil {
		return "", fmt.Errorf("read the package time: %w", err)
	}
	if strings.Count(string(original), clockAnchor) != 1 {
		return "", errors.New("the harness does not know this toolchain's time.Now; adapt clock.go")
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

// setClock immediately sets the error of the process's wall clock to d, in
// whole seconds.
func (p *process) setClock(d time.Duration) error {
	f, err := os.OpenFile(p.clock, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open the clock of %s: %w", p.name, err)
	}
	// One write in place, because the process may read the file at any time.
	_, err = f.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(int64(d/time.Second))), 0)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("set the clock of %s: %w", p.name, err)
	}
	return nil
}
