package biocore_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/leomutto/pilot-in-a-box/internal/biocore"
	"github.com/leomutto/pilot-in-a-box/internal/biocore/reference"
	"github.com/leomutto/pilot-in-a-box/jobs/signals"
)

// long bounds what must end by itself; slow machines need not reach it.
const long = time.Minute

// box is a BioCore that counts the calls of POST /recommend.
type box struct {
	*reference.Server
	url     string
	calls   atomic.Int64
	running atomic.Int64
	most    atomic.Int64 // calls that were under way at once

	mu     sync.Mutex
	header http.Header // of the last call
	body   []byte
}

// newBox serves the reference model, or the handler if it is not nil.
func newBox(t testing.TB, o reference.Options, handler http.HandlerFunc) *box {
	t.Helper()
	b := &box{Server: reference.New(o)}
	next := http.Handler(b.Server)
	if handler != nil {
		next = handler
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/recommend" {
			b.calls.Add(1)
			now := b.running.Add(1)
			defer b.running.Add(-1)
			for most := b.most.Load(); now > most && !b.most.CompareAndSwap(most, now); most = b.most.Load() {
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return // the caller left
			}
			b.mu.Lock()
			b.header, b.body = r.Header.Clone(), body
			b.mu.Unlock()
			r.Body = io.NopCloser(strings.NewReader(string(body)))
		}
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections) // before Close, which waits for calls under way
	b.url = server.URL
	return b
}

