package pgconn

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestURLForms(t *testing.T) {
	t.Parallel()
	type host struct {
		name string
		port uint16
	}
	for raw, want := range map[string]struct {
		hosts              []host
		user, password, db string
		attrs              string
	}{
		"postgres://u:p@h1:6101,h2:6102/d":                          {[]host{{"h1", 6101}, {"h2", 6102}}, "u", "p", "d", "read-write"},
		"postgresql://u@h1:6101,h2/d?sslmode=disable":               {[]host{{"h1", 6101}, {"h2", 5432}}, "u", "", "d", "read-write"},
		"postgres://u:p@/d?host=h1,h2&port=1,2":                     {[]host{{"h1", 1}, {"h2", 2}}, "u", "p", "d", "read-write"},
		"postgres://u:p@h1,h2/d?port=7":                             {[]host{{"h1", 7}, {"h2", 7}}, "u", "p", "d", "read-write"},
		"postgres://u:p@h/d?target_session_attrs=any":               {[]host{{"h", 5432}}, "u", "p", "d", "any"},
		"postgres://u%40x:p%2F%40%23%20%27%5C@[::1]:77,[fe80::2]/d": {[]host{{"::1", 77}, {"fe80::2", 5432}}, "u@x", `p/@# '\`, "d", "read-write"},
		"postgres://u:p:q@%2Fvar%2Frun/d":                           {[]host{{"/var/run", 5432}}, "u", "p:q", "d", "read-write"},
		`host=h1,h2 port=1,2 user=u password='p \'\\' dbname=d`:     {[]host{{"h1", 1}, {"h2", 2}}, "u", `p '\`, "d", "read-write"},
		" host = h  user=u dbname = d ":                             {[]host{{"h", 5432}}, "u", "", "d", "read-write"},
	} {
		p, err := ParseURL(raw)
		require.NoError(t, err, raw)
		c, err := p.config()
		require.NoError(t, err, raw)
		got := []host{{c.Host, c.Port}}
		for _, m := range c.Multi {
			got = append(got, host{m.Host, m.Port})
		}
		assert.Equal(t, want.hosts, got, raw)
		assert.Equal(t, []string{want.user, want.password, want.db, want.attrs}, []string{c.User, c.Password, c.Database, string(c.TargetSessionAttrs)}, raw)
		if want.password != "" && len(want.password) > 1 {
			assert.NotContains(t, p.Address(), want.password)
		}
	}
	p, err := ParseURL("postgres://u:p@h1:1,[::1]:2/d")
	require.NoError(t, err)
	assert.Equal(t, "h1:1,[::1]:2/d", p.Address())
}

// What cannot be understood is refused, and the error shows nothing of the URL:
// a password with an unescaped character may be in any part of it.
func TestUnclearURLsAreRefused(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"":                                                         "is not of the form",
		"mysql://u:hush@h/d":                                       "is not of the form",
		"u:hush@h/d":                                               "is not of the form",
		"postgres://u:hush@h:x/d":                                  "a port",
		"postgres://u:hush@h:0/d":                                  "a port",
		"postgres://u:hush@h:65536/d":                              "a port",
		"postgres://u:hu/sh@h/d":                                   `"%2F"`,
		"postgres://u:hu@sh@h/d":                                   `"%40"`,
		"postgres://u:hu#sh@h/d":                                   `"%23"`,
		"postgres://u:hush%zz@h/d":                                 "percent",
		"postgres://u:hush@h1,,h2/d":                               "empty host",
		"postgres://u:hush@h1,h2,h3/d?port=1,2":                    "3 hosts and 2 ports",
		"postgres://u:hush@h1/d?host=h2":                           "the host twice",
		"postgres://u:hush@h1:1/d?port=2":                          "the port twice",
		"postgres://u:hush@::1/d":                                  "brackets",
		"postgres://u:hush@h/d?sslmode=a&sslmode=b":                `"sslmode" more than once`,
		"postgres://u:hush@h/d?sslmode=hush":                       `the value of "sslmode"`,
		"postgres://u:hush@h/d?target_session_attrs=hush":          `the value of "target_session_attrs"`,
		"postgres://u:hush@h/d?x-hush=1":                           "not a word",
		"postgres://u:hush@h/d?a=%zz":                              "cannot be read",
		"host=h password=hush 'x":                                  "is not of the form",
		"host=h password=hush password=hush2":                      `"password" more than once`,
		"postgres://u:hush@h/d?sslmode=disable&sslrootcert=system": "combination",
	} {
		_, err := ParseURL(raw)
		require.ErrorContains(t, err, want, raw)
		for _, part := range []string{"hush", "sh@", "hu@"} {
			assert.NotContains(t, err.Error(), part, raw)
		}
	}
}
