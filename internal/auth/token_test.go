package auth_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
)

const secret = "0123456789abcdef0123456789abcdef"

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var ann = auth.Access{Identity: auth.Identity{Kind: auth.User, ID: 12, Name: "ann@example.com", Role: auth.Operator}, Generation: 3}

func ring(t testing.TB, secrets, files string) *auth.Keyring {
	t.Helper()
	k, err := auth.LoadKeyring(secrets, files)
	require.NoError(t, err)
	return k
}

func tokens(k *auth.Keyring, tune ...func(*auth.TokenConfig)) *auth.Tokens {
	c := auth.TokenConfig{Keys: k, Issuer: "mass", Audience: "mass", TTL: 10 * time.Minute, Now: func() time.Time { return noon }}
	for _, f := range tune {
		f(&c)
	}
	return auth.NewTokens(c)
}

func issue(t testing.TB, from *auth.Tokens) string {
	t.Helper()
	token, ttl, err := from.Issue(ann)
	require.NoError(t, err)
	require.Equal(t, 10*time.Minute, ttl)
	return token
}

// keyFile writes a key as PEM and returns the file's path.
func keyFile(t testing.TB, dir, name string, key any) string {
	t.Helper()
	kind := "PRIVATE KEY"
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		kind = "PUBLIC KEY"
		der, err = x509.MarshalPKIXPublicKey(key)
	}
	require.NoError(t, err)
	path := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return path
}

func headerOf(t testing.TB, token string) map[string]any {
	t.Helper()
	parsed, _, err := jwt.NewParser().ParseUnverified(token, jwt.MapClaims{})
	require.NoError(t, err)
	return parsed.Header
}

func TestTokensSayWhoTheyWereIssuedTo(t *testing.T) {
	t.Parallel()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	for alg, k := range map[string]*auth.Keyring{
		"HS256": ring(t, secret, ""),
		"EdDSA": ring(t, "", keyFile(t, t.TempDir(), "a.pem", ed)),
		"RS256": ring(t, "", keyFile(t, t.TempDir(), "b.pem", rs)),
	} {
		issuer := tokens(k)
		token := issue(t, issuer)
		require.Equal(t, alg, headerOf(t, token)["alg"])
		got, err := issuer.Verify(token)
		require.NoError(t, err)
		assert.Equal(t, ann, got)
		assert.NotEqual(t, token, issue(t, issuer), "each has an id of its own")

		// Any other byte makes it another token.
		for i := range len(token) {
			changed := []byte(token)
			if changed[i]++; changed[i] == token[i] {
				continue
			}
			_, err := issuer.Verify(string(changed))
			require.ErrorIs(t, err, auth.ErrToken, "%s at %d", alg, i)
		}
	}
}

// good are the claims of a token as we issue them.
func good() jwt.MapClaims {
	return jwt.MapClaims{
		"iss": "mass", "aud": "mass", "sub": "user:12", "role": "operator", "name": "ann@example.com", "gen": 3, "jti": "x",
		"iat": noon.Unix(), "nbf": noon.Unix(), "exp": noon.Add(time.Minute).Unix(),
	}
}

