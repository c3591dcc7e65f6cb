package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

const (
	progressLineEvery = 5_000                 // requests between two lines when the total is not known
	barWidth          = 40                    // characters
	redrawEvery       = 50 * time.Millisecond // at most, on a terminal
)

// progressBar shows progress: a bar that is redrawn in place on a terminal, and a line
// for each quarter of the total elsewhere.
type progressBar struct {
	out      io.Writer
	total    int    // 0: not known
	what     string // what happened to the counted requests
	terminal bool

	mu    sync.Mutex
	done  int
	drawn time.Time // when the bar was last drawn on the terminal
}

func newBar(out io.Writer, total int, what string) *progressBar {
	f, ok := out.(*os.File)
	return &progressBar{out: out, total: total, what: what, terminal: ok && term.IsTerminal(int(f.Fd()))}
}

// add counts n more requests.
func (b *progressBar) add(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.set(b.done + n)
}

// reach raises the count to n; it never lowers it.
func (b *progressBar) reach(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.done {
		b.set(n)
	}
}

func (b *progressBar) set(done int) {
	before := b.done
	b.done = done
	switch {
	case b.terminal:
		if time.Since(b.drawn) >= redrawEvery {
			b.draw()
		}
	case b.total == 0 && done/progressLineEvery > before/progressLineEvery:
		fmt.Fprintf(b.out, "  %d %s\n", done, b.what)
	case b.total > 0 && done*4/b.total > before*4/b.total:
		fmt.Fprintf(b.out, "  %d of %d %s\n", done, b.total, b.what)
	}
}

// draw overwrites the current line of the terminal.
func (b *progressBar) draw() {
	b.drawn = time.Now()
	if b.total == 0 {
		fmt.Fprintf(b.out, "\rrequests %s: %d", b.what, b.done)
		return
	}
	full := barWidth * min(b.done, b.total) / b.total
	fmt.Fprintf(b.out, "\rrequests %s %3d%% |%s%s| (%d/%d)", b.what, 100*b.done/b.total,
		strings.Repeat("█", full), strings.Repeat(" ", barWidth-full), b.done, b.total)
}

// finish draws the final count and leaves the bar's line.
func (b *progressBar) finish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.terminal {
		b.draw()
		fmt.Fprintln(b.out)
	}
}
