package api_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/api"
	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/migrations"
)

func TestShutdownUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	e := setup(t)
	addr, err := e.api.Listen()
	require.NoError(t, err)
	e.url = "http://" + addr.String()
	ctx, shutdown := context.WithCancel(t.Context())
	defer shutdown()
	served := make(chan error, 1)
	go func() { served <- e.api.Serve(ctx) }()

	var (
		clients  sync.WaitGroup
		mu       sync.Mutex
		accepted []int64
		count    atomic.Int64
	)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	defer client.CloseIdleConnections()
	for range 16 {
		clients.Go(func() {
			for {
				req, err := http.NewRequest(http.MethodPost, e.url+"/mass-requests/", strings.NewReader(`{"payload":{"n":1}}`))
				if err != nil {
					return
				}
				e.sign(req).Header.Set("Content-Type", "application/json")
				resp, err := client.Do(req)
				if err != nil {
					return // the server is gone; nothing was promised
				}
				var body struct{ ID int64 }
				err = json.NewDecoder(resp.Body).Decode(&body)
				_ = resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusCreated {
					return
				}
				mu.Lock()
				accepted = append(accepted, body.ID)
				mu.Unlock()
				count.Add(1)
			}
		})
	}
	eventually(t, "some load", func() bool { return count.Load() > 500 })
	shutdown()
	require.NoError(t, <-served)
	clients.Wait()

	var stored int
	require.NoError(t, e.db.GetContext(t.Context(), &stored,
		`SELECT count(*) FROM mass_requests WHERE id = ANY ($1)`, pq.Int64Array(accepted)))
	require.Len(t, accepted, stored, "every request that was answered 201 is in the database")

	var batches []struct {
		ID       int64 `db:"batch_id"`
		Lane     int16 `db:"lane"`
		Requests int   `db:"n"`
	}
	require.NoError(t, e.db.SelectContext(t.Context(), &batches, `SELECT batch_id, lane, count(*) AS n FROM mass_requests GROUP BY batch_id, lane`))
	var refs []jobs.BatchRef
	for _, b := range batches {
		require.LessOrEqual(t, b.Requests, 64)
		refs = append(refs, jobs.BatchRef{ID: b.ID, Priority: jobs.Default, Lane: jobs.Lane(b.Lane)})
	}
	missing, err := queue.WithoutTask(t.Context(), e.rdb, refs)
	require.NoError(t, err)
	require.Empty(t, missing, "every batch is in Redis, and nobody had to wait for it")
}

func TestDrainingServerSaysSo(t *testing.T) {
	t.Parallel()
	e := setup(t)
	require.NoError(t, e.api.Close(t.Context()))
	ready := e.call(http.MethodGet, "/health/ready", "")
	require.Equal(t, http.StatusServiceUnavailable, ready.StatusCode)
	require.Equal(t, "unavailable", ready.json["status"])
	require.Equal(t, http.StatusOK, e.call(http.MethodGet, "/health/live", "").StatusCode)
	a := e.call(http.MethodPost, "/mass-requests/", `{"payload":{}}`)
	a.problem(t, http.StatusServiceUnavailable, "unavailable")
	require.NotEmpty(t, a.Header.Get("Retry-After"))
}

func TestListenSaysWhy(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	e := setup(t, func(c *api.Config) { c.Addr = taken.Addr().String() })
	require.ErrorContains(t, e.api.Run(t.Context()), "address already in use")
}

// silent returns the address of a server that takes connections and says nothing.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func TestRedisAway(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{
		"refused": "redis://127.0.0.1:1",
		"silent":  "redis://" + silent(t) + "?read_timeout=100ms&dial_timeout=100ms",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := setupOn(t, devtest.Database(t), url)
			var path string
			for range 20 {
				a := e.call(http.MethodPost, "/mass-requests/", `{"payload":{}}`)
				require.Equal(t, http.StatusCreated, a.StatusCode, a.text)
				path = a.Header.Get("Location")
			}
			for _, status := range []string{"cancelled", "pending"} {
				a := e.call(http.MethodPatch, path+"/status", `{"status":"`+status+`"}`)
				require.Equal(t, http.StatusOK, a.StatusCode, a.text)
			}
			require.Equal(t, http.StatusNoContent, e.call(http.MethodDelete, path, "").StatusCode)
			require.Equal(t, 19, e.stored())

			a := e.call(http.MethodGet, "/health/ready", "")
			require.Equal(t, http.StatusOK, a.StatusCode, "work keeps coming while it can be stored")
			require.Equal(t, "degraded", a.json["status"])
			checks, _ := a.json["checks"].(map[string]any)
			require.Equal(t, "ok", checks["postgres"].(map[string]any)["status"])
			require.Equal(t, "unavailable", checks["redis"].(map[string]any)["status"])
			eventually(t, "a line in the log", func() bool { return strings.Contains(e.log.String(), "the reconciler will make up for it") })
		})
	}
}

