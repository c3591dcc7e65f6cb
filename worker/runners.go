package worker

import "time"

// runners are goroutines that call the pipeline. They are used again, because a new
// one has a small stack, which a pipeline outgrows: 7 % of the worker's time.
type runners struct {
	next  chan func()
	spare chan struct{} // has room for those that may wait
}

const (
	spareRunners = 256         // wait for something to do at most
	runnerWait   = time.Second // and so long
)

func newRunners() runners {
	return runners{next: make(chan func()), spare: make(chan struct{}, spareRunners)}
}

// do calls f on a goroutine and does not wait for it.
func (r runners) do(f func()) {
	select {
	case r.next <- f:
	default:
		go r.run(f)
	}
}

func (r runners) run(f func()) {
	patience := time.NewTimer(runnerWait)
	defer patience.Stop()
	for f != nil {
		f()
		select {
		case r.spare <- struct{}{}:
		default:
			return
		}
		patience.Reset(runnerWait)
		select {
		case f = <-r.next: // nil when it was closed
		case <-patience.C:
			f = nil
		}
		<-r.spare
	}
}

// stop ends the runners that wait; do must not be called anymore.
func (r runners) stop() { close(r.next) }
