package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/api"
	"github.com/leomutto/pilot-in-a-box/internal/access"
	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
)

// addKey creates a key with somebody's token.
func (e *system) addKey(token, body string) (id int64, key string) {
	e.t.Helper()
	a := e.with(token, http.MethodPost, "/api-keys", body)
	require.Equal(e.t, http.StatusCreated, a.StatusCode, a.text)
	key, _ = a.json["key"].(string)
	return a.id(), key
}

// A stolen admin's token creates a key, and the admin is shut out: the key must
// not let the thief in again, here or in another process.
func TestAKeyDoesNotOutliveItsAdmin(t *testing.T) {
	t.Parallel()
	database, redis := devtest.Database(t), devtest.Redis(t)
	here, there := setupOn(t, database, redis), setupOn(t, database, redis)
	here.user("ann@x", auth.Admin)
	bob := here.user("bob@x", auth.Admin)
	path := fmt.Sprintf("/users/%d", bob)
	token, _ := here.tokens("bob@x", phrase)
	id, key := here.addKey(token, `{"name": "innocent", "role": "admin"}`)
	childID, child := here.addKey(key, `{"name": "child", "role": "operator"}`)
	for _, e := range []*system{here, there} {
		for _, proof := range []string{key, child} {
			require.Equal(t, http.StatusOK, e.me(proof).StatusCode)
		}
	}

	a := here.call(http.MethodPatch, path, `{"role": "viewer"}`)
	require.Equal(t, http.StatusOK, a.StatusCode, a.text)
	assert.Equal(t, fmt.Sprintf(`[{"id":%d,"name":"innocent"},{"id":%d,"name":"child"}]`, id, childID), jsonOf(t, a.json["limited_keys"]))
	here.with(key, http.MethodPatch, path, `{"role": "admin"}`).problem(t, http.StatusForbidden, "forbidden")
	require.Equal(t, "viewer", here.me(child).json["role"])
	eventually(t, "the key is limited there", func() bool { return there.me(key).json["role"] == "viewer" })
	require.Equal(t, http.StatusOK, here.call(http.MethodPatch, path, `{"role": "admin"}`).StatusCode)
	require.Equal(t, "operator", here.me(child).json["role"])

	a = here.call(http.MethodPatch, path, `{"disabled": true}`)
	require.Equal(t, http.StatusOK, a.StatusCode, a.text)
	assert.Equal(t, fmt.Sprintf(`[{"id":%d,"name":"innocent"},{"id":%d,"name":"child"}]`, id, childID), jsonOf(t, a.json["ended_keys"]))
	ended := func(e *system) {
		t.Helper()
		for _, proof := range []string{key, child} {
			a := e.me(proof)
			a.problem(t, http.StatusUnauthorized, "unauthenticated")
			require.Contains(t, a.text, fmt.Sprintf("user:%d, on whose behalf it acts, was disabled", bob))
			require.Contains(t, a.text, "/adopt")
		}
		e.with(key, http.MethodPatch, path, `{"disabled": false}`).problem(t, http.StatusUnauthorized, "unauthenticated")
	}
	ended(here)
	eventually(t, "the keys have ended there", func() bool {
		return there.me(key).StatusCode == http.StatusUnauthorized && there.me(child).StatusCode == http.StatusUnauthorized
	})
	ended(there)
	require.Equal(t, http.StatusOK, here.call(http.MethodPatch, path, `{"disabled": false}`).StatusCode)
	ended(here) // like the tokens
	newToken, _ := here.tokens("bob@x", phrase)
	_, other := here.addKey(newToken, `{"name": "later", "role": "viewer"}`)
	require.Equal(t, http.StatusOK, here.me(other).StatusCode)

	a = here.call(http.MethodGet, "/api-keys", "")
	var shown []string
	items, _ := a.json["items"].([]any)
	for _, item := range items {
		k, _ := item.(map[string]any)
		shown = append(shown, fmt.Sprintf("%v %v %v %v", k["name"], k["owner"], k["active"], k["effective_role"]))
	}
	require.Equal(t, []string{
		"admin <nil> true admin", fmt.Sprintf("innocent user:%d false <nil>", bob), fmt.Sprintf("child key:%d false <nil>", id),
		fmt.Sprintf("later user:%d true viewer", bob),
	}, shown, a.text)
}