func TestPostgresAway(t *testing.T) {
	t.Parallel()
	stack := devtest.Private(t)
	_, err := migrations.Up(t.Context(), stack.DatabaseURL())
	require.NoError(t, err)
	e := setupOn(t, stack.DatabaseURL(), devtest.Redis(t))
	id := e.submit(`{}`)
	require.NoError(t, stack.KillPostgres())

	for _, c := range [][3]string{
		{http.MethodPost, "/mass-requests/", `{"payload":{}}`},
		{http.MethodGet, "/mass-requests/", ""},
		{http.MethodGet, "/mass-requests/1", ""},
		{http.MethodPatch, "/mass-requests/1/status", `{"status":"cancelled"}`},
		{http.MethodDelete, "/mass-requests/1", ""},
	} {
		a := e.call(c[0], c[1], c[2])
		a.problem(t, http.StatusServiceUnavailable, "unavailable")
		require.NotEmpty(t, a.Header.Get("Retry-After"))
	}
	eventually(t, "not ready", func() bool {
		a := e.call(http.MethodGet, "/health/ready", "")
		return a.StatusCode == http.StatusServiceUnavailable && a.json["status"] == "unavailable"
	})
	require.Equal(t, http.StatusOK, e.call(http.MethodGet, "/health/live", "").StatusCode)

	require.NoError(t, stack.RestartPostgres(t.Context()))
	eventually(t, "recovery", func() bool {
		return e.call(http.MethodPost, "/mass-requests/", `{"payload":{}}`).StatusCode == http.StatusCreated
	})
	eventually(t, "ready again", func() bool { return e.call(http.MethodGet, "/health/ready", "").StatusCode == http.StatusOK })
	require.Equal(t, http.StatusOK, e.call(http.MethodGet, "/mass-requests/1", "").StatusCode, "request %d survived", id)
}

func TestSilentPostgresIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	e := setupOn(t, "postgres://u:p@"+silent(t)+"/db?sslmode=disable", devtest.Redis(t), func(c *api.Config) {
		c.AnswerTimeout, c.PendingMigrations = 50*time.Millisecond, nil
	})
	e.keys.made[auth.Admin] = noKey
	for _, path := range []string{"/mass-requests/", "/mass-requests/1"} {
		e.call(http.MethodGet, path, "").problem(t, http.StatusServiceUnavailable, "unavailable")
	}
	e.call(http.MethodPost, "/mass-requests/", `{"payload":{}}`).problem(t, http.StatusServiceUnavailable, "unavailable")
	a := e.call(http.MethodGet, "/health", "")
	require.Equal(t, http.StatusServiceUnavailable, a.StatusCode)
	require.NotContains(t, a.text, "127.0.0.1", "internals stay inside")
}

func TestFrozenPostgresIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	direct, err := url.Parse(devtest.Database(t))
	require.NoError(t, err)
	p := newProxy(t, direct.Host)
	throughProxy := *direct
	throughProxy.Host = p.addr
	e := setupOn(t, throughProxy.String(), devtest.Redis(t), func(c *api.Config) {
		c.AnswerTimeout, c.PendingMigrations = 100*time.Millisecond, nil
	})
	eventually(t, "connections", func() bool {
		return e.call(http.MethodPost, "/mass-requests/", `{"payload":{}}`).StatusCode == http.StatusCreated
	})

	thaw := p.freeze()
	begun := time.Now()
	e.call(http.MethodPost, "/mass-requests/", `{"payload":{}}`).problem(t, http.StatusServiceUnavailable, "unavailable")
	e.call(http.MethodGet, "/mass-requests/1", "").problem(t, http.StatusServiceUnavailable, "unavailable")
	e.call(http.MethodDelete, "/mass-requests/1", "").problem(t, http.StatusServiceUnavailable, "unavailable")
	require.Equal(t, http.StatusServiceUnavailable, e.call(http.MethodGet, "/health/ready", "").StatusCode)
	// Without a bound, each call would wait for the statement timeout of 30 s.
	require.Less(t, time.Since(begun), 15*time.Second, "each answer is bounded by 100 ms")
	thaw()
	eventually(t, "recovery", func() bool {
		return e.call(http.MethodPost, "/mass-requests/", `{"payload":{}}`).StatusCode == http.StatusCreated
	})
}

// proxy is a network that can be frozen: connections stay open and nothing passes.
type proxy struct {
	addr string
	gate sync.RWMutex
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	p := &proxy{addr: l.Addr().String()}
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", target)
			if err != nil {
				_ = from.Close()
				continue
			}
			go p.pass(to, from)
			go p.pass(from, to)
		}
	}()
	return p
}

