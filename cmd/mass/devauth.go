package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/config"
	"github.com/leomutto/pilot-in-a-box/store"
)

const (
	devAdmin      = "admin@localhost"
	secretFile    = "auth.secret"
	passwordFile  = "admin.password"
	devOriginName = "mass dev"
)

// devAccess holds the credentials of a development system.
type devAccess struct {
	password string // of devAdmin; "" when another program set it
	token    string // API key of an admin
}

// devSecret creates the secret that signs access tokens at the first start, and
// stores it so that logins survive a restart.
func devSecret(c *config.Config) error {
	if c.Auth.Off() || c.Auth.Secret != "" || c.Auth.Keys != "" {
		return nil
	}
	secret, err := storedSecret(c, secretFile)
	c.Auth.Secret = secret
	return err
}

// devLogin makes sure that there is an admin, and replaces the API key of the
// previous run by a new one.
func devLogin(ctx context.Context, st *store.Store, c *config.Config) (a devAccess, err error) {
	by := store.Origin{Actor: devOriginName}
	if _, err = st.UserByEmail(ctx, devAdmin); errors.Is(err, store.ErrNotFound) {
		a.password, err = addDevAdmin(ctx, st, c, by)
	} else if err == nil {
		a.password, err = firstPassword(c)
	}
	if err != nil {
		return a, err
	}
	// Several development systems may share a database, so the name of a key
	// includes the directory of its system.
	dir, err := filepath.Abs(c.DataDir)
	if err != nil {
		return a, fmt.Errorf("find the data directory: %w", err)
	}
	name := devOriginName + " " + tail(dir, 80)
	if err := st.RevokeAPIKeysNamed(ctx, name, by); err != nil {
		return a, err
	}
	a.token, err = addKey(ctx, st, store.NewAPIKey{Name: name, Role: auth.Admin}, by)
	return a, err
}

func addDevAdmin(ctx context.Context, st *store.Store, c *config.Config, by store.Origin) (password string, err error) {
	if password, err = storedSecret(c, passwordFile); err != nil {
		return "", err
	}
	hash, err := auth.HashPassword(ctx, password)
	if err != nil {
		return "", err
	}
	_, err = st.AddUser(ctx, devAdmin, auth.Admin, hash, by)
	return password, err
}

// firstPassword returns the password that devLogin gave the admin; "" when this
// system did not create the admin.
func firstPassword(c *config.Config) (string, error) {
	content, err := os.ReadFile(filepath.Join(c.DataDir, passwordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the admin's password: %w", err)
	}
	return strings.TrimSpace(string(content)), nil
}

// storedSecret returns the secret in a file of the data directory. It creates
// the file when there is none.
func storedSecret(c *config.Config, name string) (string, error) {
	path := filepath.Join(c.DataDir, name)
	content, err := os.ReadFile(path) //nolint:gosec // the operator names the directory
	switch {
	case err == nil && len(strings.TrimSpace(string(content))) > 0:
		return strings.TrimSpace(string(content)), nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	secret := rand.Text() + rand.Text() // 260 bits, in 52 letters and digits
	if name == passwordFile {
		secret = secret[:24]
	}
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	return secret, nil
}

// tail returns the last n characters of s, or all if there are fewer.
func tail(s string, n int) string {
	runes := []rune(s)
	return string(runes[max(0, len(runes)-n):])
}
