package api_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/api"
	"github.com/leomutto/pilot-in-a-box/internal/access"
	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
	"github.com/leomutto/pilot-in-a-box/internal/limit"
	"github.com/leomutto/pilot-in-a-box/store"
)

const phrase = "correct horse battery"

// user registers somebody and returns their id.
func (e *system) user(email string, role auth.Role) int64 {
	e.t.Helper()
	a := e.as(auth.Admin).call(http.MethodPost, "/auth/register", fmt.Sprintf(`{"email": %q, "password": %q, "role": %q}`, email, phrase, role))
	require.Equal(e.t, http.StatusCreated, a.StatusCode, a.text)
	require.Equal(e.t, fmt.Sprintf("/users/%d", a.id()), a.Header.Get("Location"))
	require.NotContains(e.t, a.text, "argon2")
	return a.id()
}

func (e *system) logIn(email, password string) answer {
	e.t.Helper()
	return e.as("").call(http.MethodPost, "/auth/login", jsonOf(e.t, map[string]string{"email": email, "password": password}))
}

// tokens logs in and returns both tokens.
func (e *system) tokens(email, password string) (access, refresh string) {
	e.t.Helper()
	a := e.logIn(email, password)
	require.Equal(e.t, http.StatusOK, a.StatusCode, a.text)
	return a.tokens()
}

func (a answer) tokens() (access, refresh string) {
	access, _ = a.json["access_token"].(string)
	refresh, _ = a.json["refresh_token"].(string)
	return access, refresh
}

// with calls with a bearer token of the test's choice.
func (e *system) with(token, method, path, body string) answer {
	e.t.Helper()
	return e.call(method, path, body, "Authorization", "Bearer "+token)
}

func (e *system) me(token string) answer {
	e.t.Helper()
	return e.with(token, http.MethodGet, "/auth/me", "")
}

func (e *system) refresh(token string) answer {
	e.t.Helper()
	return e.as("").call(http.MethodPost, "/auth/refresh", fmt.Sprintf(`{"refresh_token": %q}`, token))
}

// deeds lists what the trail says of acts that concern no request, of these actions.
func (e *system) deeds(actions ...string) (list []string) {
	e.t.Helper()
	require.NoError(e.t, e.db.SelectContext(e.t.Context(), &list, `
        SELECT actor || ' ' || action || ' ' || coalesce(detail, '') FROM audit_events
        WHERE request_id IS NULL AND action = ANY (string_to_array($1, ' ')) ORDER BY id`, strings.Join(actions, " ")))
	return list
}

func TestLoginRefreshLogout(t *testing.T) {
	t.Parallel()
	e := setup(t)
	id := e.user("Ann@Example.com", auth.Operator)
	a := e.logIn(" ann@example.COM", phrase)
	require.Equal(t, http.StatusOK, a.StatusCode, a.text)
	require.Equal(t, "no-store", a.Header.Get("Cache-Control"))
	require.Equal(t, "Bearer", a.json["token_type"])
	require.Equal(t, "3600", fmt.Sprint(a.json["expires_in"]))
	access, refresh := a.tokens()

	subject := fmt.Sprintf("user:%d", id)
	a = e.me(access)
	require.Equal(t, http.StatusOK, a.StatusCode, a.text)
	require.Equal(t, map[string]any{"subject": subject, "kind": "user", "name": "ann@example.com", "role": "operator"}, a.json)
	a = e.with(access, http.MethodPost, "/mass-requests/", `{"payload": {"a": 1}}`)
	require.Equal(t, http.StatusCreated, a.StatusCode, a.text)
	var creator string
	require.NoError(t, e.db.Get(&creator, `SELECT created_by FROM mass_requests WHERE id = $1`, a.id()))
	require.Equal(t, subject, creator)

	a = e.refresh(refresh)
	require.Equal(t, http.StatusOK, a.StatusCode, a.text)
	access, next := a.tokens()
	require.Equal(t, http.StatusOK, e.me(access).StatusCode)
	a = e.with(access, http.MethodPost, "/auth/logout", fmt.Sprintf(`{"refresh_token": %q}`, next))
	require.Equal(t, http.StatusNoContent, a.StatusCode, a.text)
	a = e.with(access, http.MethodPost, "/auth/logout", `{"refresh_token": "made up"}`)
	require.Equal(t, http.StatusNoContent, a.StatusCode, "it tells nothing")
	e.refresh(next).problem(t, http.StatusUnauthorized, "invalid_credentials")
	assert.Equal(t, []string{subject + " login ann@example.com", subject + " logout ann@example.com"}, e.deeds("login", "logout", "refresh_reuse"))
}

