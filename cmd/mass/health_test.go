package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

// A container can check itself even when it serves TLS under a different name.
func TestHealthOverTLS(t *testing.T) {
	t.Parallel()
	ready := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "/health/ready", r.URL.Path)
		_, _ = w.Write([]byte(`{"status":"ok"}`))
	}))
	defer ready.Close()
	u, err := url.Parse(ready.URL)
	require.NoError(t, err)
	env := map[string]string{"MASS_ADDR": ":" + u.Port(), "MASS_TLS_CERT": "/etc/mass/tls.crt"}
	var out output
	require.NoError(t, run(t.Context(), []string{"health"}, getenv(env), &out, &out))
	require.Contains(t, out.String(), "ok")

	err = run(t.Context(), []string{"health", "--url", ready.URL + "/health/ready"}, getenv(nil), &out, &out)
	require.ErrorContains(t, err, "certificate", "another server has to prove who it is")
}
