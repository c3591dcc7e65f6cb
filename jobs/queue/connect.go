package queue

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	dialTimeout = 2 * time.Second // also the bound of a TLS handshake
	ioTimeout   = 3 * time.Second // of one read or write, where the context ends no earlier

	// dialTries is the number of connection attempts of one command. The
	// default of go-redis, 5, keeps a command at a dead node for seconds,
	// although another node has long been promoted.
	dialTries = 2

	// topologyAge is how old a client's picture of a cluster may become. A dead
	// master does not announce its successor, so the client must ask the other
	// nodes. The default of go-redis is a minute.
	topologyAge = time.Second

	// maxRedirects is how often a command follows the redirects of a cluster,
	// or tries again after a failed connection. With the growing pauses between
	// the attempts, this covers about a second of a failover.
	maxRedirects = 8
)

// TrustCA returns the address with a file of trusted authorities, unless the
// URL has named one. An empty path changes nothing.
func (a Address) TrustCA(path string) (Address, error) {
	switch {
	case path == "" || a.CAFile != "":
		return a, nil
	case !a.TLS:
		return a, fmt.Errorf("a file of trusted authorities is set for Redis, but the Redis URL does not use TLS: use the scheme %s://", Address{Mode: a.Mode, TLS: true}.scheme())
	}
	a.CAFile = path
	return a, nil
}

// Dial returns a client for the address. It does not connect yet. Its commands
// end with their contexts. Asynq's own clients leave that to the timeouts of
// the connection, which add up to about twenty seconds against a frozen server.
func Dial(a Address) (redis.UniversalClient, error) {
	config, err := a.tlsConfig()
	if err != nil {
		return nil, err
	}
	read, write, dial := ioTimeout, ioTimeout, dialTimeout
	if a.ReadTimeout > 0 {
		read = a.ReadTimeout
	}
	if a.WriteTimeout > 0 {
		write = a.WriteTimeout
	}
	if a.DialTimeout > 0 {
		dial = a.DialTimeout
	}
	switch a.Mode {
	case Single:
		return redis.NewClient(&redis.Options{
			Addr: a.Hosts[0], Username: a.Username, Password: a.Password, DB: a.DB,
			DialTimeout: dial, DialerRetries: dialTries, ReadTimeout: read, WriteTimeout: write,
			PoolSize: a.PoolSize, TLSConfig: config, ContextTimeoutEnabled: true,
		}), nil
	case Sentinel:
		return redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: a.Master, SentinelAddrs: a.Hosts, SentinelUsername: a.SentinelUsername, SentinelPassword: a.SentinelPassword,
			Username: a.Username, Password: a.Password, DB: a.DB,
			DialTimeout: dial, DialerRetries: dialTries, ReadTimeout: read, WriteTimeout: write,
			PoolSize: a.PoolSize, TLSConfig: config, ContextTimeoutEnabled: true,
		}), nil
	case Cluster:
		return redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: a.Hosts, MaxRedirects: maxRedirects, ClusterStateReloadInterval: topologyAge, Username: a.Username, Password: a.Password,
			DialTimeout: dial, DialerRetries: dialTries, ReadTimeout: read, WriteTimeout: write,
			PoolSize: a.PoolSize, TLSConfig: config, ContextTimeoutEnabled: true,
		}), nil
	}
	return nil, fmt.Errorf("there is no Redis client for an address of mode %q", a.Mode)
}

// tlsConfig returns nil for an address without TLS. As long as the address
// names no server, neither does the configuration: go-redis then verifies the
// certificate of each connection by the host that it dials, so every node of a
// cluster, every Sentinel and every master can have a certificate of its own.
func (a Address) tlsConfig() (*tls.Config, error) {
	if !a.TLS {
		return nil, nil //nolint:nilnil // go-redis takes nil for "no TLS"
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: a.ServerName,
		InsecureSkipVerify: a.SkipVerify, //nolint:gosec // only when the operator asks for it in the URL
	}
	if a.CAFile != "" {
		pem, err := os.ReadFile(a.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the authorities that Redis is verified with: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("the file of the authorities that Redis is verified with, " + a.CAFile + ", holds no certificate in PEM form")
		}
	}
	if a.CertFile != "" {
		own, err := tls.LoadX509KeyPair(a.CertFile, a.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read the certificate that is shown to Redis: %w", err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config, nil
}