func TestAReusedRefreshTokenEndsItsFamily(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.user("ann@x", auth.Viewer)
	_, first := e.tokens("ann@x", phrase)
	_, second := e.refresh(first).tokens()
	_, third := e.refresh(second).tokens()
	e.refresh(first).problem(t, http.StatusUnauthorized, "invalid_credentials")
	e.refresh(third).problem(t, http.StatusUnauthorized, "invalid_credentials")
	require.Len(t, e.deeds("refresh_reuse"), 1)
	for _, hash := range []string{first, second, third} {
		require.NotContains(t, e.log.String(), hash)
	}
}

// Whether there is such a user or not, and whether they are disabled: one answer, one event.
func TestFailedLoginsAreAlike(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.user("ann@x", auth.Viewer)
	id := e.user("gone@x", auth.Viewer)
	a := e.call(http.MethodPatch, fmt.Sprintf("/users/%d", id), `{"disabled": true}`)
	require.Equal(t, http.StatusOK, a.StatusCode, a.text)
	var detail any
	for email, password := range map[string]string{"ann@x": "wrong", "gone@x": phrase, "nobody@x": phrase, "no address": phrase, "": ""} {
		a := e.logIn(email, password)
		a.problem(t, http.StatusUnauthorized, "invalid_credentials")
		if detail == nil {
			detail = a.json["detail"]
		}
		require.Equal(t, detail, a.json["detail"])
	}
	assert.ElementsMatch(t, []string{
		"anonymous login_failed ann@x", "anonymous login_failed gone@x", "anonymous login_failed nobody@x",
		"anonymous login_failed no address", "anonymous login_failed ",
	}, e.deeds("login_failed"))
	require.NotContains(t, e.log.String(), phrase)
	e.logIn("nul\x00@x", phrase).problem(t, http.StatusUnauthorized, "invalid_credentials")
}

func TestLoginsAreThrottled(t *testing.T) {
	t.Parallel()
	e := setup(t, func(c *api.Config) {
		c.Access.Throttle = access.ThrottleConfig{Account: limit.Rate{Burst: 2, Every: time.Hour}, Address: limit.Rate{Burst: 7, Every: time.Hour}}
	})
	e.user("ann@x", auth.Viewer)
	throttled := func(a answer) {
		t.Helper()
		a.problem(t, http.StatusTooManyRequests, "too_many_attempts")
		after, err := strconv.Atoi(a.Header.Get("Retry-After"))
		require.NoError(t, err)
		require.Greater(t, after, 5, "the limit's own")
	}
	for _, email := range []string{"ann@x", "nobody@x"} { // an account that is none is throttled, too
		e.logIn(email, "wrong").problem(t, http.StatusUnauthorized, "invalid_credentials")
		e.logIn(email, "wrong").problem(t, http.StatusUnauthorized, "invalid_credentials")
		throttled(e.logIn(email, phrase))
	}
	e.logIn("eve@x", "wrong").problem(t, http.StatusUnauthorized, "invalid_credentials")
	throttled(e.logIn("mallory@x", "wrong")) // the address has had its tries
	require.Len(t, e.deeds("login_failed"), 5, "what was not tried is no event")
}

func TestProofsThatDoNotHold(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.user("ann@x", auth.Viewer)
	access, refresh := e.tokens("ann@x", phrase)
	key := e.as(auth.Viewer).token()
	id, secret, _ := auth.ParseAPIKey(key)
	for name, header := range map[string]string{
		"no scheme": access, "another scheme": "Basic " + access, "no token": "Bearer", "empty": "Bearer ", "a refresh token": "Bearer " + refresh,
		"changed": "Bearer " + access + "x", "another key's secret": "Bearer " + auth.FormatAPIKey(id, auth.NewKeySecret()),
		"an unknown key": "Bearer " + auth.FormatAPIKey(id+1000, secret), "half a key": "Bearer " + key[:20],
	} {
		a := e.call(http.MethodGet, "/auth/me", "", "Authorization", header)
		require.Equal(t, http.StatusUnauthorized, a.StatusCode, name)
		a.problem(t, http.StatusUnauthorized, "unauthenticated")
		require.Equal(t, "Bearer", a.Header.Get("WWW-Authenticate"), name)
	}
	a := e.call(http.MethodGet, "/auth/me", "", "Authorization", "bearer  "+access)
	require.Equal(t, http.StatusOK, a.StatusCode, "the scheme has no case: %s", a.text)
	require.NotContains(t, e.log.String(), secret)
}

