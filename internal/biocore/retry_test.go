package biocore_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/biocore"
	"github.com/leomutto/pilot-in-a-box/internal/biocore/reference"
)

func TestWhatIsRetried(t *testing.T) {
	t.Parallel()
	status := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}
	}
	fails := func(f reference.Failure) reference.Failure { return f }
	for name, test := range map[string]struct {
		failure reference.Failure
		handler http.HandlerFunc
		calls   int64
		reason  biocore.Reason
		status  int
		retry   bool
	}{
		"429":           {fails(reference.Status429), nil, 3, biocore.ReasonStatus, 429, true},
		"502":           {fails(reference.Status502), nil, 3, biocore.ReasonStatus, 502, true},
		"503":           {fails(reference.Status503), nil, 3, biocore.ReasonStatus, 503, true},
		"504":           {fails(reference.Status504), nil, 3, biocore.ReasonStatus, 504, true},
		"reset":         {fails(reference.Reset), nil, 3, biocore.ReasonConnection, 0, true},
		"500":           {fails(reference.Status500), nil, 1, biocore.ReasonStatus, 500, false},
		"502 plain":     {"", status(502, "Bad Gateway"), 3, biocore.ReasonStatus, 502, true},
		"500 plain":     {"", status(500, "oops"), 1, biocore.ReasonStatus, 500, false},
		"501":           {"", status(501, "{}"), 1, biocore.ReasonStatus, 501, false},
		"500 retryable": {"", status(500, `{"status":{"code":"warming_up","message":"soon","retryable":true}}`), 3, biocore.ReasonStatus, 500, true},
		"409 retryable": {"", status(409, `{"response":{"status":{"code":"locked","message":"soon","retryable":true}}}`), 3, biocore.ReasonStatus, 409, true},
		"503 not so":    {"", status(503, `{"status":{"code":"retired","message":"for good","retryable":false}}`), 1, biocore.ReasonStatus, 503, false},
		"400":           {"", status(400, `{}`), 1, biocore.ReasonStatus, 400, false},
		"401":           {"", status(401, ``), 1, biocore.ReasonStatus, 401, false},
		"404":           {"", status(404, `<html>`), 1, biocore.ReasonStatus, 404, false},
		"422":           {"", status(422, `{"status":{"code":"x","message":"y","retryable":false}}`), 1, biocore.ReasonStatus, 422, false},
		"not HTTP":      {"", notHTTP, 3, biocore.ReasonConnection, 0, true},
		"cut in the body": {"", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"schema_version":`)
		}, 3, biocore.ReasonConnection, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, reference.Options{}, test.handler)
			if test.failure != "" {
				b.SetFailure(test.failure)
			}
			e := failure(t, newClient(t, b.url, nil))
			require.Equal(t, test.reason, e.Reason, "%v: %v", e, e.Cause)
			require.Equal(t, test.status, e.Status)
			require.Equal(t, test.retry, e.Retry)
			require.Equal(t, test.calls, b.calls.Load())
			require.EqualValues(t, test.calls, e.Tries)
		})
	}
}

// notHTTP answers with bytes that are not HTTP.
func notHTTP(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	_, _ = io.WriteString(conn, "SSH-2.0-OpenSSH_9.2\r\n")
	_ = conn.Close()
}

func TestNoRetryIsHidden(t *testing.T) {
	t.Parallel()
	b := newBox(t, reference.Options{}, nil)
	c := newClient(t, b.url, nil)
	_, err := recommend(t, c) // leaves an idle connection, which the next call uses
	require.NoError(t, err)
	b.calls.Store(0)
	b.SetFailure(reference.Reset)
	require.Equal(t, 3, failure(t, c).Tries)
	require.EqualValues(t, 3, b.calls.Load())
}

func TestARetrySucceeds(t *testing.T) {
	t.Parallel()
	var tries atomic.Int64
	model := reference.New(reference.Options{})
	b := newBox(t, reference.Options{}, func(w http.ResponseWriter, r *http.Request) {
		if tries.Add(1) < 3 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		model.ServeHTTP(w, r)
	})
	reply, err := recommend(t, newClient(t, b.url, nil))
	require.NoError(t, err)
	require.False(t, reply.Refused(), "%v", reply.Faults)
	require.Equal(t, 3, reply.Tries)
	require.Equal(t, "ask-1", b.header.Get("Idempotency-Key"), "each try has the same key")
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	for _, code := range []int{301, 302, 303, 307, 308} {
		elsewhere := newBox(t, reference.Options{}, nil)
		b := newBox(t, reference.Options{}, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.url+"/recommend", code)
		})
		e := failure(t, newClient(t, b.url, nil))
		require.Equal(t, code, e.Status)
		require.False(t, e.Retry)
		require.EqualValues(t, 1, b.calls.Load())
		require.Zero(t, elsewhere.calls.Load())
	}
}

func TestRetryAfterIsHonored(t *testing.T) {
	t.Parallel()
	var calls []time.Time
	model := reference.New(reference.Options{})
	b := newBox(t, reference.Options{}, func(w http.ResponseWriter, r *http.Request) {
		calls = append(calls, time.Now()) // one call at a time
		if len(calls) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		model.ServeHTTP(w, r)
	})
	_, err := recommend(t, newClient(t, b.url, nil))
	require.NoError(t, err)
	require.Len(t, calls, 2)
	require.GreaterOrEqual(t, calls[1].Sub(calls[0]), time.Second)
}

func TestARetryAfterBeyondTheTotalIsLeftToTheCaller(t *testing.T) {
	t.Parallel()
	for _, mode := range []reference.Failure{reference.Status429, reference.Status503} {
		b := newBox(t, reference.Options{RetryAfter: 2 * long}, nil)
		b.SetFailure(mode)
		started := time.Now()
		e := failure(t, newClient(t, b.url, nil))
		require.Less(t, time.Since(started), long/2)
		require.Equal(t, 2*long, e.RetryAfter)
		require.True(t, e.Retry)
		require.EqualValues(t, 1, b.calls.Load())
	}
}

func TestNothingListens(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	e := failure(t, newClient(t, server.URL, nil))
	require.Equal(t, biocore.ReasonConnection, e.Reason)
	require.True(t, e.Retry)
	require.Equal(t, 3, e.Tries)
}