func (p *proxy) freeze() (thaw func()) {
	p.gate.Lock()
	return p.gate.Unlock
}

func (p *proxy) pass(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		p.gate.RLock()
		_, err = to.Write(buf[:n])
		p.gate.RUnlock()
		if err != nil {
			return
		}
	}
}

func TestPendingMigrationsMakeUnready(t *testing.T) {
	t.Parallel()
	e := setup(t, func(c *api.Config) { c.PendingMigrations = func(context.Context) (int, error) { return 2, nil } })
	a := e.call(http.MethodGet, "/health/ready/", "")
	require.Equal(t, http.StatusServiceUnavailable, a.StatusCode)
	checks, _ := a.json["checks"].(map[string]any)
	require.Equal(t, map[string]any{"status": "unavailable", "detail": "2 to be applied"}, checks["migrations"])
	require.Equal(t, map[string]any{"status": "ok"}, checks["postgres"])
}

func TestHealth(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for _, path := range []string{"/health", "/health/", "/health/ready", "/health/ready/", "/health/live", "/health/live/"} {
		a := e.call(http.MethodGet, path, "")
		require.Equal(t, http.StatusOK, a.StatusCode, a.text)
		require.Equal(t, "ok", a.json["status"])
		require.Equal(t, "test", a.json["version"])
		require.Equal(t, http.StatusOK, e.call(http.MethodHead, path, "").StatusCode)
	}
}

func TestRequestIDs(t *testing.T) {
	t.Parallel()
	e := setup(t)
	require.Equal(t, "my-id_1.2", e.call(http.MethodGet, "/health/live", "", "X-Request-Id", "my-id_1.2").Header.Get("X-Request-Id"))
	for _, bad := range []string{"", "with space", `"quoted"`, "ünïcode", strings.Repeat("x", 129)} {
		id := e.call(http.MethodGet, "/health/live", "", "X-Request-Id", bad).Header.Get("X-Request-Id")
		require.NotEqual(t, bad, id)
		require.NotEmpty(t, id)
	}
}

func TestOneLineARequest(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.call(http.MethodPost, "/mass-requests/", `{"payload":{"secret":"hush"}}`, "X-Request-Id", "the-post")
	e.call(http.MethodGet, "/mass-requests/123456?hush=hush", "", "X-Request-Id", "the-get")
	e.call(http.MethodGet, "/hush", "", "X-Request-Id", "the-404")
	lines := map[string]map[string]any{}
	eventually(t, "three lines", func() bool {
		for line := range strings.Lines(e.log.String()) {
			var l map[string]any
			require.NoError(t, json.Unmarshal([]byte(line), &l))
			if id, ok := l["http_request_id"].(string); ok {
				lines[id] = l
			}
		}
		return len(lines) == 3
	})
	require.Equal(t, "/mass-requests/", lines["the-post"]["route"])
	require.EqualValues(t, 201, lines["the-post"]["status"])
	require.Equal(t, "/mass-requests/{id}", lines["the-get"]["route"])
	require.Equal(t, "validation_failed", lines["the-get"]["code"])
	require.Equal(t, "", lines["the-404"]["route"])
	require.NotContains(t, e.log.String(), "hush", "neither payloads nor raw paths are logged")
	require.NotContains(t, e.log.String(), "123456")
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const none = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	for path, policy := range map[string]string{
		"/": none, "/health/live": none, "/nothing": none, "/mass-requests/": none, "/openapi.json": none, "/monitoring/api/queues": none,
		"/docs": "script-src 'nonce-", "/monitoring": "script-src 'nonce-", "/monitoring/queues/x": "script-src 'nonce-", "/login": "style-src 'sha256-",
	} {
		h := e.call(http.MethodGet, path, "").Header
		require.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
		require.Equal(t, "DENY", h.Get("X-Frame-Options"))
		require.Equal(t, "same-origin", h.Get("Cross-Origin-Opener-Policy"))
		require.Equal(t, "same-origin", h.Get("Cross-Origin-Resource-Policy"))
		require.Equal(t, "same-origin", h.Get("Referrer-Policy"))
		require.Contains(t, h.Get("Permissions-Policy"), "camera=()")
		require.Empty(t, h.Get("Strict-Transport-Security"), "not over plain HTTP")
		csp := h.Get("Content-Security-Policy")
		require.Contains(t, csp, policy, path)
		require.Contains(t, csp, "default-src 'none'", path)
		require.Contains(t, csp, "frame-ancestors 'none'", path)
		require.NotContains(t, csp, "unsafe", path)
		require.NotContains(t, csp, "http", path)
	}
}

func TestHandlerNeedsNoListener(t *testing.T) {
	t.Parallel()
	e := setup(t)
	rec := httptest.NewRecorder()
	e.api.Handler().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/health/live", nil))
	require.Equal(t, http.StatusOK, rec.Code)
}
