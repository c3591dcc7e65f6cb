package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/leomutto/pilot-in-a-box/internal/access"
	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/config"
	"github.com/leomutto/pilot-in-a-box/store"
)

// authConfig is how the API knows its callers.
func authConfig(c *config.Config, log *slog.Logger) (access.Config, error) {
	if c.Auth == "off" {
		log.Warn("MASS_AUTH is off: everybody who reaches this process is an admin", "at", c.Addr)
		return access.Config{Off: true}, nil
	}
	keys, err := auth.LoadKeyring(c.AuthSecret, c.AuthKeys)
	if err != nil {
		return access.Config{}, fmt.Errorf("read the keys that sign tokens: %w", err)
	}
	return access.Config{
		Tokens:     auth.NewTokens(auth.TokenConfig{Keys: keys, Issuer: c.AuthIssuer, Audience: c.AuthAudience, TTL: c.AccessTTL}),
		RefreshTTL: c.RefreshTTL, SessionTTL: c.SessionTTL, SessionIdle: c.SessionIdle,
	}, nil
}

// manage is a command on users or keys, straight on the database: whoever can
// open that may do everything.
type manage struct {
	in     invocation
	store  *store.Store
	origin store.Origin
}

// verb takes what to do and the words that go with it apart from the flags.
func verb(args []string) (words, flags []string) {
	for i, a := range args {
		if strings.HasPrefix(a, "-") {
			return args[:i], args[i:]
		}
	}
	return args, nil
}

// openManage connects to the database of the settings, else to that of a running mass dev.
func openManage(c *config.Config, in invocation) (*manage, error) {
	url := cmp.Or(c.DatabaseURL, readDevFile(func(string) string { return c.DataDir }).DatabaseURL)
	if url == "" {
		return nil, fmt.Errorf("DATABASE_URL is not set, and no mass dev runs on %s", c.DataDir)
	}
	st, err := store.Open(store.Config{
		URL: url, MaxOpen: 2, MaxIdle: 1, ConnLifetime: time.Minute,
		ConnectTimeout: c.DBConnectTimeout, StatementTimeout: c.DBStatementTimeout, Application: "mass user",
	})
	if err != nil {
		return nil, err
	}
	account := cmp.Or(in.getenv("SUDO_USER"), in.getenv("USER"), in.getenv("LOGNAME"), "unknown")
	return &manage{in: in, store: st, origin: store.Origin{Actor: "cli:" + account}}, nil
}

// readPassword asks for a password at a terminal, twice and without showing it,
// and else takes the first line of standard input. It is never an argument:
// everybody on the machine could read it in the list of processes.
func readPassword(in invocation) (string, error) {
	file, ok := in.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		raw, err := io.ReadAll(io.LimitReader(in.stdin, 4096))
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		line, _, _ := strings.Cut(string(raw), "\n")
		return strings.TrimSuffix(line, "\r"), nil
	}
	ask := func(prompt string) (string, error) {
		fmt.Fprint(in.stderr, prompt)
		raw, err := term.ReadPassword(int(file.Fd()))
		fmt.Fprintln(in.stderr)
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		return string(raw), nil
	}
	password, err := ask("Password: ")
	if err != nil {
		return "", err
	}
	again, err := ask("Again: ")
	if err != nil {
		return "", err
	}
	if again != password {
		return "", errors.New("the two passwords differ")
	}
	return password, nil
}
