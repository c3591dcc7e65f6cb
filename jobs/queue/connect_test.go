package queue_test

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/leomutto/pilot-in-a-box/jobs/queue"
)

func TestParseRedisURL(t *testing.T) {
	t.Parallel()
	type A = queue.Address
	hosts := func(list ...string) []string { return list }
	for raw, want := range map[string]A{
		// One server.
		"redis://localhost:6379":              {Mode: queue.Single, Hosts: hosts("localhost:6379")},
		"redis://localhost":                   {Mode: queue.Single, Hosts: hosts("localhost:6379")},
		"redis://":                            {Mode: queue.Single, Hosts: hosts("localhost:6379")},
		"redis://:pw@/3":                      {Mode: queue.Single, Hosts: hosts("localhost:6379"), Password: "pw", DB: 3},
		"redis://:pw@localhost:6379/3":        {Mode: queue.Single, Hosts: hosts("localhost:6379"), Password: "pw", DB: 3},
		"redis://:pw@localhost:6379/":         {Mode: queue.Single, Hosts: hosts("localhost:6379"), Password: "pw"},
		"redis://:pw@localhost:6379/3/":       {Mode: queue.Single, Hosts: hosts("localhost:6379"), Password: "pw", DB: 3},
		"redis://:@localhost":                 {Mode: queue.Single, Hosts: hosts("localhost:6379")},
		"redis://u:p%40%2F%3a@h":              {Mode: queue.Single, Hosts: hosts("h:6379"), Username: "u", Password: "p@/:"},
		"redis://u:p@w:x@h":                   {Mode: queue.Single, Hosts: hosts("h:6379"), Username: "u", Password: "p@w:x"},
		"redis://u:a+b%25@h":                  {Mode: queue.Single, Hosts: hosts("h:6379"), Username: "u", Password: "a+b%"},
		"redis://[::1]":                       {Mode: queue.Single, Hosts: hosts("[::1]:6379")},
		"redis://:pw@[fe80::2]:7000/1":        {Mode: queue.Single, Hosts: hosts("[fe80::2]:7000"), Password: "pw", DB: 1},
		"redis://10.0.0.1:6379?db=4":          {Mode: queue.Single, Hosts: hosts("10.0.0.1:6379"), DB: 4},
		"redis://my_redis.svc.cluster.local.": {Mode: queue.Single, Hosts: hosts("my_redis.svc.cluster.local.:6379")},
		"redis://h?dial_timeout=5&read_timeout=500ms&write_timeout=2s&pool_size=7": {
			Mode: queue.Single, Hosts: hosts("h:6379"), DialTimeout: 5 * time.Second, ReadTimeout: 500 * time.Millisecond, WriteTimeout: 2 * time.Second, PoolSize: 7,
		},
		// TLS.
		"rediss://u:pw@redis.example:6380":    {Mode: queue.Single, Hosts: hosts("redis.example:6380"), Username: "u", Password: "pw", TLS: true},
		"rediss://h?tls=true":                 {Mode: queue.Single, Hosts: hosts("h:6379"), TLS: true},
		"redis://h?tls=true":                  {Mode: queue.Single, Hosts: hosts("h:6379"), TLS: true},
		"redis://h?tls=false":                 {Mode: queue.Single, Hosts: hosts("h:6379")},
		"rediss://h?skip_verify=1":            {Mode: queue.Single, Hosts: hosts("h:6379"), TLS: true, SkipVerify: true},
		"rediss://h?ca_file=/etc/ca%20b.pem":  {Mode: queue.Single, Hosts: hosts("h:6379"), TLS: true, CAFile: "/etc/ca b.pem"},
		"rediss://h?server_name=redis.local":  {Mode: queue.Single, Hosts: hosts("h:6379"), TLS: true, ServerName: "redis.local"},
		"rediss://h?tls_server_name=n":        {Mode: queue.Single, Hosts: hosts("h:6379"), TLS: true, ServerName: "n"},
		"rediss://h?cert_file=/c&key_file=/k": {Mode: queue.Single, Hosts: hosts("h:6379"), TLS: true, CertFile: "/c", KeyFile: "/k"},
		// Sentinel.
		"redis-sentinel://a,b:1?master=m":                   {Mode: queue.Sentinel, Hosts: hosts("a:26379", "b:1"), Master: "m"},
		"redis-sentinel://:pw@a:26379,b:26379/1?master=m":   {Mode: queue.Sentinel, Hosts: hosts("a:26379", "b:26379"), Password: "pw", DB: 1, Master: "m"},
		"redis-sentinel://u:pw@[::1]:5,[::2]/2?master=m":    {Mode: queue.Sentinel, Hosts: hosts("[::1]:5", "[::2]:26379"), Username: "u", Password: "pw", DB: 2, Master: "m"},
		"redis-sentinel://a?master=m&tls=TRUE":              {Mode: queue.Sentinel, Hosts: hosts("a:26379"), Master: "m", TLS: true},
		"rediss-sentinel://a?master=m&server_name=s":        {Mode: queue.Sentinel, Hosts: hosts("a:26379"), Master: "m", TLS: true, ServerName: "s"},
		"redis-sentinel://a?master=m&sentinel_password=x+y": {Mode: queue.Sentinel, Hosts: hosts("a:26379"), Master: "m", SentinelPassword: "x y"},
		"redis-sentinel://u:p@a/5?sentinel_password=x&sentinel_username=s&master=m": {
			Mode: queue.Sentinel, Hosts: hosts("a:26379"), Username: "u", Password: "p", DB: 5, Master: "m", SentinelUsername: "s", SentinelPassword: "x",
		},
		// Cluster.
		"redis-cluster://u:pw@a:7000,b:7001,c:7002?tls=true": {Mode: queue.Cluster, Hosts: hosts("a:7000", "b:7001", "c:7002"), Username: "u", Password: "pw", TLS: true},
		"redis-cluster://a?tls=1":                            {Mode: queue.Cluster, Hosts: hosts("a:6379"), TLS: true},
		"redis-cluster://[::1]:7000,[::1]:7001/0":            {Mode: queue.Cluster, Hosts: hosts("[::1]:7000", "[::1]:7001")},
		"rediss-cluster://a:7000?server_name=any&ca_file=/c": {Mode: queue.Cluster, Hosts: hosts("a:7000"), TLS: true, ServerName: "any", CAFile: "/c"},
	} {
		got, err := queue.ParseRedisURL(raw)
		require.NoError(t, err, raw)
		assert.Equal(t, want, got, raw)
		again, err := queue.ParseRedisURL(got.String())
		require.NoError(t, err, got.String())
		assert.Equal(t, hideSecrets(got), again, "the text of the address says the same")
	}
}