// newClient returns a client with bounds that no test reaches unless it sets them.
func newClient(t testing.TB, address string, set func(*biocore.Options)) *biocore.Client {
	t.Helper()
	o := biocore.Options{
		URL: address, UserAgent: "mass/test",
		ConnectTimeout: long, Timeout: long, ReadTimeout: long, MaxAnswer: 1 << 20,
		MaxCalls: 4, MaxTries: 3, RetryDelay: time.Millisecond,
		BreakerFailures: 1000, BreakerPause: time.Hour,
	}
	if set != nil {
		set(&o)
	}
	client, err := biocore.New(o)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

// patientRequest returns the example request without its own time limits.
func patientRequest(t testing.TB) *signals.Document {
	t.Helper()
	document := exampleRequest(t)
	document.Request.TimeoutMS, document.Request.ServiceLevelObjectiveMS = "", ""
	return document
}

func recommend(t testing.TB, c *biocore.Client) (*biocore.Reply, error) {
	t.Helper()
	return c.Recommend(t.Context(), biocore.Ask{Document: patientRequest(t), Key: "ask-1"})
}

// failure asks and returns the error that is expected.
func failure(t testing.TB, c *biocore.Client) *biocore.Error {
	t.Helper()
	_, err := recommend(t, c)
	return asError(t, err)
}

func asError(t testing.TB, err error) *biocore.Error {
	t.Helper()
	var e *biocore.Error
	require.ErrorAs(t, err, &e)
	return e
}

func TestRecommend(t *testing.T) {
	t.Parallel()
	b := newBox(t, reference.Options{Token: "hush"}, nil)
	c := newClient(t, b.url+"/", func(o *biocore.Options) { o.Token = "hush" })
	document := patientRequest(t)
	document.Request.IdempotencyKey = ""
	reply, err := c.Recommend(t.Context(), biocore.Ask{Document: document, Key: "request-7.2"})
	require.NoError(t, err)
	require.False(t, reply.Refused(), "%v", reply.Faults)
	require.Equal(t, 1, reply.Tries)
	require.Positive(t, reply.Latency)
	require.Equal(t, biocore.Model{Name: reference.Name, Version: reference.Version, PolicyID: "reference-rules-" + reference.Version}, reply.Model)
	require.NotEmpty(t, reply.Answer.Response.Recommendations)
	require.Equal(t, "request-7.2", reply.Answer.Response.IdempotencyKey)
	require.JSONEq(t, string(reply.Body), string(must(json.Marshal(reply.Answer))))
	require.Empty(t, document.Request.IdempotencyKey, "the document of the caller is not changed")

	require.Equal(t, "request-7.2", b.header.Get("Idempotency-Key"))
	require.Equal(t, document.Trace.Traceparent, b.header.Get("Traceparent"))
	require.Equal(t, "mass/test", b.header.Get("User-Agent"))
	require.Equal(t, "application/json", b.header.Get("Content-Type"))
	sent, faults := signals.Decode(b.body)
	require.Empty(t, faults)
	document.Request.IdempotencyKey = "request-7.2"
	require.Equal(t, document, sent)

	_, err = c.Recommend(t.Context(), biocore.Ask{Document: document, Key: "k", Traceparent: "00-11111111111111111111111111111111-2222222222222222-01"})
	require.NoError(t, err)
	require.Equal(t, "00-11111111111111111111111111111111-2222222222222222-01", b.header.Get("Traceparent"))
}

func must(raw []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return raw
}

func TestAsksThatCannotBeSent(t *testing.T) {
	t.Parallel()
	b := newBox(t, reference.Options{}, nil)
	c := newClient(t, b.url, nil)
	for _, ask := range []biocore.Ask{
		{Key: "k"},
		{Document: patientRequest(t)},
		{Document: patientRequest(t), Key: "a b"},
		{Document: patientRequest(t), Key: "a\r\nX-Other: b"},
		{Document: patientRequest(t), Key: strings.Repeat("k", 201)},
	} {
		_, err := c.Recommend(t.Context(), ask)
		e := asError(t, err)
		require.Equal(t, biocore.ReasonRequest, e.Reason)
		require.False(t, e.Retry)
	}
	require.Zero(t, b.calls.Load())
}

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

func TestWrongAnswersAreRefusedAndNotRetried(t *testing.T) {
	t.Parallel()
	answers := func(contentType, encoding, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			if encoding != "" {
				w.Header().Set("Content-Encoding", encoding)
			}
			_, _ = io.WriteString(w, body)
		}
	}
	valid := string(validAnswer(t))
	for name, test := range map[string]struct {
		failure reference.Failure
		handler http.HandlerFunc
		fault   string
	}{
		"garbage":            {reference.Garbage, nil, ""},
		"huge":               {reference.Huge, nil, ""},
		"wrong schema":       {reference.WrongSchema, nil, "/response/recommendations"},
		"wrong request":      {reference.WrongRequest, nil, "/correlation_id"},
		"control actions":    {reference.ControlActions, nil, "/response/summary/guardrails/shadow_read_only_enforced"},
		"broken constraints": {reference.BrokenConstraints, nil, "/response/recommendations/0/action/delta"},
		"HTML":               {"", answers("text/html", "", valid), ""},
		"no type":            {"", answers("", "", valid), ""},
		"encoded":            {"", answers("application/json", "gzip", valid), ""},
		"empty":              {"", answers("application/json", "", ""), ""},
		"long":               {"", answers("application/json", "", valid+strings.Repeat(" ", 1<<20)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, reference.Options{}, test.handler)
			if test.failure != "" {
				b.SetFailure(test.failure)
			}
			reply, err := recommend(t, newClient(t, b.url, nil))
			require.NoError(t, err)
			require.True(t, reply.Refused())
			require.Nil(t, reply.Answer)
			require.NotEmpty(t, reply.Faults)
			require.Equal(t, test.fault, reply.Faults[0].Pointer, "%v", reply.Faults)
			require.EqualValues(t, 1, b.calls.Load())
			require.LessOrEqual(t, len(reply.Body), 1<<20)
			if test.failure == reference.ControlActions {
				require.Equal(t, reference.Name, reply.Model.Name, "the model of a refused answer is known")
			}
		})
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	elsewhere := newBox(t, reference.Options{}, nil)
	b := newBox(t, reference.Options{}, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.url+"/recommend", http.StatusTemporaryRedirect)
	})
	e := failure(t, newClient(t, b.url, nil))
	require.Equal(t, http.StatusTemporaryRedirect, e.Status)
	require.False(t, e.Retry)
	require.EqualValues(t, 1, b.calls.Load())
	require.Zero(t, elsewhere.calls.Load())
}

