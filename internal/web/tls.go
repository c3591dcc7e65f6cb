package api

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// keyPair is the server's certificate and its key, read again when the files
// change, so that a renewal takes no restart.
type keyPair struct {
	cert, key string // paths
	log       *slog.Logger
	current   atomic.Pointer[tls.Certificate]
	seen      [2]fileState // of the files as they were tried last
}

// fileState tells one content of a file from another.
type fileState struct {
	modified time.Time
	size     int64
}

func newKeyPair(cert, key string, log *slog.Logger) (*keyPair, error) {
	k := &keyPair{cert: cert, key: key, log: log}
	k.seen = k.look()
	if err := k.load(); err != nil {
		return nil, err
	}
	return k, nil
}

// config is what connections are made with.
func (k *keyPair) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return k.current.Load(), nil
		},
	}
}

func (k *keyPair) load() error {
	pair, err := tls.LoadX509KeyPair(k.cert, k.key)
	if err != nil {
		return fmt.Errorf("load the certificate %s: %w", k.cert, err)
	}
	k.current.Store(&pair)
	return nil
}

// watch looks at the files until ctx ends. While what they hold is no pair, which
// it also is between the writing of the two, the former one stays in use.
func (k *keyPair) watch(ctx context.Context, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := k.look()
		if now == k.seen {
			continue
		}
		k.seen = now
		if err := k.load(); err != nil {
			k.log.ErrorContext(ctx, "the new certificate cannot be used; the former one stays", "error", err)
			continue
		}
		k.log.InfoContext(ctx, "the certificate was renewed", "not_after", k.current.Load().Leaf.NotAfter)
	}
}

// look returns the state of both files; a file that is missing has the zero state.
func (k *keyPair) look() (states [2]fileState) {
	for i, path := range []string{k.cert, k.key} {
		if info, err := os.Stat(path); err == nil {
			states[i] = fileState{modified: info.ModTime(), size: info.Size()}
		}
	}
	return states
}