// hideSecrets returns what the text of an address can say of it.
func hideSecrets(a queue.Address) queue.Address {
	for _, p := range []*string{&a.Password, &a.SentinelPassword} {
		if *p != "" {
			*p = "***"
		}
	}
	return a
}

// What the parser does not understand is refused in a sentence that names the
// part of the URL, and never shows the password, which is "secret" here.
func TestRedisURLsThatAreRefused(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"":                                                         "must begin with redis://",
		"localhost:6379":                                           "must begin with redis://",
		"redis:secret@h":                                           "must begin with redis://",
		"http://secret@x":                                          "must begin with redis://",
		"redis-socket:///tmp/x":                                    "must begin with redis://",
		"REDIS://:secret@h":                                        "must begin with redis://",
		"redis://:secret@h:port":                                   "a port that is not a number",
		"redis://:secret@h:0":                                      "a port that is not a number",
		"redis://:secret@h:65536":                                  "a port that is not a number",
		"redis://:secret@h:":                                       "a port that is not a number",
		"redis://:secret@h:1/db":                                   "is not the number of a database",
		"redis://:secret@h:1/-1":                                   "is not the number of a database",
		"redis://:secret@h:1/1/2":                                  "is not the number of a database",
		"redis://:secret@h:1/3?db=4":                               "the parameter db twice",
		"redis://:secret@h:1?db=x":                                 "the parameter db, which is not the number",
		"redis://user@h":                                           "a user without a password",
		"redis://user:@h":                                          "a user without a password",
		"redis://:sec%zzret@h":                                     "a % in the password",
		"redis://%zz:secret@h":                                     "a % in the user name",
		"redis://:sec/secret@h":                                    "one of the characters / ? # @",
		"redis://:sec?secret@h":                                    "one of the characters / ? # @",
		"redis://:sec#secret@h":                                    "one of the characters / ? # @",
		"redis://:secret secret@h":                                 "a space or a control character",
		"redis://:secret@h\n":                                      "a space or a control character",
		"redis://:secret@a,b":                                      "several hosts",
		"redis://:secret@::1":                                      "several colons",
		"redis://:secret@[::1":                                     "without a closing bracket",
		"redis://:secret@[1.2.3.4]":                                "not an IPv6 address",
		"redis://:secret@[::1]x":                                   "a port that is not a number",
		"redis://:secret@h!":                                       "neither a name nor an address",
		"redis://:secret@h?foo=secret":                             "the parameter foo, which is not known",
		"redis://:secret@h?ssl=true":                               "the parameter ssl, which is not known",
		"redis://:secret@h?protocol=2":                             "the parameter protocol, which is not known",
		"redis://:secret@h?tls":                                    "the parameter tls without a value",
		"redis://:secret@h?tls=":                                   "the parameter tls without a value",
		"redis://:secret@h?tls=yess":                               "the parameter tls, which is neither true nor false",
		"redis://:secret@h?tls=true&tls=true":                      "the parameter tls twice",
		"redis://:secret@h?&":                                      "not of the form name=value",
		"rediss://:secret@h?tls=false":                             "contradicts the scheme",
		"redis://:secret@h?skip_verify=true":                       "needs TLS: use the scheme rediss://",
		"redis://:secret@h?ca_file=/x":                             "the parameter ca_file, which needs TLS",
		"redis://:secret@h?server_name=x":                          "the parameter server_name, which needs TLS",
		"rediss://h?server_name=a&tls_server_name=b":               "the parameter tls_server_name twice",
		"rediss://h?cert_file=/c":                                  "cert_file and key_file",
		"redis://h?dial_timeout=-1s":                               "the parameter dial_timeout, which is not a duration",
		"redis://h?read_timeout=soon":                              "the parameter read_timeout, which is not a duration",
		"redis://h?pool_size=0":                                    "the parameter pool_size, which is not a number",
		"redis://h?master=m":                                       "the parameter master, which belongs to redis-sentinel://",
		"redis-sentinel://:secret@/x":                              "neither a name nor an address",
		"redis-sentinel://:secret@a,,b?master=m":                   "(host 2)",
		"redis-sentinel://:secret@a":                               "lacks the parameter master",
		"redis-sentinel://:secret@a?master=":                       "the parameter master without a value",
		"redis-sentinel://a?master=m&sentinel_username=u":          "sentinel_username without sentinel_password",
		"redis-sentinel://a?master=m&sentinel_password=secret%zz":  "a % in the parameter sentinel_password",
		"redis-sentinel://a?sentinel_password=p&secret&master=m":   "an & in a password",
		"redis-sentinel://a?sentinel_password=p&secret=1&master=m": "an & in a password",
		"redis-sentinel://a?master=m&sentinel_password=sec@ret":    "one of the characters",
		"redis-sentinel://a?master=m&foo=bar":                      "the parameter foo, which is not known",
		"redis-cluster://":                                         "neither a name nor an address",
		"redis-cluster://:secret@a:":                               "a port that is not a number",
		"redis-cluster://:secret@a/1":                              "a database other than 0",
		"redis-cluster://:secret@a?db=1":                           "a database other than 0",
		"redis-cluster://:secret@a?tls=maybe":                      "the parameter tls, which is neither",
		"redis-cluster://a?tls=true&foo=bar":                       "the parameter foo, which is not known",
		"redis-cluster://a?master=m":                               "the parameter master, which belongs to redis-sentinel://",
		"redis-cluster://a?sentinel_password=secret":               "the parameter sentinel_password, which belongs",
		"rediss://%zzsecret":                                       "neither a name nor an address",
	} {
		_, err := queue.ParseRedisURL(raw)
		require.ErrorContains(t, err, want, raw)
		assert.True(t, strings.HasPrefix(err.Error(), "the Redis URL "), raw)
		assert.NotContains(t, err.Error(), "secret", raw)
		assert.NotContains(t, err.Error(), "\n", "one sentence")
	}
}