// TestTheTotalTimeIsTheSmallest asks a BioCore that never answers. Each of the
// three limits ends the call although the two others are a minute.
func TestTheTotalTimeIsTheSmallest(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*biocore.Options, *signals.Request){
		"timeout_ms":                 func(_ *biocore.Options, r *signals.Request) { r.TimeoutMS = "50" },
		"service_level_objective_ms": func(_ *biocore.Options, r *signals.Request) { r.ServiceLevelObjectiveMS = "50" },
		"setting":                    func(o *biocore.Options, _ *signals.Request) { o.Timeout = 50 * time.Millisecond },
	} {
		for _, mode := range []reference.Failure{reference.Hang, reference.Drip} {
			t.Run(name+" "+string(mode), func(t *testing.T) {
				t.Parallel()
				b := newBox(t, reference.Options{DripEvery: time.Millisecond}, nil)
				b.SetFailure(mode)
				document := patientRequest(t)
				document.Request.Environment = "dev" // prod bounds the objective
				document.Request.TimeoutMS, document.Request.ServiceLevelObjectiveMS = "60000", "60000"
				c := newClient(t, b.url, func(o *biocore.Options) { set(o, &document.Request) })
				started := time.Now()
				_, err := c.Recommend(t.Context(), biocore.Ask{Document: document, Key: "k"})
				e := asError(t, err)
				require.Contains(t, []biocore.Reason{biocore.ReasonTimeout, biocore.ReasonBusy}, e.Reason)
				require.True(t, e.Retry)
				require.Less(t, time.Since(started), long/2)
				require.LessOrEqual(t, b.calls.Load(), int64(1), "a timeout of the whole is not retried")
			})
		}
	}
}

