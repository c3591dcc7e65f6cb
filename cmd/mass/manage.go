package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/leomutto/pilot-in-a-box/internal/config"
	"github.com/leomutto/pilot-in-a-box/store"
)

// manage runs commands on users, API keys and the audit trail directly on the
// database. They need no login: a person with access to the database may do
// everything anyway.
type manage struct {
	in     invocation
	store  *store.Store
	origin store.Origin
}

// verb separates the words before the first flag, which say what to do, from
// the flags.
func verb(args []string) (words, flags []string) {
	for i, a := range args {
		if strings.HasPrefix(a, "-") {
			return args[:i], args[i:]
		}
	}
	return args, nil
}

// openManage connects to the database that the settings name, or else to that
// of a running mass dev.
func openManage(c *config.Config, in invocation) (*manage, error) {
	db := storeConfig(&c.DB, "user")
	db.URL = cmp.Or(db.URL, readDevFile(c.DataDir).DatabaseURL)
	if db.URL == "" {
		return nil, fmt.Errorf("DATABASE_URL is not set, and no mass dev runs in %s", c.DataDir)
	}
	db.MaxOpen, db.MaxIdle, db.ConnLifetime = 2, 1, time.Minute
	st, err := store.Open(db)
	if err != nil {
		return nil, err
	}
	account := cmp.Or(in.getenv("SUDO_USER"), in.getenv("USER"), in.getenv("LOGNAME"), "unknown")
	return &manage{in: in, store: st, origin: store.Origin{Actor: "cli:" + account}}, nil
}

// readPassword asks for a password twice at a terminal, without showing it.
// When standard input is no terminal, its first line is the password. A
// password is never an argument, because every account on the machine could
// read it in the list of processes.
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
	repeated, err := ask("Repeat the password: ")
	if err != nil {
		return "", err
	}
	if repeated != password {
		return "", errors.New("the two passwords differ")
	}
	return password, nil
}
