package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devtest"
)

// massWith runs a subcommand with the given standard input.
func massWith(t *testing.T, env map[string]string, stdin string, args ...string) (string, error) {
	t.Helper()
	for _, c := range commands() {
		if c.name == args[0] {
			var out strings.Builder
			err := c.run(t.Context(), invocation{
				args: args[1:], getenv: getenv(env), stdin: strings.NewReader(stdin), stdout: &out, stderr: io.Discard,
			})
			return out.String(), err
		}
	}
	t.Fatalf("no command %v", args)
	return "", nil
}

// The first admin of a new system, and all that a person does with users and
// keys.
func TestUsersAndKeysFromTheCommandLine(t *testing.T) {
	t.Parallel()
	env := map[string]string{
		"DATABASE_URL": devtest.Database(t), "REDIS_URL": devtest.Redis(t), "MASS_ADDR": "127.0.0.1:0",
		"MASS_AUTH_SECRET": strings.Repeat("s", 32), "USER": "root",
	}
	mass := func(stdin string, args ...string) string {
		t.Helper()
		out, err := massWith(t, env, stdin, args...)
		require.NoError(t, err)
		return out
	}
	refused := func(want, stdin string, args ...string) {
		t.Helper()
		out, err := massWith(t, env, stdin, args...)
		require.ErrorContains(t, err, want)
		require.NotContains(t, out+err.Error(), "battery")
	}
	assert.Equal(t, "user 1: ann@x, admin\n", mass("correct horse battery\n", "user", "add", "Ann@x", "--role", "admin"))
	assert.Equal(t, "user 2: bob@x, viewer\n", mass("correct horse battery\r\n", "user", "add", "bob@x"))
	refused("another user has this e-mail address", "correct horse battery", "user", "add", "ann@x")
	refused("at least 12 characters", "battery", "user", "add", "eve@x")
	refused("is not an e-mail address", "correct horse battery", "user", "add", "eve")
	refused("unknown role", "correct horse battery", "user", "add", "eve@x", "--role", "root")
	refused("there is no user eve@x", "correct horse battery", "user", "passwd", "eve@x")
	refused("no other admin is enabled", "", "user", "disable", "ann@x")
	refused("--role is missing", "", "user", "role", "bob@x")
	refused("want add EMAIL", "", "user")
	refused("want add EMAIL", "", "user", "rename", "bob@x")
	refused("want add NAME", "", "key", "add")
	refused("unknown role", "", "key", "add", "x")
	refused("not the id of a key", "", "key", "revoke", "x")
	refused("there is no API key 99", "", "key", "revoke", "99")
	assert.Equal(t, "user 2: bob@x, operator, enabled\n", mass("", "user", "role", "bob@x", "--role", "operator"))

	out, _ := background(t, env, "api")
	url := listening(t, out)
	login := func(password string, want int) (token string) {
		t.Helper()
		var tokens struct {
			AccessToken string `json:"access_token"`
		}
		body := fmt.Sprintf(`{"email": "bob@x", "password": %q}`, password)
		do(t, http.MethodPost, url+"/auth/login", body, want, &tokens)
		return tokens.AccessToken
	}
	token := login("correct horse battery", http.StatusOK)
	do(t, http.MethodGet, url+"/auth/me", "", http.StatusOK, nil, token)
	assert.Contains(t, mass("another horse battery", "user", "passwd", "bob@x"), "logged out")
	login("correct horse battery", http.StatusUnauthorized)
	login("another horse battery", http.StatusOK)
	assert.Equal(t, "user 2: bob@x, operator, disabled\n", mass("", "user", "disable", "bob@x"))
	login("another horse battery", http.StatusUnauthorized)
	assert.Equal(t, "user 2: bob@x, operator, enabled\n", mass("", "user", "enable", "bob@x"))
	login("another horse battery", http.StatusOK)
	assert.Regexp(t, `(?m)^2 +bob@x +operator +20`, mass("", "user", "list"))

	key := strings.TrimSpace(mass("", "key", "add", "collector", "--role", "operator"))
	var me map[string]string
	do(t, http.MethodGet, url+"/auth/me", "", http.StatusOK, &me, key)
	assert.Equal(t, map[string]string{"kind": "key", "name": "collector", "role": "operator", "subject": "key:1"}, me)
	assert.Regexp(t, `(?m)^1 +collector +operator +cli:root`, mass("", "key", "list"))
	assert.NotContains(t, mass("", "key", "list"), key[7:])
	assert.Contains(t, mass("", "key", "revoke", "1"), "is revoked")
	require.Eventually(t, func() bool {
		status, _ := try(t, http.MethodGet, url+"/auth/me", "", key)
		return status == http.StatusUnauthorized
	}, patience, pollEvery, "the API knows within seconds")
}

