package auth

import (
	"crypto"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// MinSecret is the minimum length of a signing secret, in bytes.
	MinSecret  = 32
	minRSABits = 2048
)

// key is one key of a Keyring. The algorithm is a property of the key, so a
// token cannot choose another algorithm.
type key struct {
	id     string
	method jwt.SigningMethod
	sign   any // nil: the key only verifies
	verify any
}

// Keyring holds the keys of access tokens: one key signs new tokens, and every
// key verifies tokens.
type Keyring struct {
	signer *key
	byID   map[string]*key
}

// LoadKeyring reads the keys that the settings name. secrets are HS256 secrets,
// separated by spaces. files are PEM files or folders of PEM files, separated
// by commas, with private or public Ed25519 or RSA keys. The id of a key from a
// file is the name of the file without its extension.
//
// The last private key signs; the files of a folder are read in order of their
// names, so keys that are named by date rotate in the right direction. Without
// a private key, the first secret signs.
func LoadKeyring(secrets, files string) (*Keyring, error) {
	k := &Keyring{byID: map[string]*key{}}
	for _, secret := range strings.Fields(secrets) {
		if len(secret) < MinSecret {
			return nil, fmt.Errorf("a secret has %d bytes, and must have at least %d", len(secret), MinSecret)
		}
		added, err := k.add(&key{id: secretID(secret), method: jwt.SigningMethodHS256, sign: []byte(secret), verify: []byte(secret)})
		if err != nil {
			return nil, err
		}
		if k.signer == nil {
			k.signer = added
		}
	}
	paths, err := keyFiles(files)
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		read, err := readKey(path)
		if err != nil {
			return nil, err
		}
		added, err := k.add(read)
		if err != nil {
			return nil, err
		}
		if added.sign != nil {
			k.signer = added
		}
	}
	if k.signer == nil {
		return nil, errors.New("there is no key to sign with")
	}
	return k, nil
}

func (k *Keyring) add(added *key) (*key, error) {
	if k.byID[added.id] != nil {
		return nil, fmt.Errorf("two keys have the id %q", added.id)
	}
	k.byID[added.id] = added
	return added, nil
}

// secretID returns an id for a secret that reveals nothing about the secret.
func secretID(secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("kid"))
	return hex.EncodeToString(mac.Sum(nil)[:6])
}

// keyFiles lists the files that the setting names. A folder contributes its
// *.pem files in order of their names.
func keyFiles(setting string) ([]string, error) {
	var list []string
	for path := range strings.SplitSeq(setting, ",") {
		if path = strings.TrimSpace(path); path == "" {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("look for key files: %w", err)
		}
		if !info.IsDir() {
			list = append(list, path)
			continue
		}
		found, err := filepath.Glob(filepath.Join(path, "*.pem"))
		if err != nil || len(found) == 0 {
			return nil, fmt.Errorf("there is no *.pem in %s", path)
		}
		slices.Sort(found)
		list = append(list, found...)
	}
	return list, nil
}

func readKey(path string) (*key, error) {
	content, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("read a key: %w", err)
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, fmt.Errorf("%s is not a PEM file", path)
	}
	k := &key{id: strings.TrimSuffix(filepath.Base(path), ".pem")}
	private, public, err := parseKey(block)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err) // the errors of the parsers reveal nothing of a key
	}
	if private != nil {
		k.sign = private
	}
	switch pub := public.(type) {
	case ed25519.PublicKey:
		k.method, k.verify = jwt.SigningMethodEdDSA, pub
	case *rsa.PublicKey:
		if pub.N.BitLen() < minRSABits {
			return nil, fmt.Errorf("%s: the RSA key has %d bits, and must have at least %d", path, pub.N.BitLen(), minRSABits)
		}
		k.method, k.verify = jwt.SigningMethodRS256, pub
	default:
		return nil, fmt.Errorf("%s: want an Ed25519 or RSA key, got %T", path, public)
	}
	return k, nil
}

// parseKey returns a private key and its public key, or a public key alone.
func parseKey(block *pem.Block) (private crypto.Signer, public crypto.PublicKey, err error) {
	var parsed any
	switch block.Type {
	case "PRIVATE KEY":
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "PUBLIC KEY":
		public, err = x509.ParsePKIXPublicKey(block.Bytes)
		return nil, public, err
	default:
		return nil, nil, fmt.Errorf("want PRIVATE KEY or PUBLIC KEY, got %q", block.Type)
	}
	if err != nil {
		return nil, nil, err
	}
	private, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("a %T cannot sign", parsed)
	}
	return private, private.Public(), nil
}
