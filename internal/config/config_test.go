package config_test

import (
	"bytes"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/internal/config"
)

func env(pairs ...string) func(string) string {
	m := map[string]string{"DATABASE_URL": "postgres://x", "REDIS_URL": "redis://x", "MASS_AUTH_SECRET": strings.Repeat("s", 32)}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(k string) string { return m[k] }
}

func TestFlagBeatsEnvironmentBeatsDefault(t *testing.T) {
	t.Parallel()
	c, err := config.Load("worker", []string{"--batch-max", "7"}, env("MASS_BATCH_MAX", "8", "MASS_MAX_TRIES", "9"), nil, nil)
	require.NoError(t, err)
	assert.Equal(t, 7, c.BatchMax)
	assert.Equal(t, 9, c.MaxTries)
	assert.Equal(t, 30*time.Second, c.RequestTimeout)
}

func TestAllMistakesAreReportedTogether(t *testing.T) {
	t.Parallel()
	_, err := config.Load("worker", []string{"--concurrency=0", "--retry-jitter=2"},
		env("DATABASE_URL", "", "MASS_BATCH_MAX", "many", "MASS_REQUEST_TIMEOUT", "30", "MASS_LOG_LEVEL", "loud", "MASS_SILENT_AFTER", "1s", "MASS_RETENTION", "30s"), nil, nil)
	require.Error(t, err)
	for _, want := range []string{
		"DATABASE_URL is not set", `MASS_BATCH_MAX: "many" is not a whole number`, `MASS_REQUEST_TIMEOUT: "30" is not a duration`,
		`MASS_LOG_LEVEL: "loud" is not one of debug, info, warn, error`, "--concurrency: 0 is below 1", "--retry-jitter: 2 is above 1",
		"MASS_RETENTION (30s) must be 0 or at least 1m",
		"MASS_SILENT_AFTER (1s) must be at least three times MASS_HEARTBEAT (1s)",
	} {
		assert.ErrorContains(t, err, want)
	}
}

func TestTheEdge(t *testing.T) {
	t.Parallel()
	c, err := config.Load("api", nil, env("MASS_TRUSTED_PROXIES", "10.1.0.0/16, 192.0.2.7", "MASS_CORS_ORIGINS", "https://app.example.com,http://localhost:3000"), nil, nil)
	require.NoError(t, err)
	proxies, err := c.Proxies()
	require.NoError(t, err)
	assert.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("192.0.2.7/32")}, proxies)
	origins, err := c.Origins()
	require.NoError(t, err)
	assert.Equal(t, []string{"https://app.example.com", "http://localhost:3000"}, origins)

	for name, bad := range map[string][2]string{
		"MASS_TLS_CERT and MASS_TLS_KEY go together": {"MASS_TLS_KEY", "key.pem"},
		`"everybody" is not a network`:               {"MASS_TRUSTED_PROXIES", "everybody"},
		`"*" is not an origin`:                       {"MASS_CORS_ORIGINS", "*"},
		`"https://a.example/" is not an origin`:      {"MASS_CORS_ORIGINS", "https://a.example/"},
		`"https://A.example" is not an origin`:       {"MASS_CORS_ORIGINS", "https://A.example"},
		`"null" is not an origin`:                    {"MASS_CORS_ORIGINS", "null"},
	} {
		_, err := config.Load("api", nil, env(bad[0], bad[1]), nil, nil)
		require.ErrorContains(t, err, name)
	}
}

func TestSecretsFromFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "url")
	require.NoError(t, os.WriteFile(path, []byte("postgres://from-file\n"), 0o600))
	c, err := config.Load("api", nil, env("DATABASE_URL", "", "DATABASE_URL_FILE", path), nil, nil)
	require.NoError(t, err)
	assert.Equal(t, "postgres://from-file", c.DatabaseURL)
	_, err = config.Load("api", nil, env("DATABASE_URL_FILE", path), nil, nil)
	require.ErrorContains(t, err, "both set")
	_, err = config.Load("api", nil, env("DATABASE_URL", "", "DATABASE_URL_FILE", path+".not"), nil, nil)
	require.ErrorContains(t, err, "DATABASE_URL_FILE")
}

func TestASubcommandKnowsItsOwnSettingsOnly(t *testing.T) {
	t.Parallel()
	_, err := config.Load("api", []string{"--max-tries=3"}, env(), nil, nil)
	require.ErrorContains(t, err, "max-tries")
	_, err = config.Load("api", []string{"extra"}, env(), nil, nil)
	require.ErrorContains(t, err, `unexpected argument "extra"`)
	var demo bool
	_, err = config.Load("dev", []string{"--demo"}, env(), nil, func(fs *flag.FlagSet) { fs.BoolVar(&demo, "demo", false, "x") })
	require.NoError(t, err)
	assert.True(t, demo)
}

func TestHelpListsEverythingWithDefaults(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	_, err := config.Load("worker", []string{"--help"}, env(), &out, nil)
	require.True(t, errors.Is(err, flag.ErrHelp))
	for _, want := range []string{"--batch-max", "MASS_BATCH_MAX, default 64", "--database-url", "DATABASE_URL or DATABASE_URL_FILE"} {
		assert.Contains(t, out.String(), want)
	}
}

// The table in the documentation is the one the program uses.
func TestTheDocumentedTableIsTrue(t *testing.T) {
	t.Parallel()
	var table strings.Builder
	require.NoError(t, config.Table(&table))
	doc, err := os.ReadFile("../../docs/configuration.md")
	require.NoError(t, err)
	assert.Contains(t, string(doc), table.String(), "docs/configuration.md is out of date; the table is:\n%s", table.String())
}