func TestAdminsTakeKeysOver(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ann := e.user("ann@x", auth.Admin)
	bob := e.user("bob@x", auth.Admin)
	annToken, _ := e.tokens("ann@x", phrase)
	bobToken, _ := e.tokens("bob@x", phrase)
	id, key := e.addKey(bobToken, `{"name": "collector", "role": "operator"}`)
	_, adminKey := e.addKey(bobToken, `{"name": "tool", "role": "admin"}`)
	childID, child := e.addKey(adminKey, `{"name": "child", "role": "operator"}`)
	adopt := func(token string, id int64) answer {
		return e.with(token, http.MethodPost, fmt.Sprintf("/api-keys/%d/adopt", id), "")
	}
	adopt(adminKey, id).problem(t, http.StatusForbidden, "forbidden")
	adopt(annToken, 4711).problem(t, http.StatusNotFound, "not_found")
	require.Equal(t, http.StatusOK, e.call(http.MethodPatch, fmt.Sprintf("/users/%d", bob), `{"disabled": true}`).StatusCode)
	e.me(key).problem(t, http.StatusUnauthorized, "unauthenticated")
	a := adopt(annToken, id)
	require.Equal(t, http.StatusOK, a.StatusCode, a.text)
	require.Equal(t, fmt.Sprintf("user:%d", ann), a.json["owner"])
	require.Equal(t, fmt.Sprintf("user:%d", bob), a.json["created_by"])
	require.Equal(t, http.StatusOK, e.me(key).StatusCode, "at once in this process")
	e.me(child).problem(t, http.StatusUnauthorized, "unauthenticated")

	adminID, _, _ := auth.ParseAPIKey(adminKey)
	a = adopt(annToken, adminID)
	require.Equal(t, fmt.Sprintf(`[{"id":%d,"name":"child"}]`, childID), jsonOf(t, a.json["dependents"]), a.text)
	require.Equal(t, http.StatusOK, e.me(child).StatusCode)
	require.Equal(t, http.StatusNoContent, e.with(annToken, http.MethodDelete, fmt.Sprintf("/api-keys/%d", adminID), "").StatusCode)
	e.me(child).problem(t, http.StatusUnauthorized, "unauthenticated")
	adopt(annToken, adminID).problem(t, http.StatusConflict, "conflict")
	require.Equal(t, http.StatusOK, adopt(annToken, childID).StatusCode)
	require.Equal(t, http.StatusOK, e.me(child).StatusCode)
	require.Len(t, e.deeds("key_adopt"), 3)
}

func TestExpiredKeysAreToldSo(t *testing.T) {
	t.Parallel()
	e := setup(t, func(c *api.Config) { c.KeyMaxAge = 48 * time.Hour })
	add := func(expires string) answer {
		return e.call(http.MethodPost, "/api-keys", fmt.Sprintf(`{"name": "short", "role": "viewer", "expires_at": %q}`, expires))
	}
	for _, wrong := range []string{"tomorrow", "2001-01-01T00:00:00Z", time.Now().Add(72 * time.Hour).Format(time.RFC3339)} {
		a := add(wrong)
		a.problem(t, http.StatusUnprocessableEntity, "validation_failed")
		require.Equal(t, []string{"/expires_at"}, a.faults())
	}
	a := add(time.Now().Add(24 * time.Hour).Format(time.RFC3339))
	require.Equal(t, http.StatusCreated, a.StatusCode, a.text)
	key, _ := a.json["key"].(string)
	require.Equal(t, http.StatusOK, e.me(key).StatusCode)
	_, err := e.db.ExecContext(t.Context(), `UPDATE api_keys SET expires_at = now() WHERE id = $1`, a.id())
	require.NoError(t, err)
	eventually(t, "the key has expired", func() bool { return e.me(key).StatusCode == http.StatusUnauthorized })
	require.Contains(t, e.me(key).text, "the key has expired. An admin can create another one.")
	id, secret, _ := auth.ParseAPIKey(key)
	wrong := strings.Repeat("a", len(secret))
	require.NotContains(t, e.me(auth.FormatAPIKey(id, wrong)).text, "expired.", "only the holder of the key learns it")

	a = e.call(http.MethodPost, "/api-keys", `{"name": "by default", "role": "viewer"}`)
	expires, err := time.Parse(time.RFC3339Nano, fmt.Sprint(a.json["expires_at"]))
	require.NoError(t, err, a.text)
	require.WithinDuration(t, time.Now().Add(48*time.Hour), expires, time.Hour)
}

// A stolen token of an admin must not be enough to give the admin another
// password, neither directly nor by a key that it creates.
func TestYourOwnPasswordNeedsTheOldOne(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ann, bob := e.user("ann@x", auth.Admin), e.user("bob@x", auth.Viewer)
	token, _ := e.tokens("ann@x", phrase)
	_, key := e.addKey(token, `{"name": "tool", "role": "admin"}`)
	_, child := e.addKey(key, `{"name": "child", "role": "admin"}`)
	form := e.as("").call(http.MethodPost, "/login", "email=ann%40x&password=correct+horse+battery", "Content-Type", "application/x-www-form-urlencoded")
	cookie := form.Cookies()[0]
	set := func(id int64, headers ...string) answer {
		return e.as("").call(http.MethodPost, fmt.Sprintf("/users/%d/password", id), `{"password": "the thief's password"}`, headers...)
	}
	for name, proof := range map[string][]string{
		"token": {"Authorization", "Bearer " + token}, "key": {"Authorization", "Bearer " + key}, "key of a key": {"Authorization", "Bearer " + child},
		"cookie": {"Cookie", cookie.Name + "=" + cookie.Value},
	} {
		a := set(ann, proof...)
		a.problem(t, http.StatusForbidden, "forbidden")
		require.Contains(t, a.text, "POST /auth/password", name)
	}
	e.tokens("ann@x", phrase)
	a := set(bob, "Authorization", "Bearer "+token)
	require.Equal(t, http.StatusNoContent, a.StatusCode, a.text)
	a = e.with(token, http.MethodPost, "/auth/password", fmt.Sprintf(`{"current_password": %q, "new_password": "another horse battery"}`, phrase))
	require.Equal(t, http.StatusNoContent, a.StatusCode, a.text)
}

