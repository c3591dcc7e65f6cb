package web

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// KeyPair is the certificate and the key of the server. It reads the files
// again when they change, so that renewing a certificate needs no restart.
type KeyPair struct {
	cert, key string // paths
	log       *slog.Logger
	current   atomic.Pointer[tls.Certificate]
	seen      [2]fileState // of the files when they were last loaded
}

// fileState changes when the content of a file does.
type fileState struct {
	modified time.Time
	size     int64
}

// LoadKeyPair reads a certificate and its key from files in PEM form.
func LoadKeyPair(cert, key string, log *slog.Logger) (*KeyPair, error) {
	k := &KeyPair{cert: cert, key: key, log: log}
	k.seen = k.look()
	if err := k.load(); err != nil {
		return nil, err
	}
	return k, nil
}

// Config returns the TLS settings of the server's connections.
func (k *KeyPair) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return k.current.Load(), nil
		},
	}
}

func (k *KeyPair) load() error {
	pair, err := tls.LoadX509KeyPair(k.cert, k.key)
	if err != nil {
		return fmt.Errorf("load the certificate %s: %w", k.cert, err)
	}
	k.current.Store(&pair)
	return nil
}

// Watch looks for changed files until ctx ends. While the files do not make a
// pair, as between the writing of the one and the other, the previous pair
// stays in use.
func (k *KeyPair) Watch(ctx context.Context, every time.Duration) {
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
			k.log.ErrorContext(ctx, "the new certificate cannot be used; the previous one stays in use", "error", err)
			continue
		}
		k.log.InfoContext(ctx, "reloaded the certificate", "not_after", k.current.Load().Leaf.NotAfter)
	}
}

// look returns the state of both files. A missing file has the zero state.
func (k *KeyPair) look() (states [2]fileState) {
	for i, path := range []string{k.cert, k.key} {
		if info, err := os.Stat(path); err == nil {
			states[i] = fileState{modified: info.ModTime(), size: info.Size()}
		}
	}
	return states
}
