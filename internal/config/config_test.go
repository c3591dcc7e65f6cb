package config_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
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

func load(command string, args []string, getenv func(string) string) (*config.Config, error) {
	return config.Load(config.Command{Name: command}, args, getenv, nil)
}

func TestFlagBeatsEnvironmentBeatsDefault(t *testing.T) {
	t.Parallel()
	c, err := load("worker", []string{"--batch-max", "7"}, env("MASS_BATCH_MAX", "8", "MASS_MAX_TRIES", "9"))
	require.NoError(t, err)
	assert.Equal(t, 7, c.Queue.BatchMax)
	assert.Equal(t, 9, c.Worker.Retry.MaxTries)
	assert.Equal(t, 30*time.Second, c.Worker.RequestTimeout)
}

func TestAllMistakesAreReportedTogether(t *testing.T) {
	t.Parallel()
	_, err := load("worker", []string{"--concurrency=0", "--retry-jitter=2"},
		env("DATABASE_URL", "", "MASS_BATCH_MAX", "many", "MASS_REQUEST_TIMEOUT", "30", "MASS_LOG_LEVEL", "loud", "MASS_SILENT_AFTER", "1s", "MASS_RETENTION", "30s"))
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
	c, err := load("api", nil, env("MASS_TRUSTED_PROXIES", "10.1.0.0/16, 192.0.2.7", "MASS_CORS_ORIGINS", "https://app.example.com,http://localhost:3000"))
	require.NoError(t, err)
	assert.Equal(t, config.Networks{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("192.0.2.7/32")}, c.HTTP.TrustedProxies)
	assert.Equal(t, config.Origins{"https://app.example.com", "http://localhost:3000"}, c.HTTP.CORSOrigins)

	for name, bad := range map[string][2]string{
		"MASS_TLS_CERT and MASS_TLS_KEY must be set together": {"MASS_TLS_KEY", "key.pem"},
		`MASS_TRUSTED_PROXIES: "everybody" is not a network`:  {"MASS_TRUSTED_PROXIES", "everybody"},
		`"*" is not an origin`:                                {"MASS_CORS_ORIGINS", "*"},
		`"https://a.example/" is not an origin`:               {"MASS_CORS_ORIGINS", "https://a.example/"},
		`"https://A.example" is not an origin`:                {"MASS_CORS_ORIGINS", "https://A.example"},
		`"null" is not an origin`:                             {"MASS_CORS_ORIGINS", "null"},
	} {
		_, err := load("api", nil, env(bad[0], bad[1]))
		require.ErrorContains(t, err, name)
	}
}

func TestSecretsFromFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "url")
	require.NoError(t, os.WriteFile(path, []byte("postgres://from-file\n"), 0o600))
	c, err := load("api", nil, env("DATABASE_URL", "", "DATABASE_URL_FILE", path))
	require.NoError(t, err)
	assert.Equal(t, "postgres://from-file", c.DB.URL)
	_, err = load("api", nil, env("DATABASE_URL_FILE", path))
	require.ErrorContains(t, err, "both set")
	_, err = load("api", nil, env("DATABASE_URL", "", "DATABASE_URL_FILE", path+".not"))
	require.ErrorContains(t, err, "DATABASE_URL_FILE")
}

func TestASubcommandKnowsItsOwnSettingsOnly(t *testing.T) {
	t.Parallel()
	_, err := load("api", []string{"--max-tries=3"}, env())
	require.ErrorContains(t, err, "max-tries")
	_, err = load("api", []string{"extra"}, env())
	require.ErrorContains(t, err, `unexpected argument "extra"`)
	var demo bool
	_, err = config.Load(config.Command{
		Name: "dev", Flags: func(fs *flag.FlagSet) { fs.BoolVar(&demo, "demo", false, "x") },
	}, []string{"--demo"}, env(), nil)
	require.NoError(t, err)
	assert.True(t, demo)
}

func TestHelpListsEverythingWithDefaults(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	_, err := config.Load(config.Command{
		Name: "worker", Usage: "VERB [flags]", About: "It works.",
		Flags: func(fs *flag.FlagSet) {
			fs.Bool("demo", false, "show a demo")
			fs.Int("seed", 1, "seed of the demo")
		},
	}, []string{"--help"}, env(), &out)
	require.True(t, errors.Is(err, flag.ErrHelp))
	for _, want := range []string{
		"Usage: mass worker VERB [flags]\n\nIt works.\n", "--batch-max", "MASS_BATCH_MAX, default 64", "--database-url", "(DATABASE_URL or DATABASE_URL_FILE)\n",
		"show a demo\n", "seed of the demo (default 1)\n",
	} {
		assert.Contains(t, out.String(), want)
	}
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	var list config.Networks
	require.NoError(t, list.UnmarshalText([]byte("10.1.2.3/16, 127.0.0.1 fd00::/8,")))
	assert.Equal(t, "[10.1.0.0/16 127.0.0.1/32 fd00::/8]", fmt.Sprint(list))
	for _, bad := range []string{"10.1.0.0/33", "example.com", "::ffff:10.0.0.0/104", "fe80::1%eth0"} {
		require.Error(t, list.UnmarshalText([]byte(bad)), bad)
	}
	require.NoError(t, list.UnmarshalText(nil))
	assert.Empty(t, list)
}

func TestAWrongDatabaseURLIsNotShown(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"mysql://u:hush@h/d", "postgres://u:hush@%zz/d"} {
		for _, command := range []string{"api", "worker", "migrate", "dev", "user", "key", "audit"} {
			_, err := load(command, nil, env("DATABASE_URL", url))
			require.ErrorContains(t, err, "DATABASE_URL is not of the form postgres://user:password@host:port/name", command)
			assert.NotContains(t, err.Error(), "hush")
		}
		_, err := load("doctor", nil, env("DATABASE_URL", url))
		require.NoError(t, err, "mass doctor reports it as a finding")
	}
}