// While anybody is an admin, nobody can make that last, and the page of another
// site cannot reach the API under a name of its own (DNS rebinding).
func TestNothingLastsWhileSwitchedOff(t *testing.T) {
	t.Parallel()
	e := setup(t, func(c *api.Config) { c.Access = access.Config{Off: true} }).as("")
	port := e.url[strings.LastIndex(e.url, ":"):]
	call := func(method, path, host, body string) answer {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, e.url+path, strings.NewReader(body))
		require.NoError(t, err)
		req.Host = host
		req.Header.Set("Content-Type", "application/json")
		if host != "" {
			req.Header.Set("Origin", "http://"+host)
			req.Header.Set("Sec-Fetch-Site", "same-origin")
		}
		return e.do(req)
	}
	const body = `{"name": "rebind", "role": "admin"}`
	for _, host := range []string{"evil.example" + port, "localhost.evil.example", "127.0.0.1.nip.io" + port, "localtest.me", "10.0.0.1", "0.0.0.0" + port, "[::]"} {
		call(http.MethodPost, "/api-keys", host, body).problem(t, http.StatusForbidden, "host_not_allowed")
	}
	for _, path := range []string{
		"/", "/login", "/docs", "/docs/swagger-ui.css", "/openapi.json", "/monitoring", "/monitoring/api/queues", "/health", "/mass-requests/", "/users", "/nothing-here",
	} {
		call(http.MethodGet, path, "evil.example"+port, "").problem(t, http.StatusForbidden, "host_not_allowed")
	}
	for _, host := range []string{"localhost" + port, "127.0.0.1" + port, "127.9.9.9", "[::1]" + port, "mass.localhost"} {
		require.Equal(t, http.StatusOK, call(http.MethodGet, "/mass-requests/", host, "").StatusCode, host)
	}
	for _, c := range [][3]string{
		{http.MethodPost, "/api-keys", body}, {http.MethodPost, "/api-keys/", body}, {http.MethodDelete, "/api-keys/1", ""}, {http.MethodPost, "/api-keys/1/adopt", ""},
		{http.MethodPost, "/auth/register", fmt.Sprintf(`{"email": "eve@x", "password": %q, "role": "admin"}`, phrase)},
		{http.MethodPost, "/users/1/password", `{"password": "the thief's password"}`}, {http.MethodPatch, "/users/1", `{"role": "admin"}`},
	} {
		call(c[0], c[1], "localhost"+port, c[2]).problem(t, http.StatusForbidden, "auth_off")
	}
	var made int
	require.NoError(t, e.db.Get(&made, `SELECT (SELECT count(*) FROM api_keys) + (SELECT count(*) FROM users)`))
	require.Zero(t, made)
	require.Equal(t, http.StatusOK, call(http.MethodGet, "/users", "localhost"+port, "").StatusCode)
	require.Equal(t, http.StatusCreated, call(http.MethodPost, "/mass-requests/", "localhost"+port, `{"payload": {}}`).StatusCode)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.url+"/mass-requests/", strings.NewReader(`{"payload": {}}`))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	e.do(req).problem(t, http.StatusForbidden, "cross_origin")
}

// The health of a system whose trail is no longer sealed is degraded; it takes
// submissions.
func TestHealthTellsWhenSealingStops(t *testing.T) {
	t.Parallel()
	e := setup(t)
	eventually(t, "all is well", func() bool { return e.call(http.MethodGet, "/health/ready", "").json["status"] == "ok" })
	for _, statement := range []string{
		`ALTER TABLE audit_seals DISABLE TRIGGER audit_seals_continue`,
		`INSERT INTO audit_seals VALUES (1, 1, 1000000000, now(), 1, 1, sha256('a'), decode(repeat('00', 32), 'hex'), sha256('b'), '')`,
	} {
		_, err := e.db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	eventually(t, "the health is degraded", func() bool { return e.call(http.MethodGet, "/health/ready", "").json["status"] == "degraded" })
	a := e.call(http.MethodGet, "/health/ready", "")
	require.Equal(t, http.StatusOK, a.StatusCode)
	checks, _ := a.json["checks"].(map[string]any)
	require.Equal(t, map[string]any{"status": "unavailable", "detail": "the audit trail is not being sealed; mass doctor tells why"}, checks["seals"])
	e.submit(`{"a": 1}`)
}
