package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/api"
	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/internal/systemtest"
	"github.com/leomutto/pilot-in-a-box/migrations"
	"github.com/leomutto/pilot-in-a-box/store"
)

const patience = systemtest.Patience // until a test that waits for something gives up

func TestMain(m *testing.M) { systemtest.Main(m) }

// system is an API server on a database and a Redis of its own, with a second way to both.
type system struct {
	t     *testing.T
	api   *api.Server
	url   string
	store *store.Store
	db    *sqlx.DB
	rdb   redis.UniversalClient
	log   *logBuffer
	role  auth.Role // whose token goes along; "" for nobody's
	keys  *keys

	advised int // recommendations made by recommended
}

// keys are an API key of each role, made when it is needed.
type keys struct {
	mu   sync.Mutex
	made map[auth.Role]string
}

// noKey looks like an API key, for databases that cannot be asked anyway.
var noKey = auth.FormatAPIKey(1, auth.NewKeySecret())

// signing signs tokens in tests.
func signing() *auth.Tokens {
	ring, err := auth.LoadKeyring("a-secret-for-tests-which-nobody-has-to-keep", "")
	if err != nil {
		panic(err)
	}
	return auth.NewTokens(auth.TokenConfig{Keys: ring, Issuer: "mass", Audience: "mass", TTL: time.Hour})
}

// logBuffer keeps what the server logs.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func setup(t *testing.T, tune ...func(*api.Config)) *system {
	t.Helper()
	return setupOn(t, devtest.Database(t), devtest.Redis(t), tune...)
}

func setupOn(t *testing.T, databaseURL, redisURL string, tune ...func(*api.Config)) *system {
	t.Helper()
	e := &system{t: t, log: new(logBuffer), role: auth.Admin, keys: &keys{made: map[auth.Role]string{}}}
	servers := systemtest.On(t, databaseURL, redisURL)
	e.store, e.db, e.rdb = servers.Store, servers.DB, servers.Redis
	cfg := api.DefaultConfig()
	cfg.Addr, cfg.Version, cfg.Access.Tokens = "127.0.0.1:0", "test", signing()
	cfg.AnswerTimeout, cfg.ReadHeaderTimeout, cfg.ReadTimeout, cfg.WriteTimeout, cfg.ShutdownTimeout = patience, patience, patience, patience, patience
	cfg.PendingMigrations = func(ctx context.Context) (int, error) { return migrations.PendingIn(ctx, servers.Store.Pool()) }
	for _, f := range tune {
		f(&cfg)
	}
	log := slog.New(slog.NewJSONHandler(e.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	e.api, err = api.New(e.store, e.rdb, servers.Enqueuer, cfg, log)
	require.NoError(t, err)
	srv := httptest.NewServer(e.api.Handler())
	t.Cleanup(func() {
		srv.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, e.api.Close(ctx))
	})
	e.url = srv.URL
	return e
}

// as is the same system, called by somebody else: "" shows no token.
func (e *system) as(role auth.Role) *system {
	other := *e
	other.role = role
	return &other
}

// token is an API key of the system's role.
func (e *system) token() string {
	e.t.Helper()
	return e.key(e.t.Context())
}

func (e *system) key(ctx context.Context) string {
	e.t.Helper()
	e.keys.mu.Lock()
	defer e.keys.mu.Unlock()
	if e.keys.made[e.role] == "" {
		secret := auth.NewKeySecret()
		k, err := e.store.AddAPIKey(ctx, store.NewAPIKey{Name: string(e.role), Role: e.role, SecretHash: auth.Digest(secret)}, store.Origin{Actor: "test"})
		require.NoError(e.t, err)
		e.keys.made[e.role] = auth.FormatAPIKey(k.ID, secret)
	}
	return e.keys.made[e.role]
}

// sign adds the token of the system's role to a request that has none.
func (e *system) sign(r *http.Request) *http.Request {
	e.t.Helper()
	if e.role != "" && r.Header.Get("Authorization") == "" {
		r.Header.Set("Authorization", "Bearer "+e.key(r.Context()))
	}
	return r
}

// answer is what came back, with its body both as text and as JSON.
type answer struct {
	*http.Response
	text string
	json map[string]any
}

// call sends a request; headers come in pairs.
func (e *system) call(method, path, body string, headers ...string) answer {
	e.t.Helper()
	req, err := http.NewRequestWithContext(e.t.Context(), method, e.url+path, strings.NewReader(body))
	require.NoError(e.t, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return e.do(req)
}

var noRedirects = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func (e *system) do(req *http.Request) answer {
	e.t.Helper()
	resp, err := noRedirects.Do(e.sign(req))
	require.NoError(e.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(e.t, err)
	a := answer{Response: resp, text: string(raw)}
	if strings.Contains(resp.Header.Get("Content-Type"), "json") && len(raw) > 0 {
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		require.NoError(e.t, dec.Decode(&a.json), a.text)
	}
	return a
}

// submit posts a payload and returns the id of its request.
func (e *system) submit(payload string) int64 {
	e.t.Helper()
	a := e.call(http.MethodPost, "/mass-requests/", `{"payload":`+payload+`}`)
	require.Equal(e.t, http.StatusCreated, a.StatusCode, a.text)
	return a.id()
}

func (a answer) id() int64 {
	id, _ := a.json["id"].(json.Number).Int64()
	return id
}

// stored counts all requests.
func (e *system) stored() int {
	e.t.Helper()
	var n int
	require.NoError(e.t, e.db.GetContext(e.t.Context(), &n, `SELECT count(*) FROM mass_requests`))
	return n
}

// problem checks that an answer is a well-formed problem of this status and code.
func (a answer) problem(t *testing.T, status int, code string) {
	t.Helper()
	require.Equal(t, status, a.StatusCode, a.text)
	require.Equal(t, "application/problem+json", a.Header.Get("Content-Type"))
	require.Equal(t, code, a.json["code"], a.text)
	require.Equal(t, "about:blank", a.json["type"])
	require.Equal(t, http.StatusText(status), a.json["title"])
	require.Equal(t, json.Number(jsonOf(t, status)), a.json["status"])
	require.NotEmpty(t, a.json["detail"])
	require.NotEmpty(t, a.json["instance"])
	require.Equal(t, a.Header.Get("X-Request-Id"), a.json["request_id"])
	require.NotContains(t, a.text, `"value"`, "a problem must not repeat the input")
}

// faults lists the pointers and parameters that a problem names.
func (a answer) faults() []string {
	var names []string
	list, _ := a.json["errors"].([]any)
	for _, e := range list {
		fault, _ := e.(map[string]any)
		name, _ := fault["pointer"].(string)
		if p, ok := fault["parameter"].(string); ok {
			name = p
		}
		names = append(names, name)
	}
	return names
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	require.NoError(t, err)
	return string(raw)
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	require.Eventually(t, holds, patience, 5*time.Millisecond, what)
}
