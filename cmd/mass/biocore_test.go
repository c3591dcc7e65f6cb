package main

import (
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/biocore/reference"
)

// serveReference runs mass biocore and returns its address.
func serveReference(t *testing.T, env map[string]string, args ...string) (address string, stop func() error) {
	t.Helper()
	out, stop := background(t, env, append([]string{"biocore", "--addr", "127.0.0.1:0"}, args...)...)
	require.Eventually(t, func() bool {
		address = regexp.MustCompile(`http://\S+`).FindString(out.String())
		return address != ""
	}, time.Minute, 10*time.Millisecond, "%s", out)
	require.Contains(t, out.String(), "reference model")
	return address, stop
}

func TestBioCoreServesWhatTheCheckAccepts(t *testing.T) {
	t.Parallel()
	env := map[string]string{"MASS_BIOCORE_TOKEN": "hush"}
	address, stop := serveReference(t, env)
	var out output
	require.NoError(t, run(t.Context(), []string{"biocore", "check", address, "--timeout", "1m"}, getenv(env), &out, &out), out.String())
	require.Contains(t, out.String(), "All 13 tests passed.")
	require.NotContains(t, out.String(), "hush")

	out = output{}
	err := run(t.Context(), []string{"biocore", "check", address}, getenv(nil), &out, &out)
	require.ErrorContains(t, err, "tests failed", "without the token")
	require.NoError(t, stop(), "the server ends without an error")
}

func TestBioCoreCheckFailsOnALyingServer(t *testing.T) {
	t.Parallel()
	address, _ := serveReference(t, nil, "--fail", "control-actions")
	var out output
	err := run(t.Context(), []string{"biocore", "check", "--timeout", "1m", address}, getenv(nil), &out, &out)
	require.ErrorContains(t, err, "of 13 tests failed")
	require.Regexp(t, `FAIL +an answer passes every check`, out.String())
	require.Contains(t, out.String(), "/response/summary/guardrails/shadow_read_only_enforced: must be true, got false")
	require.Regexp(t, `ok +GET /health answers 2xx`, out.String())
}

func TestBioCoreStopsWhileItHangs(t *testing.T) {
	t.Parallel()
	address, stop := serveReference(t, nil, "--fail", "hang")
	asked := make(chan error)
	go func() {
		res, err := http.Get(address + "/health")
		if err == nil {
			_ = res.Body.Close()
		}
		asked <- err
	}()
	// Whether the call has arrived does not matter: the server must end either
	// way.
	require.NoError(t, stop())
	require.Error(t, <-asked)
}

func TestBioCoreCheckOverTLS(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(reference.New(reference.Options{}))
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
	require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(block), 0o600))
	_, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	var out output
	require.NoError(t, run(t.Context(), []string{"biocore", "check", "--ca", ca, "--timeout", "1m", server.URL}, getenv(nil), &out, &out), out.String())

	require.NoError(t, os.WriteFile(ca, []byte("no certificate"), 0o600))
	err = run(t.Context(), []string{"biocore", "check", "--ca", ca, server.URL}, getenv(nil), &out, &out)
	require.ErrorContains(t, err, "holds no PEM certificate")
}

func TestBioCoreArguments(t *testing.T) {
	t.Parallel()
	for arguments, want := range map[string]string{
		"--fail explode":               "is not one of none, hang",
		"serve":                        "is not a subcommand",
		"--addr nowhere":               "nowhere",
		"check":                        "want exactly one URL",
		"check http://a http://b":      "want exactly one URL",
		"check ftp://a":                "URL must be an http or https URL",
		"check --ca /none http://a":    "--ca",
		"check --timeout 0s http://a/": "Timeout must be above 0",
	} {
		var out output
		err := run(t.Context(), append([]string{"biocore"}, strings.Fields(arguments)...), getenv(nil), &out, &out)
		require.ErrorContains(t, err, want, arguments)
	}
	var out output
	require.NoError(t, run(t.Context(), []string{"biocore", "--help"}, getenv(nil), &out, &out))
	for _, failure := range reference.Failures()[1:] {
		require.Contains(t, out.String(), string(failure))
	}
}
