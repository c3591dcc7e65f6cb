package api_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/alexedwards/argon2id"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
)

// weakHash is a hash as an earlier version may have stored it.
func weakHash(t *testing.T, password string) string {
	t.Helper()
	h, err := argon2id.CreateHash(password, &argon2id.Params{Memory: 8 << 10, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32})
	require.NoError(t, err)
	return h
}

func TestUsersAreManaged(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ann, bob := e.user("ann@x", auth.Admin), e.user("bob@x", auth.Viewer)
	register := func(body string) answer { return e.call(http.MethodPost, "/auth/register", body) }
	register(`{"email": "ANN@x", "password": "correct horse battery"}`).problem(t, http.StatusConflict, "email_taken")
	a := register(`{"email": "eve", "password": "short", "role": "root", "admin": true}`)
	a.problem(t, http.StatusUnprocessableEntity, "validation_failed")
	require.Equal(t, []string{"/email", "/role", "/admin"}, a.faults())
	a = register(`{"email": "eve@x", "password": "short"}`)
	a.problem(t, http.StatusUnprocessableEntity, "validation_failed")
	require.Equal(t, []string{"/password"}, a.faults())
	require.Contains(t, a.text, "at least 12 characters")
	register(`{"email": "eve@x"`).problem(t, http.StatusBadRequest, "invalid_json")
	a = register(`{"email": "eve@x", "password": "correct horse battery"}`)
	require.Equal(t, "viewer", a.json["role"], "the least, when it is not said: %s", a.text)

	a = e.call(http.MethodGet, fmt.Sprintf("/users/%d", bob), "")
	require.Equal(t, "bob@x", a.json["email"], a.text)
	require.Nil(t, a.json["last_login_at"])
	e.tokens("bob@x", phrase)
	require.NotNil(t, e.call(http.MethodGet, fmt.Sprintf("/users/%d", bob), "").json["last_login_at"])
	e.call(http.MethodGet, "/users/4711", "").problem(t, http.StatusNotFound, "not_found")
	a = e.call(http.MethodGet, "/users?limit=2", "")
	require.Len(t, a.json["items"], 2)
	require.NotContains(t, a.text, "password")
	next, _ := a.json["next"].(string)
	a = e.call(http.MethodGet, next, "")
	require.Len(t, a.json["items"], 1, a.text)
	require.Nil(t, a.json["next"])

	patch := func(id int64, body string) answer {
		return e.call(http.MethodPatch, fmt.Sprintf("/users/%d", id), body)
	}
	patch(ann, `{"disabled": true}`).problem(t, http.StatusConflict, "last_admin")
	patch(ann, `{"role": "viewer"}`).problem(t, http.StatusConflict, "last_admin")
	patch(bob, `{}`).problem(t, http.StatusUnprocessableEntity, "validation_failed")
	patch(bob, `{"disabled": "yes"}`).problem(t, http.StatusUnprocessableEntity, "validation_failed")
	patch(4711, `{"disabled": true}`).problem(t, http.StatusNotFound, "not_found")
	a = patch(bob, `{"role": "admin", "disabled": false}`)
	require.Equal(t, http.StatusOK, a.StatusCode, a.text)
	require.Equal(t, "admin", a.json["role"])
	require.Equal(t, http.StatusOK, patch(ann, `{"role": "viewer"}`).StatusCode)
	assert.Len(t, e.deeds("user_add"), 3)
	assert.Len(t, e.deeds("user_role"), 2)
}

func TestAPIKeysAreManaged(t *testing.T) {
	t.Parallel()
	e := setup(t)
	add := func(body string) answer { return e.call(http.MethodPost, "/api-keys", body) }
	a := add(`{"name": " collector oslo-1 ", "role": "operator"}`)
	require.Equal(t, http.StatusCreated, a.StatusCode, a.text)
	require.Equal(t, "no-store", a.Header.Get("Cache-Control"))
	key, _ := a.json["key"].(string)
	id, secret, ok := auth.ParseAPIKey(key)
	require.True(t, ok, key)
	require.Equal(t, a.id(), id)
	require.Equal(t, "key:1", a.json["created_by"])

	a = e.me(key)
	require.Equal(t, map[string]any{"subject": fmt.Sprintf("key:%d", id), "kind": "key", "name": "collector oslo-1", "role": "operator"}, a.json, a.text)
	require.Equal(t, http.StatusCreated, e.with(key, http.MethodPost, "/mass-requests/", `{"payload": {}}`).StatusCode)
	e.with(key, http.MethodGet, "/users", "").problem(t, http.StatusForbidden, "forbidden")
	eventually(t, "the use is noted", func() bool {
		var used bool
		require.NoError(t, e.db.Get(&used, `SELECT last_used_at IS NOT NULL FROM api_keys WHERE id = $1`, id))
		return used
	})

	a = e.call(http.MethodGet, "/api-keys?limit=1&after=1", "")
	require.Len(t, a.json["items"], 1)
	require.NotContains(t, a.text, secret, "it is shown once")
	var stored string
	require.NoError(t, e.db.Get(&stored, `SELECT to_jsonb(k)::text FROM api_keys k WHERE id = $1`, id))
	require.NotContains(t, stored, secret)

	revoke := func(id int64) answer { return e.call(http.MethodDelete, fmt.Sprintf("/api-keys/%d", id), "") }
	require.Equal(t, http.StatusNoContent, revoke(id).StatusCode)
	require.Equal(t, http.StatusNoContent, revoke(id).StatusCode, "it is so already")
	revoke(4711).problem(t, http.StatusNotFound, "not_found")
	e.me(key).problem(t, http.StatusUnauthorized, "unauthenticated")

	a = add(`{"name": "", "role": "root"}`)
	a.problem(t, http.StatusUnprocessableEntity, "validation_failed")
	require.Equal(t, []string{"/name", "/role"}, a.faults())
	add(`{"name": "x"}`).problem(t, http.StatusUnprocessableEntity, "validation_failed")
	assert.Equal(t, []string{
		fmt.Sprintf("key:1 key_add key:%d as operator: collector oslo-1", id), fmt.Sprintf("key:1 key_revoke key:%d: collector oslo-1", id),
	}, e.deeds("key_add", "key_revoke")[1:])
}
