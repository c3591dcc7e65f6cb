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

// everySoMany is after how many requests a line is due when nobody knows how many there are.
const everySoMany = 5_000

// bar shows progress: a bar on a terminal, a line for each quarter elsewhere.
type bar struct {
	out   io.Writer
	total int                      // 0: not known
	what  string                   // that happened to the requests counted
	drawn *progressbar.ProgressBar // nil when out is no terminal

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

// reach counts up to n; what is behind already is left alone.
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
		_ = b.drawn.Set(done) // a picture on a terminal
	case b.total == 0 && done/everySoMany > before/everySoMany:
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