// Without Postgres nobody can be told from anybody: 503, neither 401 nor open.
func TestWithoutPostgresNobodyGetsIn(t *testing.T) {
	t.Parallel()
	e := setupOn(t, "postgres://u@127.0.0.1:1/db", devtest.Redis(t))
	token, _, err := signing().Issue(auth.Access{Identity: auth.Identity{Kind: auth.User, ID: 1, Role: auth.Admin}, Generation: 1})
	require.NoError(t, err)
	for _, proof := range []string{token, noKey} {
		a := e.me(proof)
		a.problem(t, http.StatusServiceUnavailable, "unavailable")
		require.NotEmpty(t, a.Header.Get("Retry-After"))
	}
	a := e.as("").call(http.MethodGet, "/auth/me", "", "Cookie", "mass="+auth.NewOpaque())
	a.problem(t, http.StatusServiceUnavailable, "unavailable")
	e.logIn("ann@x", phrase).problem(t, http.StatusServiceUnavailable, "unavailable")
	e.refresh("x").problem(t, http.StatusServiceUnavailable, "unavailable")
	e.me("forged").problem(t, http.StatusUnauthorized, "unauthenticated")
}

// What one process changes counts in the others within seconds.
func TestDisablingWorksEverywhere(t *testing.T) {
	t.Parallel()
	database, redis := devtest.Database(t), devtest.Redis(t)
	here, there := setupOn(t, database, redis), setupOn(t, database, redis)
	id := here.user("ann@x", auth.Viewer)
	access, refresh := here.tokens("ann@x", phrase)
	a := here.call(http.MethodPost, "/api-keys", `{"name": "collector", "role": "viewer"}`)
	require.Equal(t, http.StatusCreated, a.StatusCode, a.text)
	key, _ := a.json["key"].(string)
	for _, proof := range []string{access, key} {
		require.Equal(t, http.StatusOK, here.me(proof).StatusCode)
		require.Equal(t, http.StatusOK, there.me(proof).StatusCode)
	}

	a = here.call(http.MethodPatch, fmt.Sprintf("/users/%d", id), `{"role": "operator"}`)
	require.Equal(t, http.StatusOK, a.StatusCode, a.text)
	require.Equal(t, "operator", here.me(access).json["role"], "the row decides, not the token")
	eventually(t, "the role is known there", func() bool { return there.me(access).json["role"] == "operator" })

	a = here.call(http.MethodPatch, fmt.Sprintf("/users/%d", id), `{"disabled": true}`)
	require.Equal(t, http.StatusOK, a.StatusCode, a.text)
	require.Equal(t, true, a.json["disabled"])
	here.me(access).problem(t, http.StatusUnauthorized, "unauthenticated")
	eventually(t, "they are shut out there", func() bool { return there.me(access).StatusCode == http.StatusUnauthorized })
	there.refresh(refresh).problem(t, http.StatusUnauthorized, "invalid_credentials")

	keyID, _, _ := auth.ParseAPIKey(key)
	a = here.call(http.MethodDelete, fmt.Sprintf("/api-keys/%d", keyID), "")
	require.Equal(t, http.StatusNoContent, a.StatusCode, a.text)
	here.me(key).problem(t, http.StatusUnauthorized, "unauthenticated")
	eventually(t, "the key is revoked there", func() bool { return there.me(key).StatusCode == http.StatusUnauthorized })
}

// A login after a change of password counts at once, also where the user is
// remembered as they were before.
func TestANewLoginCountsEverywhereAtOnce(t *testing.T) {
	t.Parallel()
	database, redis := devtest.Database(t), devtest.Redis(t)
	here, there := setupOn(t, database, redis), setupOn(t, database, redis)
	id := here.user("ann@x", auth.Viewer)
	for i := range 3 {
		password := fmt.Sprintf("the password number %d", i)
		a := here.call(http.MethodPost, fmt.Sprintf("/users/%d/password", id), fmt.Sprintf(`{"password": %q}`, password))
		require.Equal(t, http.StatusNoContent, a.StatusCode, a.text)
		access, _ := here.tokens("ann@x", password)
		require.Equal(t, http.StatusOK, there.me(access).StatusCode)
	}
}

