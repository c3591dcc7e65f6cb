package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func signer(t testing.TB, secrets string) *Signer {
	t.Helper()
	s, err := ParseSecrets(secrets)
	require.NoError(t, err)
	return s
}

// The vector is that of the scheme's own libraries.
func TestSignaturesAreThoseOfTheScheme(t *testing.T) {
	t.Parallel()
	h := http.Header{}
	s := signer(t, secret)
	require.NoError(t, s.sign(h, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`)))
	assert.Equal(t, "msg_p5jXN8AQM9LWM0D4loKWxJek", h.Get("webhook-id"))
	assert.Equal(t, "1614265330", h.Get("webhook-timestamp"))
	assert.Equal(t, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", h.Get("webhook-signature"))
}

func TestWhileSecretsRotateBothSign(t *testing.T) {
	t.Parallel()
	other := "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 64))
	h := http.Header{}
	require.NoError(t, signer(t, " "+other+"  "+secret+"\n").sign(h, "msg_1", time.Now(), []byte(`{}`)))
	for _, known := range []string{other, secret} {
		w, err := standardwebhooks.NewWebhook(known)
		require.NoError(t, err)
		require.NoError(t, w.Verify([]byte(`{}`), h))
		require.Error(t, w.Verify([]byte(`{"a": 1}`), h))
	}
}

func TestBadSecretsAreRefusedAndNotShown(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"", " ", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_!!!!", "whsec_c2hvcnQ=", secret + " whsec_x",
		"whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65)),
	} {
		_, err := ParseSecrets(bad)
		require.Error(t, err, bad)
		assert.NotContains(t, err.Error(), "MfKQ")
	}
}

var refusedURLs = []string{
	// not a URL that can be called
	"", "/hook", "example.com/hook", "//example.com/hook", "https:", "https:///hook", "https://", "mailto:a@example.com", "https:example.com",
	"ftp://example.com/", "file:///etc/passwd", "gopher://example.com:6379/_x", "http://example.com/", "HTTP://example.com/",
	"https://user@example.com/", "https://user:pass@example.com/", "https://@example.com/", "https://example.com/#x", "https://example.com/#",
	"https://exa mple.com/", "https://example.com/a b", "https://example.com/\r\nHost: x", "https://example.com\\@127.0.0.1/", "https://bücher.example/",
	"https://example.com/" + strings.Repeat("a", MaxURL), "https://%31%32%37.0.0.1/", "https://127.0.0.1%00.example.com/",
	// ports
	"https://example.com:22/", "https://example.com:80/", "https://example.com:0/", "https://example.com:65536/", "https://example.com:/",
	"https://example.com:x/", "https://example.com:-1/", "https://[2606:4700::1]:25/",
	// names
	"https://localhost/", "https://LOCALHOST/", "https://localhost./", "https://a.localhost/", "https://intranet/", "https://metadata.google.internal/",
	"https://printer.local/", "https://example..com/", "https://.example.com/", "https://example.com./", "https://-a.example.com/", "https://a-.example.com/",
	"https://" + strings.Repeat("a", 64) + ".com/", "https://" + strings.Repeat("a.", 127) + "com/", "https://1.0.0.127.in-addr.arpa/", "https://*.example.com/",
	// IPv4 in its notations
	"https://127.0.0.1/", "https://127.1/", "https://2130706433/", "https://0x7f000001/", "https://0x7f.1/", "https://0177.0.0.1/", "https://017700000001/",
	"https://127.0.0.1./", "https://0/", "https://0.0.0.0/", "https://1.2.3/", "https://1.2.3.4.5/", "https://256.1.1.1/", "https://0x/", "https://8.8.8.010/",
	// IPv4 ranges
	"https://0.1.2.3/", "https://10.0.0.1/", "https://100.64.0.1/", "https://100.100.100.200/", "https://100.127.255.255/", "https://127.255.255.254/",
	"https://168.63.129.16/", "https://169.254.169.254/latest/meta-data/", "https://169.254.170.2/", "https://172.16.0.1/", "https://172.31.255.255/",
	"https://192.0.0.192/", "https://192.0.2.1/", "https://192.88.99.1/", "https://192.168.1.1/", "https://198.18.0.1/", "https://198.51.100.1/",
	"https://203.0.113.1/", "https://224.0.0.1/", "https://239.255.255.250/", "https://240.0.0.1/", "https://255.255.255.255/",
	// IPv6
	"https://[::]/", "https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/", "https://[::ffff:169.254.169.254]/", "https://[::127.0.0.1]/",
	"https://[::ffff:0:127.0.0.1]/", "https://[64:ff9b::7f00:1]/", "https://[64:ff9b::8.8.8.8]/", "https://[64:ff9b:1::1]/", "https://[2002:7f00:1::]/",
	"https://[2002:a00:1::1]/", "https://[2001::1]/", "https://[2001:db8::1]/", "https://[2001:10::1]/", "https://[3fff::1]/", "https://[fc00::1]/",
	"https://[fd00:ec2::254]/", "https://[fe80::1]/", "https://[fe80::1%25eth0]/", "https://[fec0::1]/", "https://[ff02::1]/", "https://[100::1]/",
	"https://[5f00::1]/", "https://[4000::1]/", "https://[2606:4700::1%25eth0]/", "https://::1/", "https://[127.0.0.1]/", "https://[example.com]/",
}

func TestWhatTheGuardRefuses(t *testing.T) {
	t.Parallel()
	var g Guard
	for _, u := range refusedURLs {
		err := g.CheckURL(u)
		if assert.Error(t, err, u) {
			assert.Regexp(t, `^must `, err.Error())
		}
	}
	t.Logf("%d URLs", len(refusedURLs))
}

func TestWhatTheGuardTakes(t *testing.T) {
	t.Parallel()
	open := Guard{AllowHTTP: true, AllowNets: loopback}
	for u, g := range map[string]Guard{
		"https://example.com": {}, "https://example.com/": {}, "https://EXAMPLE.com:443/a/b?c=d&e=%20": {}, "https://example.com:8443/": {},
		"https://xn--bcher-kva.example/": {}, "https://8.8.8.8/": {}, "https://[2606:4700:4700::1111]:8443/": {}, "https://a_b.example.com/": {},
		"https://[::ffff:8.8.8.8]/": {}, "https://100.63.255.255/": {}, "https://172.32.0.1/": {}, "https://deadbeef.example.com/": {},
		"https://0xface.example/": {}, "https://example.com/?q=a:b@c": {},
		"http://example.com/": open, "http://example.com:80/": open, "http://127.0.0.1:8080/": open, "http://localhost:8080/": open, "http://[::1]:8080/": open,
		"https://receiver:8443/": open, "https://receiver.default.svc.cluster.local/": open, "https://[::ffff:127.0.0.1]/": open,
	} {
		assert.NoError(t, g.CheckURL(u), u)
	}
	for _, u := range []string{"http://10.0.0.1/", "http://2130706433/", "http://0177.0.0.1/", "http://example.com:443/", "https://[::]/", "http://169.254.169.254/"} {
		assert.Error(t, open.CheckURL(u), u)
	}
}

// Whatever the guard takes, the URL's reader and the dialer understand as it did.
func FuzzCheckURL(f *testing.F) {
	for _, u := range refusedURLs {
		f.Add(u)
	}
	f.Add("https://example.com:8443/a?b=c")
	f.Fuzz(func(t *testing.T, raw string) {
		var g Guard
		if g.CheckURL(raw) != nil {
			return
		}
		require.NoError(t, (&Guard{AllowHTTP: true, AllowNets: loopback}).CheckURL(raw), "more is allowed, so this is")
		u, err := url.Parse(raw)
		require.NoError(t, err)
		require.Equal(t, "https", u.Scheme)
		require.Nil(t, u.User)
		require.Empty(t, u.Fragment)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, raw, nil)
		require.NoError(t, err)
		require.NotContains(t, req.URL.RequestURI(), "\n")
		host := u.Hostname()
		require.NotContains(t, host, "%")
		if addr, err := netip.ParseAddr(host); err == nil {
			require.NoError(t, g.CheckAddr(addr))
			require.False(t, addr.Unmap().IsPrivate() || addr.Unmap().IsLoopback() || addr.Unmap().IsLinkLocalUnicast() || addr.IsMulticast() || addr.IsUnspecified())
		} else {
			require.Nil(t, net.ParseIP(host))
			require.NotRegexp(t, `(^|\.)([0-9]+|0[xX][0-9a-fA-F]*)$`, host)
		}
	})
}

// hook is a receiver that counts its calls.
func hook(t *testing.T, h http.HandlerFunc) (url string, calls *atomic.Int32) {
	t.Helper()
	calls = new(atomic.Int32)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		h(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, calls
}

func config(g Guard) Config { return Config{Guard: g, Timeout: 20 * time.Second, UserAgent: "test"} }

func TestStatuses(t *testing.T) {
	t.Parallel()
	url, _ := hook(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/204":
			w.WriteHeader(204)
		case "/410":
			w.WriteHeader(410)
		case "/503":
			w.Header().Set("Retry-After", "120")
			w.WriteHeader(503)
		case "/huge":
			_, _ = io.Copy(w, io.LimitReader(zeros{}, 64<<20)) // more than the client reads
		}
	})
	c := NewClient(config(Guard{AllowHTTP: true, AllowNets: loopback}), signer(t, secret))
	m := Message{ID: "msg_1", Body: []byte(`{}`)}
	r := c.Send(t.Context(), url+"/204", m)
	assert.True(t, r.Delivered())
	r = c.Send(t.Context(), url+"/410", m)
	assert.True(t, r.Gone())
	assert.False(t, r.Delivered())
	r = c.Send(t.Context(), url+"/503", m)
	assert.False(t, r.Delivered())
	assert.Equal(t, 2*time.Minute, r.RetryAfter)
	assert.Equal(t, "the receiver answered 503", r.Reason)
	r = c.Send(t.Context(), url+"/huge", m)
	assert.True(t, r.Delivered())
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-7": 0, "soon": 0, "99999999999999": 0,
		"Sun, 01 Mar 2026 10:01:00 GMT": time.Minute, "Sun, 01 Mar 2026 09:00:00 GMT": 0,
	} {
		assert.Equal(t, want, retryAfter(value, now), value)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	private, reached := hook(t, func(http.ResponseWriter, *http.Request) {})
	for _, status := range []int{301, 302, 303, 307, 308} {
		url, calls := hook(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, private, status) })
		c := NewClient(config(Guard{AllowHTTP: true, AllowNets: loopback}), signer(t, secret))
		r := c.Send(t.Context(), url, Message{ID: "msg_1", Body: []byte(`{}`)})
		assert.Equal(t, status, r.Status)
		assert.False(t, r.Delivered())
		assert.EqualValues(t, 1, calls.Load())
	}
	assert.Zero(t, reached.Load())
}

// names is a DNS server that answers every question for an IPv4 address with one
// address, and every other with nothing.
func names(t *testing.T, addr [4]byte) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			q := buf[:n]
			end := 12
			for end < n && q[end] != 0 {
				end += int(q[end]) + 1
			}
			end += 5 // the name's end, type and class
			if end > n {
				continue
			}
			a := append([]byte{}, q[:end]...)
			a[2], a[3] = 0x81, 0x80                       // an answer, recursion offered
			copy(a[4:12], []byte{0, 1, 0, 0, 0, 0, 0, 0}) // one question
			if binary.BigEndian.Uint16(q[end-4:]) == 1 {  // A
				a[7] = 1
				a = append(a, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
				a = append(a, addr[:]...)
			}
			_, _ = conn.WriteTo(a, from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// A name may point anywhere, and elsewhere a moment later: what counts is the
// address that is dialed.
func TestTheAddressBehindANameIsJudged(t *testing.T) {
	t.Parallel()
	target, calls := hook(t, func(http.ResponseWriter, *http.Request) {})
	_, port, err := net.SplitHostPort(strings.TrimPrefix(target, "http://"))
	require.NoError(t, err)
	resolver := names(t, [4]byte{127, 0, 0, 1})
	m := Message{ID: "msg_1", Body: []byte(`{}`)}
	named := "http://rebind.example.com:" + port + "/"

	allowed := newClient(config(Guard{AllowHTTP: true, AllowNets: loopback}), signer(t, secret), resolver, nil)
	r := allowed.Send(t.Context(), named, m)
	require.True(t, r.Delivered(), r.Err)
	require.EqualValues(t, 1, calls.Load(), "the name does lead there")

	guarded := newClient(config(Guard{AllowHTTP: true}), signer(t, secret), resolver, nil)
	r = guarded.Send(t.Context(), named, m)
	assert.False(t, r.Delivered())
	assert.Equal(t, "the host's address is not on the public internet", r.Reason)
	assert.ErrorIs(t, r.Err, errForbidden)

	// Past the look at the URL, too: each of these leads to this machine.
	for _, host := range []string{"localhost", "127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "0"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+host+":"+port+"/", nil)
		require.NoError(t, err)
		resp, err := NewClient(config(Guard{AllowHTTP: true}), signer(t, secret)).http.Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		assert.Error(t, err, host)
	}
	assert.EqualValues(t, 1, calls.Load())
}

func TestNoProxyOfTheEnvironment(t *testing.T) {
	t.Parallel()
	c := NewClient(config(Guard{}), signer(t, secret))
	transport, ok := c.http.Transport.(*http.Transport)
	require.True(t, ok)
	assert.Nil(t, transport.Proxy)
}

func TestTLS(t *testing.T) {
	t.Parallel()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(srv.Close)
	m := Message{ID: "msg_1", Body: []byte(`{}`)}
	guard := Guard{AllowNets: loopback}
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	known := newClient(config(guard), signer(t, secret), nil, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12})
	r := known.Send(t.Context(), srv.URL, m)
	require.True(t, r.Delivered(), r.Err)
	r = newClient(config(guard), signer(t, secret), nil, &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}).Send(t.Context(), srv.URL, m)
	assert.Equal(t, "the receiver's certificate is not valid", r.Reason)
}

func TestReasonsNameNoAddress(t *testing.T) {
	t.Parallel()
	silent, _ := hook(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	closed := httptest.NewServer(nil)
	closed.Close()
	patient := config(Guard{AllowHTTP: true, AllowNets: loopback})
	impatient := patient
	impatient.Timeout = 50 * time.Millisecond
	m := Message{ID: "msg_1"}
	r := NewClient(impatient, signer(t, secret)).Send(t.Context(), silent, m)
	assert.Equal(t, "the receiver did not answer in time", r.Reason)
	assert.Zero(t, r.Status)
	r = NewClient(patient, signer(t, secret)).Send(t.Context(), closed.URL, m)
	assert.Equal(t, "the receiver refused the connection", r.Reason)
	assert.NotContains(t, r.Reason, "127.0.0.1")
}
