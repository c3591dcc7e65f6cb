package chaos

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"syscall"
	"time"
)

// spare is how many more goroutines a process that has worked may have at rest
// than a fresh one: those of connections, and those that start with the first
// request.
const spare = 40

// leakedGoroutines compares the oldest API and the oldest worker with fresh
// ones. It counts with SIGQUIT, on which a Go program writes all goroutines to
// its log and exits, so the program needs no code for it.
func (s *system) leakedGoroutines(ctx context.Context) (found []Violation, counts string) {
	s.load.http.CloseIdleConnections()
	pause(ctx, 2*time.Second) // until the processes have noticed that the connections were closed
	for _, group := range [][]*process{s.apis, s.workers} {
		p := oldest(group)
		if p == nil {
			continue
		}
		age := time.Since(p.current().born).Round(time.Second)
		worked, err := p.goroutines()
		if err == nil {
			err = p.start()
		}
		pause(ctx, 2*time.Second)
		var fresh int
		if err == nil {
			fresh, err = p.goroutines()
		}
		if err == nil {
			err = p.start()
		}
		counts += fmt.Sprintf("%s %d after %v, %d fresh; ", p.name, worked, age, fresh)
		switch {
		case err != nil:
			found = append(found, Violation{Harm: Untrue, Text: fmt.Sprintf("count the goroutines of %s: %v", p.name, err)})
		case worked > fresh+spare:
			found = append(found, Violation{Harm: Untrue, Text: fmt.Sprintf("%s leaks goroutines: %d at rest, %d when fresh", p.name, worked, fresh)})
		}
	}
	return found, counts
}

func oldest(group []*process) (found *process) {
	for _, p := range group {
		if p.running() && (found == nil || p.current().born.Before(found.current().born)) {
			found = p
		}
	}
	return found
}

// goroutines ends the process and returns how many goroutines it had.
func (p *process) goroutines() (int, error) {
	before, err := os.Stat(p.log)
	if err != nil {
		return 0, fmt.Errorf("find the log: %w", err)
	}
	l := p.current()
	if err := p.signal(syscall.SIGQUIT); err != nil {
		return 0, err
	}
	select {
	case <-l.ended:
	case <-time.After(startLimit):
		return 0, fmt.Errorf("%s %w on SIGQUIT", p.name, errUnclean)
	}
	log, err := os.ReadFile(p.log)
	if err != nil {
		return 0, fmt.Errorf("read the log: %w", err)
	}
	return bytes.Count(log[before.Size():], []byte("\ngoroutine ")), nil
}