// The admin of mass dev survives a restart, but the admin's API key does not.
func TestDevKeepsItsAdmin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := map[string]string{"MASS_DATA_DIR": dir, "MASS_ADDR": "127.0.0.1:0", "DATABASE_URL": devtest.EmptyDatabase(t), "REDIS_URL": devtest.Redis(t)}
	start := func() (info devInfo, password string, stop func() error) {
		t.Helper()
		out, stop := background(t, env, "dev")
		info = untilDev(t, dir, out)
		for _, name := range []string{"dev.json", secretFile, passwordFile} {
			stat, err := os.Stat(filepath.Join(dir, name))
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), stat.Mode().Perm(), name)
		}
		raw, err := os.ReadFile(filepath.Join(dir, passwordFile))
		require.NoError(t, err)
		password = strings.TrimSpace(string(raw))
		require.Eventually(t, func() bool { return strings.Contains(out.String(), "with the password "+password) }, patience, pollEvery, "%s", out)
		return info, password, stop
	}
	first, password, stop := start()
	var me map[string]string
	do(t, http.MethodGet, first.URL+"/auth/me", "", http.StatusOK, &me, first.Token)
	assert.Equal(t, "admin", me["role"])
	body, err := json.Marshal(map[string]string{"email": devAdmin, "password": password})
	require.NoError(t, err)
	var tokens map[string]any
	do(t, http.MethodPost, first.URL+"/auth/login", string(body), http.StatusOK, &tokens)
	access, _ := tokens["access_token"].(string)
	users, err := massWith(t, map[string]string{"MASS_DATA_DIR": dir}, "", "user", "list")
	require.NoError(t, err)
	assert.Contains(t, users, devAdmin, "without DATABASE_URL it is the running mass dev's")
	submitted, err := massWith(t, map[string]string{"MASS_DATA_DIR": dir}, `{"payload": {"a": 1}}`, "submit", "-")
	require.NoError(t, err, submitted)
	require.NoError(t, stop())

	second, same, stop := start()
	assert.Equal(t, password, same)
	assert.NotEqual(t, first.Token, second.Token)
	do(t, http.MethodGet, second.URL+"/auth/me", "", http.StatusOK, nil, second.Token)
	do(t, http.MethodGet, second.URL+"/auth/me", "", http.StatusUnauthorized, nil, first.Token)
	do(t, http.MethodGet, second.URL+"/auth/me", "", http.StatusOK, nil, access)
	require.NoError(t, stop())
}

func TestAuthMistakesAreToldPlainly(t *testing.T) {
	t.Parallel()
	servers := map[string]string{"DATABASE_URL": "postgres://x", "REDIS_URL": "redis://x:1"}
	for want, more := range map[string]map[string]string{
		"neither MASS_AUTH_SECRET nor MASS_AUTH_KEYS is set": {},
		"a secret has 5 bytes, and must have at least 32":    {"MASS_AUTH_SECRET": "short"},
		"look for key files": {"MASS_AUTH_KEYS": "/nowhere"},
		`MASS_AUTH is off, so MASS_ADDR must be a loopback address`:               {"MASS_AUTH": "off"},
		`such as 127.0.0.1:8000, not "0.0.0.0:8000": every caller who reaches it`: {"MASS_AUTH": "off", "MASS_ADDR": "0.0.0.0:8000"},
		`such as 127.0.0.1:8000, not "localhost.example.com:80": every caller`:    {"MASS_AUTH": "off", "MASS_ADDR": "localhost.example.com:80"},
		`MASS_AUTH: "maybe" is not one of on, off`:                                {"MASS_AUTH": "maybe"},
	} {
		env := map[string]string{}
		for _, m := range []map[string]string{servers, more} {
			for name, value := range m {
				env[name] = value
			}
		}
		var out output
		require.ErrorContains(t, run(t.Context(), []string{"api"}, getenv(env), &out, &out), want)
	}
	var out output
	err := run(t.Context(), []string{"user", "list"}, getenv(map[string]string{"MASS_DATA_DIR": t.TempDir()}), &out, &out)
	require.ErrorContains(t, err, "DATABASE_URL is not set, and no mass dev runs in")
}