func FuzzParseRedisURL(f *testing.F) {
	for _, seed := range []string{
		"redis://u:p%40@h:1/2?tls=1", "rediss-sentinel://:p@a,[::1]:5/3?master=m&sentinel_username=u&sentinel_password=q&ca_file=/x",
		"redis-cluster://u:p@a:7000,b?dial_timeout=5", "redis://:a/b@c", "redis://h?a=%", "redis://[::1%25x]", "redis-sentinel://0?master=0",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		a, err := queue.ParseRedisURL(raw)
		if err != nil {
			return
		}
		shown := a.String()
		again, err := queue.ParseRedisURL(shown)
		if err != nil {
			t.Fatalf("%q is not a Redis URL: %v", shown, err)
		}
		if want := hideSecrets(a); fmt.Sprintf("%#v", again) != fmt.Sprintf("%#v", want) || again.Username != want.Username {
			t.Fatalf("%q says %v, want %v", shown, again, want)
		}
		if len(a.Password) > 12 && strings.Contains(shown, a.Password) && strings.Count(raw, a.Password) < 2 {
			t.Fatalf("%q shows the password", shown)
		}
		if a.CAFile != "" || a.CertFile != "" { // the files are not there
			return
		}
		rdb, err := queue.Dial(a)
		if err != nil {
			t.Fatalf("no client for %q: %v", shown, err)
		}
		if err := rdb.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestTheTextOfAnAddressShowsNoPassword(t *testing.T) {
	t.Parallel()
	a, err := queue.ParseRedisURL("redis-sentinel://user:secret@a?master=m&sentinel_password=secret")
	require.NoError(t, err)
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		assert.NotContains(t, fmt.Sprintf(format, a), "secret", format)
	}
	assert.Equal(t, "redis-sentinel://user:***@a:26379?master=m&sentinel_password=***", a.String())
}

func TestTheAuthoritiesOfRedis(t *testing.T) {
	t.Parallel()
	parse := func(raw string) queue.Address {
		a, err := queue.ParseRedisURL(raw)
		require.NoError(t, err)
		return a
	}
	a, err := parse("redis://h").TrustCA("")
	require.NoError(t, err)
	assert.Empty(t, a.CAFile)
	a, err = parse("rediss://h").TrustCA("/one")
	require.NoError(t, err)
	assert.Equal(t, "/one", a.CAFile)
	a, err = parse("rediss://h?ca_file=/two").TrustCA("/one")
	require.NoError(t, err)
	assert.Equal(t, "/two", a.CAFile, "the URL knows better")
	_, err = parse("redis-cluster://:secret@h").TrustCA("/one")
	require.EqualError(t, err, "a file of trusted authorities is set for Redis, but the Redis URL does not use TLS: use the scheme rediss-cluster://")

	_, err = queue.Dial(parse("rediss://h?ca_file=/is/not/there"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(empty, []byte("no certificate"), 0o600))
	_, err = queue.Dial(parse("rediss://h?ca_file=" + url.QueryEscape(empty)))
	require.ErrorContains(t, err, "holds no certificate in PEM form")
	_, err = queue.Dial(parse("rediss://h?cert_file=" + url.QueryEscape(empty) + "&key_file=" + url.QueryEscape(empty)))
	require.ErrorContains(t, err, "the certificate that is shown to Redis")
}
