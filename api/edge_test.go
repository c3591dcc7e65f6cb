package api_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/api"
)

func TestOtherSitesAreShutOutUnlessNamed(t *testing.T) {
	t.Parallel()
	const app = "https://app.example.com"
	preflight := []string{"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type"}

	closed := setup(t)
	a := closed.as("").call(http.MethodOptions, "/mass-requests/", "", append(preflight, "Origin", app)...)
	a.problem(t, http.StatusMethodNotAllowed, "method_not_allowed")
	a = closed.call(http.MethodGet, "/mass-requests/", "", "Origin", app)
	require.Empty(t, a.Header.Get("Access-Control-Allow-Origin"))

	e := setup(t, func(c *api.Config) { c.Origins = []string{app} })
	a = e.as("").call(http.MethodOptions, "/mass-requests/", "", append(preflight, "Origin", app)...)
	require.Equal(t, http.StatusNoContent, a.StatusCode)
	require.Equal(t, app, a.Header.Get("Access-Control-Allow-Origin"))
	require.Contains(t, a.Header.Get("Access-Control-Allow-Headers"), "Authorization")
	require.Contains(t, a.Header.Get("Access-Control-Allow-Methods"), "PATCH")
	require.Empty(t, a.Header.Get("Access-Control-Allow-Credentials"), "no cookies")

	a = e.call(http.MethodPost, "/mass-requests/", `{"payload":{}}`, "Origin", app, "Sec-Fetch-Site", "cross-site")
	require.Equal(t, http.StatusCreated, a.StatusCode, a.text)
	require.Equal(t, app, a.Header.Get("Access-Control-Allow-Origin"))
	require.Contains(t, a.Header.Get("Access-Control-Expose-Headers"), "Location")
	require.Contains(t, a.Header.Values("Vary"), "Origin")
	a = e.as("").call(http.MethodGet, "/mass-requests/", "", "Origin", app)
	a.problem(t, http.StatusUnauthorized, "unauthenticated")
	require.Equal(t, app, a.Header.Get("Access-Control-Allow-Origin"), "or the script could not read why")

	for _, origin := range []string{"https://evil.example", "null", "https://app.example.com.evil.example", "http://app.example.com", ""} {
		a = e.call(http.MethodGet, "/mass-requests/", "", "Origin", origin)
		require.Empty(t, a.Header.Get("Access-Control-Allow-Origin"))
		require.Contains(t, a.Header.Values("Vary"), "Origin")
	}
}

func TestProxiesAreBelievedWhenTrusted(t *testing.T) {
	t.Parallel()
	e := setup(t, func(c *api.Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} })
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.url+"/mass-requests/", nil)
	require.NoError(t, err)
	req.Host = "mass.example.com"
	req.Header.Set("X-Forwarded-For", "127.0.0.1, 198.51.100.9")
	req.Header.Set("X-Forwarded-Proto", "https")
	a := e.do(req)
	require.Equal(t, "max-age=31536000", a.Header.Get("Strict-Transport-Security"))
	eventually(t, "the line is written", func() bool { return strings.Contains(e.log.String(), `"remote":"198.51.100.9"`) })
}

func TestHeadersAreBounded(t *testing.T) {
	t.Parallel()
	e := setup(t, func(c *api.Config) { c.MaxHeaders, c.MaxHeaderBytes = 20, 4096 })
	stop := e.serve()
	defer stop()
	addr := strings.TrimPrefix(e.url, "http://")
	send := func(header string) (status int, media string) {
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		_, err = fmt.Fprintf(conn, "GET /health/live HTTP/1.1\r\nHost: x\r\n%s\r\n", header)
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		defer resp.Body.Close()
		return resp.StatusCode, resp.Header.Get("Content-Type")
	}
	status, _ := send(strings.Repeat("X-A: b\r\n", 20))
	require.Equal(t, http.StatusOK, status)
	status, media := send(strings.Repeat("X-A: b\r\n", 21))
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, status)
	require.Equal(t, "application/problem+json", media)
	status, _ = send("X-A: " + strings.Repeat("b", 16<<10) + "\r\n")
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, status)

	names := make([]string, 0, 200)
	for i := range 100 {
		names = append(names, fmt.Sprintf("X-Name-%d", i), "x")
	}
	e.call(http.MethodGet, "/mass-requests/", "", names...).problem(t, http.StatusRequestHeaderFieldsTooLarge, "too_many_headers")
}

// Clients that send a byte now and then are cut off, in the header and in the body.
func TestSlowClientsAreCutOff(t *testing.T) {
	t.Parallel()
	e := setup(t, func(c *api.Config) { c.ReadHeaderTimeout, c.ReadTimeout = 100*time.Millisecond, 200*time.Millisecond })
	token := e.token()
	stop := e.serve()
	defer stop()
	addr := strings.TrimPrefix(e.url, "http://")
	for name, begin := range map[string]string{
		"header": "GET /health/live HTTP/1.1\r\nHost: x\r\nX-Slow: ",
		"body": "POST /mass-requests/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token +
			"\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n",
		"form": "POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			defer conn.Close()
			_, err = fmt.Fprint(conn, begin)
			require.NoError(t, err)
			ticker := time.NewTicker(10 * time.Millisecond)
			defer ticker.Stop()
			deadline := time.After(patience)
			for { // until the server closes its end
				select {
				case <-ticker.C:
				case <-deadline:
					t.Fatal("the connection is still open")
				}
				if _, err := conn.Write([]byte(" ")); err != nil {
					return
				}
			}
		})
	}
	require.Zero(t, e.stored())
}