func TestEachReadIsBounded(t *testing.T) {
	t.Parallel()
	b := newBox(t, reference.Options{DripEvery: time.Hour}, nil)
	b.SetFailure(reference.Drip)
	started := time.Now()
	e := failure(t, newClient(t, b.url, func(o *biocore.Options) { o.ReadTimeout = 50 * time.Millisecond }))
	require.Equal(t, biocore.ReasonTimeout, e.Reason)
	require.Contains(t, e.Error(), "stopped sending")
	require.Less(t, time.Since(started), long/2)
	require.EqualValues(t, 1, b.calls.Load())
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

func TestTheBreakerOpensProbesAndCloses(t *testing.T) {
	t.Parallel()
	b := newBox(t, reference.Options{}, nil)
	b.SetFailure(reference.Status503)
	const pause = 300 * time.Millisecond
	c := newClient(t, b.url, func(o *biocore.Options) {
		o.MaxTries, o.BreakerFailures, o.BreakerPause = 1, 3, pause
	})
	require.Equal(t, biocore.BreakerClosed, c.Breaker().State)
	for range 3 {
		require.Equal(t, biocore.ReasonStatus, failure(t, c).Reason)
	}
	opened := c.Breaker().Since
	e := failure(t, c)
	if time.Since(opened) < pause { // unless the machine is very slow
		require.Equal(t, biocore.ReasonBreakerOpen, e.Reason)
		require.True(t, e.Retry)
		require.Positive(t, e.RetryAfter)
		require.LessOrEqual(t, e.RetryAfter, pause)
		require.Zero(t, e.Tries)
	}

	// While BioCore is down, calls are made at most once a pause, however often
	// recommendations are asked for.
	b.calls.Store(0)
	started := time.Now()
	require.Eventually(t, func() bool {
		failure(t, c)
		return b.calls.Load() >= 2
	}, long, time.Millisecond)
	require.LessOrEqual(t, b.calls.Load(), int64(time.Since(started)/pause)+2)

	b.SetFailure(reference.NoFailure)
	require.Eventually(t, func() bool {
		_, err := recommend(t, c)
		return err == nil
	}, long, 5*time.Millisecond)
	require.Equal(t, biocore.BreakerClosed, c.Breaker().State)
	require.Zero(t, c.Breaker().RetryIn)
}

func TestOneCallProbesAtATime(t *testing.T) {
	t.Parallel()
	var hang atomic.Bool
	arrived, release := make(chan struct{}), make(chan struct{})
	b := newBox(t, reference.Options{}, func(w http.ResponseWriter, _ *http.Request) {
		if hang.Load() {
			arrived <- struct{}{}
			<-release
		}
		w.WriteHeader(http.StatusBadGateway)
	})
	c := newClient(t, b.url, func(o *biocore.Options) {
		o.MaxTries, o.BreakerFailures, o.BreakerPause = 1, 1, time.Millisecond
	})
	failure(t, c)
	require.Eventually(t, func() bool { return c.Breaker().State == biocore.BreakerHalfOpen }, long, time.Millisecond)
	hang.Store(true)
	ended := make(chan error)
	go func() {
		_, err := recommend(t, c)
		ended <- err
	}()
	<-arrived
	for range 5 {
		e := failure(t, c)
		require.Equal(t, biocore.ReasonBreakerOpen, e.Reason)
		require.Positive(t, e.RetryAfter)
	}
	require.EqualValues(t, 2, b.calls.Load())
	close(release)
	require.Error(t, <-ended)
}

// TestImpatientRequestsDoNotOpenTheBreaker proves that a request with a tiny
// timeout_ms has no effect on others.
func TestImpatientRequestsDoNotOpenTheBreaker(t *testing.T) {
	t.Parallel()
	b := newBox(t, reference.Options{}, nil)
	b.SetFailure(reference.Hang)
	c := newClient(t, b.url, func(o *biocore.Options) { o.BreakerFailures = 2 })
	document := patientRequest(t)
	document.Request.TimeoutMS = "5"
	for range 6 {
		_, err := c.Recommend(t.Context(), biocore.Ask{Document: document, Key: "k"})
		require.Error(t, err)
	}
	require.Equal(t, biocore.BreakerClosed, c.Breaker().State)
}

func TestHangingOpensTheBreaker(t *testing.T) {
	t.Parallel()
	b := newBox(t, reference.Options{}, nil)
	b.SetFailure(reference.Hang)
	c := newClient(t, b.url, func(o *biocore.Options) {
		o.BreakerFailures, o.Timeout, o.MaxCalls = 3, 300*time.Millisecond, 1
	})
	var group errgroup.Group
	for range 12 { // more than may call at once
		group.Go(func() error {
			for c.Breaker().State == biocore.BreakerClosed {
				if _, err := c.Recommend(t.Context(), biocore.Ask{Document: patientRequest(t), Key: "k"}); err == nil {
					return errors.New("an answer came from a BioCore that hangs")
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	require.Equal(t, biocore.BreakerOpen, c.Breaker().State)
	require.EqualValues(t, 1, b.most.Load())
}

func TestACallerThatLeavesIsNoFailureOfBioCore(t *testing.T) {
	t.Parallel()
	b := newBox(t, reference.Options{}, nil)
	b.SetFailure(reference.Hang)
	c := newClient(t, b.url, func(o *biocore.Options) { o.BreakerFailures = 1 })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := c.Recommend(ctx, biocore.Ask{Document: patientRequest(t), Key: "k"})
		ended <- err
	}()
	require.Eventually(t, func() bool { return b.running.Load() == 1 }, long, time.Millisecond)
	cancel()
	err := <-ended
	require.Equal(t, biocore.ReasonCanceled, asError(t, err).Reason)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, biocore.BreakerClosed, c.Breaker().State)
	require.Eventually(t, func() bool { return b.running.Load() == 0 }, long, time.Millisecond, "the call is ended at BioCore as well")
}

func TestCallsAtOnceAreBounded(t *testing.T) {
	t.Parallel()
	b := newBox(t, reference.Options{}, nil)
	c := newClient(t, b.url, func(o *biocore.Options) { o.MaxCalls = 3 })
	var group errgroup.Group
	for i := range 60 {
		group.Go(func() error {
			document := patientRequest(t)
			document.Request.RequestID = "req-" + strconv.Itoa(i)
			reply, err := c.Recommend(t.Context(), biocore.Ask{Document: document, Key: "k"})
			if err == nil && reply.Refused() {
				err = reply.Faults
			}
			return err
		})
	}
	require.NoError(t, group.Wait())
	require.EqualValues(t, 60, b.calls.Load())
	require.LessOrEqual(t, b.most.Load(), int64(3))
}

func TestABusyClientDoesNotCall(t *testing.T) {
	t.Parallel()
	b := newBox(t, reference.Options{}, nil)
	b.SetFailure(reference.Hang)
	c := newClient(t, b.url, func(o *biocore.Options) { o.MaxCalls = 1 })
	ctx, cancel := context.WithCancel(t.Context())
	var group errgroup.Group
	group.Go(func() error {
		_, err := c.Recommend(ctx, biocore.Ask{Document: patientRequest(t), Key: "first"})
		return err
	})
	require.Eventually(t, func() bool { return b.running.Load() == 1 }, long, time.Millisecond)
	document := patientRequest(t)
	document.Request.TimeoutMS = "20"
	_, err := c.Recommend(t.Context(), biocore.Ask{Document: document, Key: "second"})
	e := asError(t, err)
	require.Equal(t, biocore.ReasonBusy, e.Reason)
	require.True(t, e.Retry)
	require.Zero(t, e.Tries)
	require.EqualValues(t, 1, b.calls.Load())
	cancel()
	require.Error(t, group.Wait())
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

func TestTLS(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(reference.New(reference.Options{}))
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	reply, err := recommend(t, newClient(t, server.URL, func(o *biocore.Options) { o.RootCAs = roots }))
	require.NoError(t, err)
	require.False(t, reply.Refused(), "%v", reply.Faults)

	for name, set := range map[string]func(*biocore.Options){
		"unknown authority": nil,
		"another name": func(o *biocore.Options) {
			o.RootCAs = roots
			o.URL = strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
		},
	} {
		e := failure(t, newClient(t, server.URL, set))
		require.Equal(t, biocore.ReasonTLS, e.Reason, "%s: %v", name, e.Cause)
		require.Equal(t, 1, e.Tries, name)
	}

	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	e := failure(t, newClient(t, strings.Replace(plain.URL, "http:", "https:", 1), nil))
	require.Equal(t, biocore.ReasonTLS, e.Reason, "%v", e.Cause)
}

func TestAProxyIsUsedOnlyIfSet(t *testing.T) {
	t.Parallel()
	proxy := newBox(t, reference.Options{}, nil) // answers for every host
	via, err := url.Parse(proxy.url)
	require.NoError(t, err)
	c := newClient(t, "http://biocore.invalid", func(o *biocore.Options) { o.Proxy = http.ProxyURL(via) })
	_, err = recommend(t, c)
	require.NoError(t, err)
	require.EqualValues(t, 1, proxy.calls.Load())
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	_, err := biocore.New(biocore.Options{URL: "http://user:secret@host/", Token: "two words"})
	require.Error(t, err)
	for _, part := range []string{"user", "Token", "UserAgent", "ConnectTimeout", "Timeout", "ReadTimeout", "MaxAnswer", "MaxCalls", "MaxTries", "RetryDelay", "BreakerFailures", "BreakerPause"} {
		require.ErrorContains(t, err, part)
	}
	require.NotContains(t, err.Error(), "secret")
	for _, address := range []string{"", "biocore:8090", "ftp://host", "http://", "https://host/?x=1", "https://host/#x", "http://a b/"} {
		_, err := biocore.New(biocore.Options{URL: address})
		require.ErrorContains(t, err, "URL", address)
	}
}

func TestPoller(t *testing.T) {
	t.Parallel()
	b := newBox(t, reference.Options{}, nil)
	p := biocore.NewPoller(newClient(t, b.url, nil), time.Millisecond)
	require.Zero(t, p.Condition())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		p.Run(ctx)
		close(ended)
	}()
	until := func(what string, met func(biocore.Condition) bool) biocore.Condition {
		t.Helper()
		require.Eventually(t, func() bool { return met(p.Condition()) }, long, time.Millisecond, what)
		return p.Condition()
	}
	up := until("up", func(c biocore.Condition) bool { return c.Up && c.Model.Name == reference.Name })
	require.Empty(t, up.Problem)
	require.False(t, up.Since.IsZero())

	b.SetFailure(reference.Status503)
	down := until("down", func(c biocore.Condition) bool { return !c.Up })
	require.Contains(t, down.Problem, "503")
	require.Equal(t, reference.Name, down.Model.Name, "the last model stays known")
	require.True(t, down.Since.After(up.Since))

	b.SetFailure(reference.NoFailure)
	until("up again", func(c biocore.Condition) bool { return c.Up && c.Problem == "" })
	cancel()
	<-ended
}

func TestVersionMustNameAModel(t *testing.T) {
	t.Parallel()
	for _, body := range []string{``, `{}`, `[]`, `{"model":{"name":"x"}}`, `{"model":"x"}`} {
		b := newBox(t, reference.Options{}, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
		_, err := newClient(t, b.url, nil).Version(t.Context())
		require.ErrorContains(t, err, "did not name its model", body)
	}
}

func TestContract(t *testing.T) {
	t.Parallel()
	b := newBox(t, reference.Options{}, nil)
	for _, finding := range biocore.Contract(t.Context(), newClient(t, b.url, nil), "test") {
		require.True(t, finding.Passed(), "%s: %s", finding.Test, finding.Problem)
	}
}

func TestContractFindsEachFailure(t *testing.T) {
	t.Parallel()
	for _, mode := range reference.Failures()[1:] {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			b := newBox(t, reference.Options{DripEvery: time.Hour}, nil)
			b.SetFailure(mode)
			c := newClient(t, b.url, func(o *biocore.Options) {
				o.Timeout, o.ReadTimeout, o.MaxTries = 2*time.Second, 50*time.Millisecond, 1
				if mode == reference.Hang {
					o.Timeout = 50 * time.Millisecond
				}
			})
			failed := 0
			for _, finding := range biocore.Contract(t.Context(), c, "test") {
				if !finding.Passed() {
					failed++
				}
			}
			require.Positive(t, failed)
		})
	}
}

func ExampleClient_Recommend() {
	server := httptest.NewServer(reference.New(reference.Options{}))
	defer server.Close()
	client, err := biocore.New(biocore.Options{
		URL: server.URL, UserAgent: "example", ConnectTimeout: time.Minute, Timeout: time.Minute, ReadTimeout: time.Minute, MaxAnswer: 1 << 20,
		MaxCalls: 4, MaxTries: 3, RetryDelay: 100 * time.Millisecond, BreakerFailures: 5, BreakerPause: 5 * time.Second,
	})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	document, _ := signals.Decode(signals.Example())
	document.Request.TimeoutMS, document.Request.ServiceLevelObjectiveMS = "", ""

	reply, err := client.Recommend(context.Background(), biocore.Ask{Document: document, Key: "mass-42-1"})
	var failed *biocore.Error
	switch {
	case errors.As(err, &failed) && failed.Retry:
		fmt.Println("ask again later:", failed)
	case err != nil:
		fmt.Println("unavailable:", err)
	case reply.Refused():
		fmt.Println("refused:", reply.Faults)
	default:
		for _, r := range reply.Answer.Response.Recommendations {
			fmt.Println(r.Action.Target, r.Action.Current, "→", r.Action.Suggested, r.Action.Units)
		}
	}
	// Output:
	// fan_power_kw 38.5 → 33.89 kW
	// cooling_setpoint_c 20 → 20.4 C
	// batch_pct 65 → 48.8 pct
}