func TestTokensThatDoNotHold(t *testing.T) {
	t.Parallel()
	verifier := tokens(ring(t, secret, ""))
	kid := headerOf(t, issue(t, verifier))["kid"]
	sign := func(t *testing.T, method jwt.SigningMethod, key any, header map[string]any, c jwt.MapClaims) string {
		t.Helper()
		unsigned := jwt.NewWithClaims(method, c)
		unsigned.Header["kid"] = kid
		maps.Copy(unsigned.Header, header)
		token, err := unsigned.SignedString(key)
		require.NoError(t, err)
		return token
	}
	with := func(changes jwt.MapClaims) jwt.MapClaims {
		c := good()
		for name, value := range changes {
			if value == nil {
				delete(c, name)
			} else {
				c[name] = value
			}
		}
		return c
	}
	_, err := verifier.Verify(sign(t, jwt.SigningMethodHS256, []byte(secret), nil, good()))
	require.NoError(t, err)

	for name, c := range map[string]jwt.MapClaims{
		"expired":               with(jwt.MapClaims{"exp": noon.Add(-6 * time.Second).Unix()}),
		"without expiry":        with(jwt.MapClaims{"exp": nil}),
		"not valid yet":         with(jwt.MapClaims{"nbf": noon.Add(6 * time.Second).Unix()}),
		"without not before":    with(jwt.MapClaims{"nbf": nil}),
		"issued in the future":  with(jwt.MapClaims{"iat": noon.Add(6 * time.Second).Unix()}),
		"another issuer":        with(jwt.MapClaims{"iss": "elsewhere"}),
		"no issuer":             with(jwt.MapClaims{"iss": nil}),
		"another audience":      with(jwt.MapClaims{"aud": []string{"elsewhere"}}),
		"no audience":           with(jwt.MapClaims{"aud": nil}),
		"an unknown role":       with(jwt.MapClaims{"role": "root"}),
		"no role":               with(jwt.MapClaims{"role": nil}),
		"a key":                 with(jwt.MapClaims{"sub": "key:12"}),
		"no subject":            with(jwt.MapClaims{"sub": nil}),
		"a subject that is odd": with(jwt.MapClaims{"sub": "user:-12"}),
	} {
		_, err := verifier.Verify(sign(t, jwt.SigningMethodHS256, []byte(secret), nil, c))
		require.ErrorIs(t, err, auth.ErrToken, name)
	}
	for name, token := range map[string]string{
		"none":           sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil, good()),
		"another secret": sign(t, jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), nil, good()),
		"HS512":          sign(t, jwt.SigningMethodHS512, []byte(secret), nil, good()),
		"wrong kid":      sign(t, jwt.SigningMethodHS256, []byte(secret), map[string]any{"kid": "other"}, good()),
		"no kid":         sign(t, jwt.SigningMethodHS256, []byte(secret), map[string]any{"kid": ""}, good()),
		"kid no string":  sign(t, jwt.SigningMethodHS256, []byte(secret), map[string]any{"kid": 1}, good()),
		"alg in header":  sign(t, jwt.SigningMethodHS256, []byte(secret), map[string]any{"alg": "none"}, good()),
		"long":           sign(t, jwt.SigningMethodHS256, []byte(secret), nil, with(jwt.MapClaims{"name": strings.Repeat("n", 4096)})),
		"empty":          "",
		"dots":           "..",
	} {
		_, err := verifier.Verify(token)
		require.ErrorIs(t, err, auth.ErrToken, name)
	}
	stripped := issue(t, verifier)
	_, err = verifier.Verify(stripped[:strings.LastIndex(stripped, ".")+1])
	require.ErrorIs(t, err, auth.ErrToken, "no signature")
}

// A public key is no secret: whoever signs with it as one must not get in, be it
// in the form of the file or of its bytes.
func TestAPublicKeyIsNoSecret(t *testing.T) {
	t.Parallel()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	dir := t.TempDir()
	verifier := tokens(ring(t, secret, keyFile(t, dir, "rs.pem", private)))
	public := keyFile(t, dir, "public", private.Public())
	file, err := os.ReadFile(public)
	require.NoError(t, err)
	block, _ := pem.Decode(file)
	for _, fake := range [][]byte{file, block.Bytes, x509.MarshalPKCS1PublicKey(&private.PublicKey), []byte(strings.TrimSpace(string(file)))} {
		unsigned := jwt.NewWithClaims(jwt.SigningMethodHS256, good())
		unsigned.Header["kid"] = "rs"
		token, err := unsigned.SignedString(fake)
		require.NoError(t, err)
		_, err = verifier.Verify(token)
		require.ErrorIs(t, err, auth.ErrToken)
		require.ErrorContains(t, err, "the key is for RS256, the token for HS256")
	}
	// And the other way round: a token signed by the right key, in the name of the secret.
	secretID := headerOf(t, issue(t, tokens(ring(t, secret, ""))))["kid"]
	unsigned := jwt.NewWithClaims(jwt.SigningMethodRS256, good())
	unsigned.Header["kid"] = secretID
	token, err := unsigned.SignedString(private)
	require.NoError(t, err)
	_, err = verifier.Verify(token)
	require.ErrorIs(t, err, auth.ErrToken)
}

