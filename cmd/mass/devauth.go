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

// devAccess is how a person and a script get into a development system.
type devAccess struct {
	password string // of devAdmin; "" when somebody else knows it
	token    string // an admin's API key
}

// devSecret makes a secret at the first start and keeps it, so that logins
// outlive a restart.
func devSecret(c *config.Config) error {
	if c.Auth == "off" || c.AuthSecret != "" || c.AuthKeys != "" {
		return nil
	}
	secret, err := kept(c, secretFile)
	c.AuthSecret = secret
	return err
}

// devLogin sees to it that there is an admin, and makes the key of this run in
// the place of the former one's.
func devLogin(ctx context.Context, st *store.Store, c *config.Config) (a devAccess, err error) {
	by := store.Origin{Actor: devOriginName}
	if _, err = st.UserByEmail(ctx, devAdmin); errors.Is(err, store.ErrNotFound) {
		a.password, err = addDevAdmin(ctx, st, c, by)
	} else if err == nil {
		a.password, err = keptPassword(c)
	}
	if err != nil {
		return a, err
	}
	// Other systems may use the same database, so the name says whose key it is.
	dir, err := filepath.Abs(c.DataDir)
	if err != nil {
		return a, fmt.Errorf("find the data folder: %w", err)
	}
	name := devOriginName + " " + tail(dir, 80)
	if err := st.RevokeAPIKeysNamed(ctx, name, by); err != nil {
		return a, err
	}
	a.token, err = addKey(ctx, st, name, auth.Admin, by)
	return a, err
}

func addDevAdmin(ctx context.Context, st *store.Store, c *config.Config, by store.Origin) (password string, err error) {
	if password, err = kept(c, passwordFile); err != nil {
		return "", err
	}
	hash, err := auth.HashPassword(ctx, password)
	if err != nil {
		return "", err
	}
	_, err = st.AddUser(ctx, devAdmin, auth.Admin, hash, by)
	return password, err
}

// keptPassword is the admin's first one; "" when it was not made here.
func keptPassword(c *config.Config) (string, error) {
	content, err := os.ReadFile(filepath.Join(c.DataDir, passwordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the admin's password: %w", err)
	}
	return strings.TrimSpace(string(content)), nil
}

// kept returns the secret in a file of the data folder, which it makes when it is not there.
func kept(c *config.Config, name string) (string, error) {
	path := filepath.Join(c.DataDir, name)
	content, err := os.ReadFile(path) //nolint:gosec // the operator names the folder
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
		return "", fmt.Errorf("keep %s: %w", name, err)
	}
	return secret, nil
}

// tail returns the last n characters at most.
func tail(s string, n int) string {
	runes := []rune(s)
	return string(runes[max(0, len(runes)-n):])
}
