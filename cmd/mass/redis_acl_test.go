package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/internal/doctor"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
)

// The whole system runs with the Redis user that docs/operations.md describes,
// and is refused nothing.
func TestTheDocumentedRedisUserIsEnough(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	redisURL := devtest.Private(t).RedisURL() // the test reads the server's log of refusals
	address, err := queue.ParseRedisURL(redisURL)
	require.NoError(t, err)
	admin, err := queue.Dial(address)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, admin.Close()) })
	require.NoError(t, admin.Do(ctx, documentedUser(t)...).Err())

	env := map[string]string{
		"DATABASE_URL": devtest.EmptyDatabase(t), "REDIS_URL": strings.Replace(redisURL, "//:"+address.Password+"@", "//mass:PASSWORD@", 1),
		"MASS_ADDR": "127.0.0.1:0", "MASS_AUTH_SECRET": strings.Repeat("s", 32), "MASS_CALLER_RATE": "10000",
	}
	var out output
	require.NoError(t, run(ctx, []string{"migrate", "up"}, getenv(env), &out, &out))
	apiOut, stopAPI := background(t, env, "api")
	workerOut, stopWorker := background(t, env, "worker")
	base := listening(t, apiOut)
	var key output
	require.NoError(t, run(ctx, []string{"key", "add", "test", "--role", "admin"}, getenv(env), &key, io.Discard))
	token := strings.TrimSpace(key.String())

	for i := range 5 {
		var r massRequest
		do(t, http.MethodPost, base+"/mass-requests/", fmt.Sprintf(`{"payload": {"n": %d}}`, i), http.StatusCreated, &r, token)
		assert.Equal(t, "done", untilFinal(t, base, r.ID, token).Status)
		status := fmt.Sprintf("%s/mass-requests/%d/status", base, r.ID)
		do(t, http.MethodPatch, status, `{"status": "pending"}`, http.StatusOK, nil, token) // replaces the finished task
		untilFinal(t, base, r.ID, token)
	}
	var later massRequest
	do(t, http.MethodPost, base+"/mass-requests/", `{"payload": {}, "run_at": "2099-01-01T00:00:00Z"}`, http.StatusCreated, &later, token)
	do(t, http.MethodPatch, fmt.Sprintf("%s/mass-requests/%d/status", base, later.ID), `{"status": "cancelled"}`, http.StatusOK, nil, token)

	for _, page := range []string{
		"queues", "queues/default", "queues/default/pending_tasks", "queues/default/active_tasks", "queues/default/scheduled_tasks",
		"queues/default/retry_tasks", "queues/default/archived_tasks", "queues/default/completed_tasks", "queue_stats", "servers", "scheduler_entries", "redis_info",
	} {
		do(t, http.MethodGet, base+"/monitoring/api/"+page, "", http.StatusOK, nil, token)
	}
	do(t, http.MethodPost, base+"/monitoring/api/queues/low:pause", "", http.StatusNoContent, nil, token)
	do(t, http.MethodPost, base+"/monitoring/api/queues/low:resume", "", http.StatusNoContent, nil, token)

	d, _ := examine(t, env)
	for _, topic := range []string{"redis", "redis tasks", "redis memory", "queues"} {
		assert.Equal(t, doctor.OK, d.level(topic), "%s: %v", topic, d.about(topic))
	}
	require.NoError(t, stopWorker())
	require.NoError(t, stopAPI())
	refused, err := admin.Do(ctx, "ACL", "LOG").Slice()
	require.NoError(t, err)
	assert.Empty(t, refused, "commands that Redis refused")
	assert.NotContains(t, workerOut.String()+apiOut.String(), "NOPERM")
}

// documentedUser returns the command of docs/operations.md that makes the user.
func documentedUser(t *testing.T) (command []any) {
	t.Helper()
	doc, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(doc), "```\nACL SETUSER ")
	require.True(t, ok, "docs/operations.md describes the user")
	line, _, _ := strings.Cut(rest, "\n")
	for _, word := range strings.Fields("ACL SETUSER " + line) {
		command = append(command, word)
	}
	return command
}
