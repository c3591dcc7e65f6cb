package leader_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/internal/systemtest"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/store"
	"github.com/leomutto/pilot-in-a-box/worker/leader"
)

// logText is a log that a test reads while it is written.
type logText struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// A leader that takes office inspects Redis and says what is wrong.
func TestTheLeaderReportsAnUnsuitableRedis(t *testing.T) {
	t.Parallel()
	s := setup(t)
	opt, err := queue.ParseRedisURL(devtest.Private(t).RedisURL()) // the test changes its settings
	require.NoError(t, err)
	rdb, err := queue.Dial(opt)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, rdb.Close()) })
	require.NoError(t, rdb.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())

	log := new(logText)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		me := &atomic.Pointer[store.WorkerIdentity]{}
		me.Store(&store.WorkerIdentity{})
		leader.New(s.store, rdb, s.enq, quick(), slog.New(slog.NewTextHandler(log, nil))).Run(ctx, me)
	}()
	systemtest.Eventually(t, "the leader reports the eviction policy", func() bool { return strings.Contains(log.String(), "maxmemory-policy allkeys-lru") })
	cancel()
	<-ended
	assert.Contains(t, log.String(), "duty=inspect")
	assert.Equal(t, 1, strings.Count(log.String(), "allkeys-lru"), "a report is not repeated")
}
