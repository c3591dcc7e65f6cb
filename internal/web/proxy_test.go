package web

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSourceOfRequests(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for name, c := range map[string]struct {
		peer   string
		lines  []string
		proto  []string
		client string
		https  bool
	}{
		"nobody between":             {peer: "192.0.2.1:5", client: "192.0.2.1"},
		"a client that lies":         {peer: "192.0.2.1:5", lines: []string{"198.51.100.9"}, proto: []string{"https"}, client: "192.0.2.1"},
		"one proxy":                  {peer: "10.0.0.1:5", lines: []string{"198.51.100.9"}, proto: []string{"https"}, client: "198.51.100.9", https: true},
		"a proxy over plain HTTP":    {peer: "10.0.0.1:5", lines: []string{"198.51.100.9"}, proto: []string{"http"}, client: "198.51.100.9"},
		"a lie in front":             {peer: "10.0.0.1:5", lines: []string{"127.0.0.1, 198.51.100.9"}, client: "198.51.100.9"},
		"a lie in a line of its own": {peer: "10.0.0.1:5", lines: []string{"127.0.0.1", "198.51.100.9"}, client: "198.51.100.9"},
		"two proxies":                {peer: "10.0.0.1:5", lines: []string{"1.1.1.1, 198.51.100.9 , 10.0.0.2"}, client: "198.51.100.9"},
		"two proxies, two lines":     {peer: "10.0.0.1:5", lines: []string{"198.51.100.9", "10.0.0.2"}, client: "198.51.100.9"},
		"a proxy as the client":      {peer: "10.0.0.1:5", lines: []string{"10.0.0.3, 10.0.0.2"}, client: "10.0.0.3"},
		"no list":                    {peer: "10.0.0.1:5", client: "10.0.0.1"},
		"an empty list":              {peer: "10.0.0.1:5", lines: []string{""}, client: "10.0.0.1"},
		"a hidden address":           {peer: "10.0.0.1:5", lines: []string{"198.51.100.9, unknown"}, client: "10.0.0.1"},
		"hidden behind another":      {peer: "10.0.0.1:5", lines: []string{"_secret, 10.0.0.2"}, client: "10.0.0.2"},
		"with a port":                {peer: "10.0.0.1:5", lines: []string{"198.51.100.9:1234"}, client: "198.51.100.9"},
		"IPv6":                       {peer: "[fd00::1]:5", lines: []string{"2001:db8::9"}, client: "2001:db8::9"},
		"IPv6 with a port":           {peer: "[fd00::1]:5", lines: []string{"[2001:db8::9]:1234"}, client: "2001:db8::9"},
		"IPv4 in IPv6":               {peer: "[::ffff:10.0.0.1]:5", lines: []string{"::ffff:198.51.100.9"}, client: "198.51.100.9"},
		"protos of a chain":          {peer: "10.0.0.1:5", lines: []string{"198.51.100.9"}, proto: []string{"http, HTTPS"}, client: "198.51.100.9", https: true},
		"a lie about the proto":      {peer: "10.0.0.1:5", lines: []string{"198.51.100.9"}, proto: []string{"https", "http"}, client: "198.51.100.9"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &http.Request{RemoteAddr: c.peer, Header: http.Header{"X-Forwarded-For": c.lines, "X-Forwarded-Proto": c.proto}}
			client, https := sourceOf(r, trusted)
			require.Equal(t, c.client, client)
			require.Equal(t, c.https, https)
			client, https = sourceOf(r, nil)
			require.NotEqual(t, "198.51.100.9", client, "nobody is trusted by default")
			require.False(t, https)
		})
	}
}

func TestLoopback(t *testing.T) {
	t.Parallel()
	for host, is := range map[string]bool{
		"localhost": true, "localhost:8000": true, "mass.localhost:8000": true, "127.0.0.1:8000": true, "127.9.9.9": true, "[::1]:8000": true, "[::1]": true,
		"": false, ":8000": false, "0.0.0.0:8000": false, "10.0.0.1:8000": false, "localhost.example.com": false, "mass.example.com": false, "evil-localhost": false,
	} {
		require.Equal(t, is, IsLoopback(host), host)
	}
}
