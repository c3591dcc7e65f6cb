package worker

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestRunnersDoEverythingAtOnceAndGoHome(t *testing.T) {
	t.Parallel()
	r := newRunners()
	const many = 2 * spareRunners
	for range 3 { // the later times mostly on those that wait
		var started, ended sync.WaitGroup
		open := make(chan struct{})
		started.Add(many)
		ended.Add(many)
		for range many {
			r.do(func() {
				defer ended.Done()
				started.Done()
				<-open
			})
		}
		started.Wait() // nobody waits for anybody
		close(open)
		ended.Wait()
		assert.LessOrEqual(t, len(r.spare), spareRunners)
	}
	assert.Eventually(t, func() bool { return len(r.spare) == 0 }, runnerWait*1000, runnerWait/100, "they go home")
	r.do(func() {})
	r.stop()
	assert.Eventually(t, func() bool { return len(r.spare) == 0 }, runnerWait*1000, runnerWait/100, "nobody waits for what will not come")
}
