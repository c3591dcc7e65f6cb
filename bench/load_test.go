package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestClientReadsEveryFormOfAnswer(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "Bearer x", r.Header.Get("Authorization"))
		w.Header().Set("Location", "/mass-requests/42")
		switch n.Add(1) % 3 {
		case 0: // chunked
			w.WriteHeader(http.StatusCreated)
			for range 3 {
				_, _ = w.Write([]byte(strings.Repeat("x", 50_000)))
			}
		case 1: // with a length
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte("short"))
		default: // empty
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	addr := strings.TrimPrefix(server.URL, "http://")
	request := post(addr, "/mass-requests/", "application/json", http.Header{"Authorization": {"Bearer x"}}, []byte(`{}`))
	c := &client{addr: addr}
	defer c.close()
	for i := range 9 {
		a, err := c.do(request)
		require.NoError(t, err)
		assert.EqualValues(t, 42, a.id)
		if i%3 == 1 {
			assert.Equal(t, http.StatusServiceUnavailable, a.status)
		} else {
			assert.Equal(t, http.StatusCreated, a.status)
		}
	}
}

func TestLoadsCountWhatWasAccepted(t *testing.T) {
	t.Parallel()
	var served atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		served.Add(1)
		w.WriteHeader(http.StatusCreated)
	}))
	defer server.Close()
	addr := strings.TrimPrefix(server.URL, "http://")
	requests := [][]byte{post(addr, "/", "application/json", nil, nil)}

	r := closedLoop(t.Context(), addr, requests, 4, 20*time.Millisecond, 80*time.Millisecond, nil, func() {})
	assert.Equal(t, served.Load(), r.accepted)
	assert.Positive(t, r.measured)
	assert.Less(t, r.measured, r.accepted, "what came before the measured time does not count")
	assert.EqualValues(t, r.measured, r.latency.n)

	served.Store(0)
	var mu sync.Mutex
	sent := 0
	r = openLoop(t.Context(), addr, requests, 500, 100*time.Millisecond, func(int64, time.Time) {
		mu.Lock()
		defer mu.Unlock()
		sent++
	})
	assert.EqualValues(t, 50, r.accepted)
	assert.EqualValues(t, 50, served.Load())
	assert.Equal(t, 50, sent)
}

func TestRefusalsAreErrors(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	addr := strings.TrimPrefix(server.URL, "http://")
	r := closedLoop(t.Context(), addr, [][]byte{post(addr, "/", "text/plain", nil, nil)}, 2, 0, time.Minute, nil, func() {})
	assert.Zero(t, r.accepted)
	assert.EqualValues(t, 6, r.errors, "a connection gives up after three")
	assert.ErrorContains(t, r.firstErr, "404")
}
