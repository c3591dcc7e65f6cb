package api_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/api"
	"github.com/leomutto/pilot-in-a-box/internal/auth"
)

// pair makes a certificate with this serial number, and its key.
func pair(t *testing.T, serial int64) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{"mass.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certPath, keyPath := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	put := func(path string, content []byte) { // as renewals should: in one step
		require.NoError(t, os.WriteFile(path+".new", content, 0o600))
		require.NoError(t, os.Rename(path+".new", path))
	}
	cert, key := pair(t, 1)
	put(certPath, cert)
	put(keyPath, key)
	e := setup(t, func(c *api.Config) {
		c.TLSCert, c.TLSKey, c.TLSReload, c.Addr = certPath, keyPath, 5*time.Millisecond, "127.0.0.1:0"
	})
	email := e.person(auth.Viewer)
	stop := e.serve()
	defer stop()
	addr := strings.TrimPrefix(e.url, "http://")

	config := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // it signed itself
	serial := func() int64 {
		conn, err := tls.Dial("tcp", addr, config)
		require.NoError(t, err)
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	require.Equal(t, int64(1), serial())
	for version, ok := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: version}) //nolint:gosec // what is tried
		require.Equal(t, ok, err == nil, "%x: %v", version, err)
		if err == nil {
			_ = conn.Close()
		}
	}

	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: noRedirects.CheckRedirect}
	send := func(method, path, body string) (version int, hsts string, cookies []*http.Cookie) {
		req, err := http.NewRequestWithContext(t.Context(), method, "https://"+addr+path, strings.NewReader(body))
		require.NoError(t, err)
		req.Host = "mass.example.com"
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		return resp.ProtoMajor, resp.Header.Get("Strict-Transport-Security"), resp.Cookies()
	}
	version, hsts, _ := send(http.MethodGet, "/health/live", "")
	require.Equal(t, 2, version)
	require.Equal(t, "max-age=31536000", hsts)
	form := url.Values{"email": {email}, "password": {phrase}}
	_, _, cookies := send(http.MethodPost, "/login", form.Encode())
	require.Len(t, cookies, 1)
	require.Equal(t, "__Host-mass", cookies[0].Name, "also on a loopback address")
	require.True(t, cookies[0].Secure)

	// A broken file leaves the previous certificate in use, and says so.
	put(certPath, []byte("not a certificate"))
	eventually(t, "a line in the log", func() bool { return strings.Contains(e.log.String(), "the previous one stays in use") })
	require.Equal(t, int64(1), serial())
	// Half of a renewal is no pair.
	cert, key = pair(t, 2)
	put(certPath, cert)
	require.Equal(t, int64(1), serial())
	put(keyPath, key)
	eventually(t, "the new certificate", func() bool { return serial() == 2 })
	eventually(t, "a line in the log", func() bool { return strings.Contains(e.log.String(), "reloaded the certificate") })
	require.NoError(t, os.Remove(keyPath))
	require.Equal(t, int64(2), serial())
}

func TestATLSFileThatIsMissingIsFoundAtOnce(t *testing.T) {
	t.Parallel()
	e := setup(t, func(c *api.Config) { c.TLSCert, c.TLSKey = "/nowhere/cert.pem", "/nowhere/key.pem" })
	require.ErrorContains(t, e.api.Run(t.Context()), "/nowhere/cert.pem")
}
