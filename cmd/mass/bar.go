package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// barInterval is the number of requests between two lines of progress when the
// total is not known.
const barInterval = 5_000

// bar shows progress: a bar on a terminal, or else a line for each quarter.
type bar struct {
	out   io.Writer
	total int                      // 0 if it is not known
	what  string                   // what happened to the counted requests, such as "submitted"
	drawn *progressbar.ProgressBar // nil if out is not a terminal

	mu   sync.Mutex
	done int
}

func newBar(out io.Writer, total int, what string) *bar {
	b := &bar{out: out, total: total, what: what}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		shown := total
		if total == 0 {
			shown = -1 // a spinner
		}
		b.drawn = progressbar.NewOptions(shown, progressbar.OptionSetWriter(out), progressbar.OptionSetWidth(40),
			progressbar.OptionShowCount(), progressbar.OptionSetDescription("requests "+what), progressbar.OptionThrottle(50*time.Millisecond))
	}
	return b
}

// add counts n more.
func (b *bar) add(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.set(b.done + n)
}

// reach raises the count to n. It never lowers it.
func (b *bar) reach(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.done {
		b.set(n)
	}
}

func (b *bar) set(done int) {
	before := b.done
	b.done = done
	switch {
	case b.drawn != nil:
		_ = b.drawn.Set(done) // a bar that cannot be drawn is no reason to fail
	case b.total == 0 && done/barInterval > before/barInterval:
		fmt.Fprintf(b.out, "  %d %s\n", done, b.what)
	case b.total > 0 && done*4/b.total > before*4/b.total:
		fmt.Fprintf(b.out, "  %d of %d %s\n", done, b.total, b.what)
	}
}

func (b *bar) finish() {
	if b.drawn != nil {
		if b.done == b.total || b.total == 0 {
			_ = b.drawn.Finish()
		}
		fmt.Fprintln(b.out)
	}
}