// A password that changes ends the sessions of browsers, at once in this process.
func TestBrowserSessionsEnd(t *testing.T) {
	t.Parallel()
	e := setup(t)
	id := e.user("ann@x", auth.Viewer)
	form := e.as("").call(http.MethodPost, "/login", "email=ann%40x&password=correct+horse+battery", "Content-Type", "application/x-www-form-urlencoded")
	require.Equal(t, http.StatusSeeOther, form.StatusCode, form.text)
	cookie := form.Cookies()[0]
	me := func() answer {
		return e.as("").call(http.MethodGet, "/auth/me", "", "Cookie", cookie.Name+"="+cookie.Value)
	}
	require.Equal(t, "ann@x", me().json["name"])
	a := e.call(http.MethodPost, fmt.Sprintf("/users/%d/password", id), `{"password": "another horse battery"}`)
	require.Equal(t, http.StatusNoContent, a.StatusCode, a.text)
	me().problem(t, http.StatusUnauthorized, "unauthenticated")
}

func TestPasswordChangesEndEverything(t *testing.T) {
	t.Parallel()
	e := setup(t)
	id := e.user("ann@x", auth.Viewer)
	access, refresh := e.tokens("ann@x", phrase)
	change := func(current, next string) answer {
		return e.with(access, http.MethodPost, "/auth/password", fmt.Sprintf(`{"current_password": %q, "new_password": %q}`, current, next))
	}
	change("wrong", "another horse battery").problem(t, http.StatusUnauthorized, "invalid_credentials")
	change(phrase, "short").problem(t, http.StatusUnprocessableEntity, "validation_failed")
	a := change(phrase, "another horse battery")
	require.Equal(t, http.StatusNoContent, a.StatusCode, a.text)
	e.me(access).problem(t, http.StatusUnauthorized, "unauthenticated")
	e.refresh(refresh).problem(t, http.StatusUnauthorized, "invalid_credentials")
	e.logIn("ann@x", phrase).problem(t, http.StatusUnauthorized, "invalid_credentials")
	access, _ = e.tokens("ann@x", "another horse battery")

	a = e.call(http.MethodPost, fmt.Sprintf("/users/%d/password", id), `{"password": "set by the admin"}`)
	require.Equal(t, http.StatusNoContent, a.StatusCode, a.text)
	e.me(access).problem(t, http.StatusUnauthorized, "unauthenticated")
	e.tokens("ann@x", "set by the admin")
	e.call(http.MethodPost, "/users/4711/password", `{"password": "set by the admin"}`).problem(t, http.StatusNotFound, "not_found")
	e.call(http.MethodPost, "/auth/password", `{"current_password": "x", "new_password": "y"}`).problem(t, http.StatusForbidden, "forbidden")
	subject := fmt.Sprintf("user:%d", id)
	assert.Equal(t, []string{subject + " password_change " + subject + ": ann@x", "key:1 password_change " + subject + ": ann@x"}, e.deeds("password_change"))
}

func TestWeakerHashesAreReplacedAtLogin(t *testing.T) {
	t.Parallel()
	e := setup(t)
	id := e.user("ann@x", auth.Viewer)
	hash := weakHash(t, phrase)
	require.NotContains(t, hash, "m=19456")
	_, err := e.db.Exec(`UPDATE users SET password_hash = $1 WHERE id = $2`, hash, id)
	require.NoError(t, err)
	access, _ := e.tokens("ann@x", phrase)
	var stored string
	require.NoError(t, e.db.Get(&stored, `SELECT password_hash FROM users WHERE id = $1`, id))
	require.Contains(t, stored, "m=19456,t=2,p=1")
	require.Equal(t, http.StatusOK, e.me(access).StatusCode, "it is the same password")
	e.tokens("ann@x", phrase)
}

func TestSwitchedOff(t *testing.T) {
	t.Parallel()
	e := setup(t, func(c *api.Config) { c.Access = access.Config{Off: true} })
	a := e.as("").call(http.MethodGet, "/auth/me", "")
	require.Equal(t, map[string]any{"subject": "anonymous", "kind": "anonymous", "name": "anonymous", "role": "admin"}, a.json)
	require.Equal(t, http.StatusCreated, e.as("").call(http.MethodPost, "/mass-requests/", `{"payload": {}}`).StatusCode)
	e.logIn("ann@x", phrase).problem(t, http.StatusConflict, "conflict")
}

func TestNothingToSignWith(t *testing.T) {
	t.Parallel()
	_, err := api.New(&store.Store{}, nil, nil, api.Config{}, nil)
	require.ErrorContains(t, err, "there is no key to sign tokens with")
}
