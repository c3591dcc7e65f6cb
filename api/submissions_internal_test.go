package api

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
)

// The digest of an item is that of a POST with the same content, and any change
// of the content changes it.
func TestContentDigest(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	base := store.NewRequest{Payload: []byte(`{"a":1}`), Priority: jobs.High, RunAt: at}
	seen := map[string]string{}
	note := func(what string, r store.NewRequest) {
		digest := string(contentDigest(&r))
		require.Empty(t, seen[digest], "%s has the digest of another one", what)
		seen[digest] = what
	}
	note("the submission", base)
	for what, change := range map[string]func(*store.NewRequest){
		"another payload":       func(r *store.NewRequest) { r.Payload = []byte(`{"a":2}`) },
		"another spelling":      func(r *store.NewRequest) { r.Payload = []byte(`{"a":1.0}`) },
		"another priority":      func(r *store.NewRequest) { r.Priority = jobs.Low },
		"no run_at":             func(r *store.NewRequest) { r.RunAt = time.Time{} },
		"expires_at":            func(r *store.NewRequest) { r.ExpiresAt = at },
		"expires_at, no run_at": func(r *store.NewRequest) { r.RunAt, r.ExpiresAt = time.Time{}, at },
		"a callback":            func(r *store.NewRequest) { r.CallbackURL = "https://example.com" },
	} {
		r := base
		change(&r)
		note(what, r)
	}
	single, err := decodeSubmission([]byte(`{"payload": {"a":1}, "run_at":"2026-03-01T10:00:00Z","priority":"high" }`), rules{})
	require.NoError(t, err)
	item, err := decodeItem([]byte(`{"priority":"high","idempotency_key":"k","payload":{"a":1},"run_at":"2026-03-01T11:00:00+01:00","expires_at":null}`), rules{})
	require.NoError(t, err)
	require.Equal(t, "k", item.IdempotencyKey)
	require.Equal(t, contentDigest(&single), item.Digest)
	require.Equal(t, "the submission", seen[string(item.Digest)])
}

func FuzzDecodeItem(f *testing.F) {
	for _, s := range []string{
		`{"payload":{},"idempotency_key":"k"}`, `{ "payload":{} , "idempotency_key" : null ,"priority":"low"}`,
		`{"idempotency_key":"a b","payload":{}}`, `{"idempotency\u005fkey":"k","payload":{}}`, `[`, `{"a":`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := decodeItem(raw, rules{})
		if err != nil {
			status := problemOf(err).Status
			require.True(t, status == 400 || status == 422, "%d", status)
			return
		}
		require.Equal(t, r.IdempotencyKey != "", r.Digest != nil)
		if r.IdempotencyKey != "" {
			require.Regexp(t, acceptableKey, r.IdempotencyKey)
			require.Equal(t, contentDigest(&r), r.Digest)
		}
	})
}
