//go:build linux || darwin

package pgconn

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSilenceFollowsTheStatementTimeout(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]time.Duration{
		"10000": 10*time.Second + silenceMargin, "250ms": 250*time.Millisecond + silenceMargin, "1.5s": 1500*time.Millisecond + silenceMargin,
		"2min": 2*time.Minute + silenceMargin, "1h": time.Hour + silenceMargin, "0": 0, "": 0, "soon": 0,
	} {
		dsn := "postgres://u@h/d"
		if value != "" {
			dsn += "?statement_timeout=" + value
		}
		c, err := NewConnector(t.Context(), dsn, nil)
		require.NoError(t, err)
		assert.Equal(t, want, c.silence, value)
		assert.Equal(t, defaultConnectTimeout, c.config.ConnectTimeout, "a server that only accepts connections is given up")
	}
}

func TestQuietConnections(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	client, err := tcp.DialContext(t.Context(), "tcp", listener.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	server, err := listener.Accept()
	require.NoError(t, err)
	require.NoError(t, client.SetDeadline(time.Unix(1, 0)), "the last statement's deadline may be over")
	assert.True(t, quiet(client))
	require.NoError(t, server.Close())
	assert.Eventually(t, func() bool { return !quiet(client) }, time.Minute, time.Millisecond)
}
