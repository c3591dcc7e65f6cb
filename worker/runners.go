package worker

// runners are goroutines that call the pipeline. They are used again, because a new
// one has a small stack, which a pipeline outgrows several times: a tenth of what
// the worker does for a request.
type runners struct {
	next  chan func()
	spare chan struct{} // has room for those that may wait
}

// spareRunners is how many runners wait for something to do at most.
const spareRunners = 256

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
	for ok := true; ok; {
		f()
		select {
		case r.spare <- struct{}{}:
		default:
			return
		}
		f, ok = <-r.next
		<-r.spare
	}
}

// stop ends the runners that wait; do must not be called anymore.
func (r runners) stop() { close(r.next) }
