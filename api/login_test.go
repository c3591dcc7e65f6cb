package api_test

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/api"
	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/limit"
)

// person adds a user of this role and returns their address.
func (e *system) person(role auth.Role) string {
	e.t.Helper()
	email := string(role) + "@example.com"
	e.user(email, role)
	return email
}

// fillIn sends the form of the login page.
func (e *system) fillIn(email, password, next string, headers ...string) answer {
	e.t.Helper()
	form := url.Values{"email": {email}, "password": {password}, "next": {next}}
	return e.as("").call(http.MethodPost, "/login", form.Encode(), append([]string{"Content-Type", "application/x-www-form-urlencoded"}, headers...)...)
}

func TestSessionOfABrowser(t *testing.T) {
	t.Parallel()
	e := setup(t)
	email := e.person(auth.Operator)
	page := e.as("").call(http.MethodGet, "/login?next=/monitoring%3Fa%3D%22b", "")
	require.Equal(t, http.StatusOK, page.StatusCode)
	require.Contains(t, page.text, `name="next" value="/monitoring?a=&#34;b"`)
	require.NotContains(t, page.text, "<script")

	a := e.fillIn(email, phrase, "/monitoring?x=1", "Origin", e.url, "Sec-Fetch-Site", "same-origin")
	require.Equal(t, http.StatusSeeOther, a.StatusCode, a.text)
	require.Equal(t, "/monitoring?x=1", a.Header.Get("Location"))
	require.Len(t, a.Cookies(), 1)
	c := a.Cookies()[0]
	require.Equal(t, "mass", c.Name, "over plain HTTP, on this machine")
	require.True(t, c.HttpOnly)
	require.False(t, c.Secure)
	require.Equal(t, http.SameSiteStrictMode, c.SameSite)
	require.Equal(t, "/", c.Path)
	require.Empty(t, c.Domain)
	require.WithinDuration(t, time.Now().Add(12*time.Hour), c.Expires, time.Hour)

	browser := e.as("")
	cookie := []string{"Cookie", c.Name + "=" + c.Value}
	with := func(more ...string) []string { return append(more, cookie...) }
	require.Equal(t, http.StatusOK, browser.call(http.MethodGet, "/docs", "", cookie...).StatusCode)
	require.Contains(t, browser.call(http.MethodGet, "/monitoring", "", cookie...).text, `FLAG_READ_ONLY="true"`)
	require.Contains(t, browser.call(http.MethodGet, "/login", "", cookie...).text, email)

	// What a page makes the browser send: this server's own, another site's, a neighbor's, and an old browser's.
	const submission = `{"payload":{}}`
	own := browser.call(http.MethodPost, "/mass-requests/", submission, with("Sec-Fetch-Site", "same-origin", "Origin", e.url)...)
	require.Equal(t, http.StatusCreated, own.StatusCode, own.text)
	require.Equal(t, "user:1", own.json["created_by"])
	for _, headers := range [][]string{
		{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, {"Sec-Fetch-Site", "same-site", "Origin", "https://blog.example.com"},
		{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site", "Origin", e.url},
	} {
		browser.call(http.MethodPost, "/mass-requests/", submission, with(headers...)...).problem(t, http.StatusForbidden, "cross_origin")
		browser.call(http.MethodPost, "/monitoring/api/queues/default:pause", "", with(headers...)...).problem(t, http.StatusForbidden, "cross_origin")
		browser.call(http.MethodPost, "/logout", "", with(headers...)...).problem(t, http.StatusForbidden, "cross_origin")
		e.fillIn(email, phrase, "", headers...).problem(t, http.StatusForbidden, "cross_origin")
	}
	require.Equal(t, 1, e.stored())
	browser.call(http.MethodDelete, "/mass-requests/1", "", cookie...).problem(t, http.StatusForbidden, "forbidden")

	// A token decides alone.
	a = browser.call(http.MethodGet, "/auth/me", "", with("Authorization", "Bearer "+e.as(auth.Viewer).token())...)
	require.Equal(t, "viewer", a.json["role"])
	browser.call(http.MethodGet, "/auth/me", "", with("Authorization", "Bearer x")...).problem(t, http.StatusUnauthorized, "unauthenticated")

	out := browser.call(http.MethodPost, "/logout", "", cookie...)
	require.Equal(t, http.StatusSeeOther, out.StatusCode)
	require.Equal(t, "/login", out.Header.Get("Location"))
	require.Len(t, out.Cookies(), 1)
	require.Equal(t, "mass", out.Cookies()[0].Name)
	require.True(t, out.Cookies()[0].Expires.Before(time.Now()))
	browser.call(http.MethodGet, "/openapi.json", "", cookie...).problem(t, http.StatusUnauthorized, "unauthenticated")
	require.Contains(t, browser.call(http.MethodGet, "/login", "", cookie...).text, "Log in")
}

func TestLoginsThatFail(t *testing.T) {
	t.Parallel()
	e := setup(t, func(c *api.Config) { c.Access.Throttle.Account = limit.Rate{Burst: 2, Every: time.Hour} })
	email := e.person(auth.Viewer)
	for _, c := range [][2]string{{email, ""}, {"", phrase}} {
		require.Equal(t, http.StatusUnprocessableEntity, e.fillIn(c[0], c[1], "").StatusCode)
	}
	wrong := e.fillIn(email, "<wrong>", `/docs"><b>`)
	require.Equal(t, http.StatusUnauthorized, wrong.StatusCode)
	require.Contains(t, wrong.Header.Get("Content-Type"), "text/html")
	require.Contains(t, wrong.text, "password is wrong")
	require.Contains(t, wrong.text, email)
	require.NotContains(t, wrong.text, "&lt;wrong&gt;", "a password is never repeated")
	require.NotContains(t, wrong.text, "<b>")
	require.Empty(t, wrong.Cookies())
	nobody := e.fillIn("nobody@example.com", "wrong", "")
	require.Equal(t, http.StatusUnauthorized, nobody.StatusCode)

	require.Equal(t, "/docs", e.fillIn(email, phrase, "https://evil.example/").Header.Get("Location"))
	for range 2 {
		e.fillIn(email, "wrong", "")
	}
	throttled := e.fillIn(email, phrase, "")
	require.Equal(t, http.StatusTooManyRequests, throttled.StatusCode, throttled.text)
	require.NotEmpty(t, throttled.Header.Get("Retry-After"))
	require.Contains(t, throttled.text, "Too many attempts")

	const form = "application/x-www-form-urlencoded"
	browser := e.as("")
	browser.call(http.MethodPost, "/login", "email="+strings.Repeat("x", 9<<10), "Content-Type", form).problem(t, http.StatusRequestEntityTooLarge, "payload_too_large")
	browser.call(http.MethodPost, "/login", "email=%zz", "Content-Type", form).problem(t, http.StatusBadRequest, "validation_failed")
	require.Equal(t, http.StatusUnprocessableEntity, browser.call(http.MethodPost, "/login", `{"email":"a"}`).StatusCode, "a form is expected")
	require.NotContains(t, e.log.String(), phrase)
}

// The cookie is sent over TLS only, except to a person at this very machine.
func TestWhenACookieIsSecure(t *testing.T) {
	t.Parallel()
	proxy := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for name, c := range map[string]struct {
		tune    func(*api.Config)
		host    string
		headers []string
		secure  bool
	}{
		"loopback":                   {tune: func(*api.Config) {}},
		"every interface, localhost": {tune: func(c *api.Config) { c.Addr = ":0" }, host: "localhost:8000"},
		"every interface":            {tune: func(c *api.Config) { c.Addr = ":0" }, host: "mass.example.com", secure: true},
		"development":                {tune: func(c *api.Config) { c.Addr, c.Access.PlainSessions = ":0", true }, host: "laptop:8000"},
		"behind a proxy":             {tune: func(c *api.Config) { c.TrustedProxies = proxy }, headers: []string{"X-Forwarded-Proto", "https"}, secure: true},
		"behind a proxy, in the dev": {
			tune: func(c *api.Config) { c.TrustedProxies, c.Access.PlainSessions = proxy, true }, headers: []string{"X-Forwarded-Proto", "https"}, secure: true,
		},
		"behind nobody": {tune: func(*api.Config) {}, headers: []string{"X-Forwarded-Proto", "https"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := setup(t, c.tune)
			form := url.Values{"email": {e.person(auth.Viewer)}, "password": {phrase}}
			send := func(method, path, body string, headers ...string) answer {
				req, err := http.NewRequestWithContext(t.Context(), method, e.url+path, strings.NewReader(body))
				require.NoError(t, err)
				if c.host != "" {
					req.Host = c.host
				}
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				for i := 0; i < len(headers); i += 2 {
					req.Header.Set(headers[i], headers[i+1])
				}
				return e.as("").do(req)
			}
			a := send(http.MethodPost, "/login", form.Encode(), c.headers...)
			require.Equal(t, http.StatusSeeOther, a.StatusCode, a.text)
			got := a.Cookies()[0]
			want := map[bool]string{true: "__Host-mass", false: "mass"}[c.secure]
			require.Equal(t, want, got.Name)
			require.Equal(t, c.secure, got.Secure)
			a = send(http.MethodGet, "/auth/me", "", append(c.headers, "Cookie", got.Name+"="+got.Value)...)
			require.Equal(t, http.StatusOK, a.StatusCode, a.text)
			if c.secure { // a cookie that a neighbor could have planted
				a = send(http.MethodGet, "/auth/me", "", append(c.headers, "Cookie", "mass="+got.Value)...)
				require.Equal(t, http.StatusUnauthorized, a.StatusCode)
			}
		})
	}
}
