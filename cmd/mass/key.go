package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/config"
	"github.com/leomutto/pilot-in-a-box/store"
)

const keyUsage = "want add NAME --role ROLE, list, or revoke ID"

const keyAbout = `Manages API keys for machines, directly in the database:

  add NAME --role ROLE   create a key and print it; it is never shown again
  list                   list all keys, without the secret part
  revoke ID              make a key invalid

Without DATABASE_URL the keys are those of a running mass dev.`

// runKey manages API keys. It works without an API and without a login.
func runKey(ctx context.Context, in invocation) (err error) {
	words, flags := verb(in.args)
	var roleName string
	c, err := config.Load(config.Command{
		Name: "key", Usage: "VERB [NAME|ID] [flags]", About: keyAbout,
		Flags: func(fs *flag.FlagSet) {
			fs.StringVar(&roleName, "role", "", "with add: viewer, operator or admin")
		},
	}, flags, in.getenv, in.stdout)
	if err != nil {
		return err
	}
	if len(words) == 0 || words[0] != "list" && len(words) != 2 || words[0] == "list" && len(words) != 1 {
		return errors.New("mass key: " + keyUsage)
	}
	m, err := openManage(c, in)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.store.Close()) }()
	switch words[0] {
	case "list":
		return m.listKeys(ctx)
	case "add":
		role, err := auth.ParseRole(roleName)
		if err != nil {
			return fmt.Errorf("mass key add: --role: %w", err)
		}
		key, err := addKey(ctx, m.store, words[1], role, m.origin)
		if err != nil {
			return err
		}
		fmt.Fprintln(m.in.stderr, "Keep this key; it is not shown again:")
		_, err = fmt.Fprintln(m.in.stdout, key) // nothing else, so that a script can store it
		return err
	case "revoke":
		id, err := strconv.ParseInt(words[1], 10, 64)
		if err != nil {
			return fmt.Errorf("mass key revoke: %q is not the id of a key", words[1])
		}
		if err := m.store.RevokeAPIKey(ctx, id, m.origin); errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("there is no API key %d", id)
		} else if err != nil {
			return err
		}
		_, err = fmt.Fprintf(m.in.stdout, "API key %d is revoked; a running API refuses it within seconds\n", id)
		return err
	}
	return fmt.Errorf("mass key: %q: %s", words[0], keyUsage)
}

// addKey creates an API key and returns it in the form that clients send.
func addKey(ctx context.Context, st *store.Store, name string, role auth.Role, by store.Origin) (string, error) {
	secret := auth.NewKeySecret()
	name, err := auth.ParseKeyName(name)
	if err != nil {
		return "", fmt.Errorf("the name of an API key %w", err)
	}
	k, err := st.AddAPIKey(ctx, name, role, auth.Digest(secret), by)
	if err != nil {
		return "", err
	}
	return auth.FormatAPIKey(k.ID, secret), nil
}

func (m *manage) listKeys(ctx context.Context) error {
	tw := tabwriter.NewWriter(m.in.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join([]string{"ID", "NAME", "ROLE", "MADE BY", "LAST USED", "REVOKED"}, "\t"))
	for after := int64(0); ; {
		list, err := m.store.APIKeys(ctx, after, pageLength)
		if err != nil {
			return err
		}
		for _, k := range list {
			fmt.Fprintf(tw, "%d\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Name, k.Role, k.CreatedBy, formatTime(k.LastUsedAt, "never"), formatTime(k.RevokedAt, ""))
			after = k.ID
		}
		if len(list) < pageLength {
			return tw.Flush()
		}
	}
}
