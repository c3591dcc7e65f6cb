package biocore_test

import (
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

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
			for most := b.most.Load(); now > most; most = b.most.Load() {
				if b.most.CompareAndSwap(most, now) {
					break
				}
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

// newClient returns a client with bounds that no test reaches unless it sets
// them.
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
	for _, part := range []string{"user", "token", "UserAgent", "ConnectTimeout", "Timeout", "ReadTimeout", "MaxAnswer", "MaxCalls", "MaxTries", "RetryDelay", "BreakerFailures", "BreakerPause"} {
		require.ErrorContains(t, err, part)
	}
	require.NotContains(t, err.Error(), "secret")
	for _, address := range []string{"", "biocore:8090", "ftp://host", "http://", "https://host/?x=1", "https://host/#x", "http://a b/"} {
		_, err := biocore.New(biocore.Options{URL: address})
		require.ErrorContains(t, err, "URL", address)
	}
}
