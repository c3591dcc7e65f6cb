package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/config"
	"github.com/leomutto/pilot-in-a-box/store"
)

const keyUsage = "want add NAME --role ROLE, list, adopt ID, or revoke ID"

const keyAbout = `Manages API keys for machines, directly in the database:

  add NAME --role ROLE   create a key and print it; it is never shown again
  list                   list all keys, without the secret part
  adopt ID               take a key over from its owner, so that it no longer depends on a user or another key
  revoke ID              make a key invalid, and with it the keys that it created

Without DATABASE_URL the keys are those of a running mass dev.`

// runKey manages API keys. It works without an API and without a login.
func runKey(ctx context.Context, in invocation) (err error) {
	words, flags := verb(in.args)
	var roleName, expires string
	c, err := config.Load(config.Command{
		Name: "key", Usage: "VERB [NAME|ID] [flags]", About: keyAbout,
		Flags: func(fs *flag.FlagSet) {
			fs.StringVar(&roleName, "role", "", "with add: viewer, operator or admin")
			fs.StringVar(&expires, "expires", "", "with add: when the key ends, as a duration from now such as 2160h or as a time such as 2027-03-01T00:00:00Z")
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
		until, err := parseExpiry(expires, time.Now(), c.Auth.KeyMaxAge)
		if err != nil {
			return fmt.Errorf("mass key add: --expires: %w", err)
		}
		key, err := addKey(ctx, m.store, store.NewAPIKey{Name: words[1], Role: role, ExpiresAt: until}, m.origin)
		if err != nil {
			return err
		}
		fmt.Fprintln(m.in.stderr, "Keep this key; it is not shown again:")
		_, err = fmt.Fprintln(m.in.stdout, key) // nothing else, so that a script can store it
		return err
	case "adopt", "revoke":
		id, err := strconv.ParseInt(words[1], 10, 64)
		if err != nil {
			return fmt.Errorf("mass key %s: %q is not the id of a key", words[0], words[1])
		}
		end := m.adoptKey
		if words[0] == "revoke" {
			end = m.revokeKey
		}
		if err := end(ctx, id); errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("there is no API key %d", id)
		} else if err != nil {
			return err
		}
		return nil
	}
	return fmt.Errorf("mass key: %q: %s", words[0], keyUsage)
}

// adoptKey makes a key one of the command line.
func (m *manage) adoptKey(ctx context.Context, id int64) error {
	k, dependents, err := m.store.AdoptAPIKey(ctx, id, auth.Identity{}, m.origin)
	if err != nil {
		return err
	}
	fmt.Fprintf(m.in.stdout, "API key %d (%s) no longer depends on a user or another key; it acts as %s until it is revoked or expires\n", k.ID, k.Name, k.Standing.Role)
	return m.printKeys("These keys, which it created, act with it:", dependents)
}

func (m *manage) revokeKey(ctx context.Context, id int64) error {
	ended, err := m.store.RevokeAPIKey(ctx, id, m.origin)
	if err != nil {
		return err
	}
	fmt.Fprintf(m.in.stdout, "API key %d is revoked; a running API refuses it within seconds\n", id)
	return m.printKeys("These keys, which it created, end with it. To keep one, run mass key adopt ID:", ended)
}

// printKeys prints a list of keys under a heading, unless it is empty.
func (m *manage) printKeys(heading string, list []store.KeyRef) error {
	if len(list) == 0 {
		return nil
	}
	for _, k := range list {
		heading += fmt.Sprintf("\n  %v", k)
	}
	_, err := fmt.Fprintln(m.in.stdout, heading)
	return err
}

// parseExpiry reads when a key ends: a duration from now, or a time. "" means
// never, unless keys have a longest life.
func parseExpiry(text string, now time.Time, most time.Duration) (time.Time, error) {
	var at time.Time
	if text != "" {
		if after, err := time.ParseDuration(text); err == nil {
			at = now.Add(after)
		} else if at, err = time.Parse(time.RFC3339, text); err != nil {
			return at, fmt.Errorf("%q is neither a duration such as 2160h nor a time such as 2027-03-01T00:00:00Z", text)
		}
	}
	return auth.KeyExpiry(now, at, most)
}

// addKey creates an API key and returns it in the form that clients send.
func addKey(ctx context.Context, st *store.Store, n store.NewAPIKey, by store.Origin) (string, error) {
	secret := auth.NewKeySecret()
	var err error
	if n.Name, err = auth.ParseKeyName(n.Name); err != nil {
		return "", fmt.Errorf("the name of an API key %w", err)
	}
	n.SecretHash = auth.Digest(secret)
	k, err := st.AddAPIKey(ctx, n, by)
	if err != nil {
		return "", err
	}
	return auth.FormatAPIKey(k.ID, secret), nil
}

func (m *manage) listKeys(ctx context.Context) error {
	tw := tabwriter.NewWriter(m.in.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join([]string{"ID", "NAME", "ROLE", "MADE BY", "OWNER", "LAST USED", "EXPIRES", "REVOKED", "STATE"}, "\t"))
	for after := int64(0); ; {
		list, err := m.store.APIKeys(ctx, after, pageLength)
		if err != nil {
			return err
		}
		for _, k := range list {
			state := cmp.Or(k.Standing.Reason(), "acts as "+string(k.Standing.Role))
			fmt.Fprintf(tw, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Name, k.Role, k.CreatedBy, cmp.Or(k.Owner, "command line"),
				formatTime(k.LastUsedAt, "never"), formatTime(k.ExpiresAt, "never"), formatTime(k.RevokedAt, ""), state)
			after = k.ID
		}
		if len(list) < pageLength {
			return tw.Flush()
		}
	}
}
