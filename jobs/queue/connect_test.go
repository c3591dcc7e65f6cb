package queue_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs/queue"
)

func TestParseRedisURL(t *testing.T) {
	t.Parallel()
	for _, good := range []string{
		"redis://localhost:6379", "redis://:pw@localhost:6379/3", "rediss://u:pw@redis.example:6380",
		"redis-sentinel://:pw@a:26379,b:26379/1?master=mass", "redis-cluster://u:pw@a:7000,b:7001,c:7002?tls=true",
	} {
		opt, err := queue.ParseRedisURL(good)
		require.NoError(t, err, good)
		rdb, err := queue.Dial(opt)
		require.NoError(t, err, good)
		require.NoError(t, rdb.Close())
	}
	for _, bad := range []string{
		"", "localhost:6379", "http://secret@x", "redis://secret@h:port", "redis://:secret@h:1/db", "redis-cluster://", "redis-cluster://:secret@a",
		"redis-sentinel://:secret@/x", "rediss://%zzsecret",
	} {
		_, err := queue.ParseRedisURL(bad)
		require.Error(t, err, bad)
		assert.NotContains(t, err.Error(), "secret")
	}
}