func TestRotation(t *testing.T) {
	t.Parallel()
	_, first, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	_, second, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	dir := t.TempDir()
	keyFile(t, dir, "2026-01.pem", first)
	old := tokens(ring(t, "", dir))
	before := issue(t, old)
	assert.Equal(t, "2026-01", headerOf(t, before)["kid"])

	// The new public key goes everywhere first: nothing changes, but everybody will understand.
	next := keyFile(t, dir, "2026-02.pem", second.Public())
	ready := tokens(ring(t, "", dir))
	assert.Equal(t, "2026-01", headerOf(t, issue(t, ready))["kid"])

	keyFile(t, dir, "2026-02.pem", second)
	now := tokens(ring(t, "", dir))
	after := issue(t, now)
	assert.Equal(t, "2026-02", headerOf(t, after)["kid"])
	for _, token := range []string{before, after} {
		for _, verifier := range []*auth.Tokens{ready, now} {
			_, err := verifier.Verify(token)
			require.NoError(t, err)
		}
	}
	require.NoError(t, os.Remove(filepath.Join(dir, "2026-01.pem")))
	end := tokens(ring(t, "", next))
	_, err = end.Verify(before)
	require.ErrorIs(t, err, auth.ErrToken)
	_, err = end.Verify(after)
	require.NoError(t, err)

	// Secrets: the first one signs.
	newSecret := strings.Repeat("n", 32)
	before = issue(t, tokens(ring(t, secret, "")))
	both := tokens(ring(t, newSecret+" "+secret, ""))
	_, err = both.Verify(before)
	require.NoError(t, err)
	_, err = tokens(ring(t, newSecret, "")).Verify(issue(t, both))
	require.NoError(t, err)
	_, err = tokens(ring(t, newSecret, "")).Verify(before)
	require.ErrorIs(t, err, auth.ErrToken)
}

func TestKeysThatAreNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	weak := filepath.Join(dir, "weak.pem")
	t.Cleanup(func() { _ = os.Remove(weak) })
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	public := keyFile(t, dir, "public.pem", ed.Public())
	private := keyFile(t, dir, "private.pem", ed)
	text := filepath.Join(dir, "text")
	require.NoError(t, os.WriteFile(text, []byte("no key"), 0o600))
	for name, c := range map[string]struct{ secrets, files, want string }{
		"nothing":      {want: "no key to sign with"},
		"short":        {secrets: secret[1:], want: "31 bytes"},
		"short second": {secrets: secret + " x", want: "1 bytes"},
		"public only":  {files: public, want: "no key to sign with"},
		"twice":        {files: private + "," + private, want: `two keys have the id "private"`},
		"no file":      {files: filepath.Join(dir, "absent"), want: "look for key files"},
		"no PEM":       {files: text, want: "is not a PEM file"},
		"empty folder": {files: t.TempDir(), want: "no *.pem"},
	} {
		_, err := auth.LoadKeyring(c.secrets, c.files)
		require.ErrorContains(t, err, c.want, name)
		assert.NotContains(t, err.Error(), secret[1:], name)
	}
}

func FuzzVerify(f *testing.F) {
	verifier := tokens(ring(f, secret, ""))
	token := issue(f, verifier)
	f.Add(token)
	f.Add(strings.Replace(token, ".", "..", 1))
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + strings.Split(token, ".")[1] + ".")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := verifier.Verify(s)
		if err == nil && got != ann { // each process of the fuzzer has tokens of its own
			t.Fatalf("%q was taken for a token: %+v", s, got)
		}
		if err != nil {
			require.ErrorIs(t, err, auth.ErrToken)
		}
	})
}