// What a person sees of keys that depend on others, and how such a key is kept.
func TestKeysOfTheCommandLine(t *testing.T) {
	t.Parallel()
	env := map[string]string{"DATABASE_URL": devtest.Database(t), "USER": "root"}
	mass := func(stdin string, args ...string) string {
		t.Helper()
		out, err := massWith(t, env, stdin, args...)
		require.NoError(t, err)
		return out
	}
	refused := func(want string, args ...string) {
		t.Helper()
		_, err := massWith(t, env, "", args...)
		require.ErrorContains(t, err, want)
	}
	mass("correct horse battery", "user", "add", "ann@x", "--role", "admin")
	mass("correct horse battery", "user", "add", "bob@x", "--role", "admin")
	db := sqlx.MustConnect("postgres", env["DATABASE_URL"])
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err := db.ExecContext(t.Context(), `
        INSERT INTO api_keys (name, role, created_by, owner_user_id, secret_hash) VALUES ('collector', 'operator', 'user:2', 2, sha256('a'));
        INSERT INTO api_keys (name, role, created_by, owner_key_id, secret_hash) VALUES ('child', 'viewer', 'key:1', 1, sha256('b'))`)
	require.NoError(t, err)
	assert.Contains(t, mass("another horse battery", "user", "passwd", "bob@x"), "These API keys of the user go on")
	assert.Contains(t, mass("", "user", "role", "bob@x", "--role", "viewer"), "no more than the user from now on:\n  key:1: collector\n")
	assert.Regexp(t, `(?m)^1 .*acts as viewer$`, mass("", "key", "list"))
	assert.Contains(t, mass("", "user", "disable", "bob@x"), "To keep one, run mass key adopt ID:\n  key:1: collector\n  key:2: child\n")
	assert.Regexp(t, `(?m)^1 +collector +operator +user:2 +user:2 .*user:2, on whose behalf it acts, was disabled$`, mass("", "key", "list"))
	out := mass("", "key", "adopt", "1")
	assert.Contains(t, out, "it acts as operator until it is revoked or expires")
	assert.Contains(t, out, "act with it:\n  key:2: child\n")
	assert.Regexp(t, `(?m)^1 +collector +operator +user:2 +command line .*acts as operator$`, mass("", "key", "list"))
	assert.Contains(t, mass("", "key", "revoke", "1"), "end with it. To keep one, run mass key adopt ID:\n  key:2: child\n")
	refused("revoked or has expired cannot be taken over", "key", "adopt", "1")
	refused("there is no API key 99", "key", "adopt", "99")

	mass("", "key", "add", "short", "--role", "viewer", "--expires", "2160h")
	assert.Regexp(t, `(?m)^3 +short +viewer +cli:root +command line +never +20\S+ +acts as viewer$`, mass("", "key", "list"))
	refused("must be in the future", "key", "add", "x", "--role", "viewer", "--expires", "2001-01-01T00:00:00Z")
	refused("neither a duration", "key", "add", "x", "--role", "viewer", "--expires", "tomorrow")
	env["MASS_KEY_MAX_AGE"] = "24h"
	refused("at most 24h0m0s from now", "key", "add", "x", "--role", "viewer", "--expires", "48h")
}
