package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/config"
	"github.com/leomutto/pilot-in-a-box/store"
)

const userUsage = "want add EMAIL, list, role EMAIL, passwd EMAIL, disable EMAIL or enable EMAIL"

const userAbout = `Manages the people who may log in, directly in the database:

  add EMAIL [--role ROLE]   create a user and set the password
  list                      list all users
  role EMAIL --role ROLE    change a user's role
  passwd EMAIL              set a new password and end the user's logins
  disable EMAIL             lock a user out
  enable EMAIL              let a disabled user log in again

Passwords are read from the terminal, or from the first line of standard input.
Without DATABASE_URL the users are those of a running mass dev.`

// runUser manages users. It works without an API and without a login.
func runUser(ctx context.Context, in invocation) (err error) {
	words, flags := verb(in.args)
	var roleName string
	c, err := config.Load(config.Command{
		Name: "user", Usage: "VERB [EMAIL] [flags]", About: userAbout,
		Flags: func(fs *flag.FlagSet) {
			fs.StringVar(&roleName, "role", "", "with add and role: viewer, operator or admin; add without it makes a viewer")
		},
	}, flags, in.getenv, in.stdout)
	if err != nil {
		return err
	}
	role := auth.Viewer
	if roleName != "" {
		if role, err = auth.ParseRole(roleName); err != nil {
			return fmt.Errorf("mass user: --role: %w", err)
		}
	}
	if len(words) == 0 || words[0] != "list" && len(words) != 2 || words[0] == "list" && len(words) != 1 {
		return errors.New("mass user: " + userUsage)
	}
	m, err := openManage(c, in)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.store.Close()) }()
	switch words[0] {
	case "list":
		return m.listUsers(ctx)
	case "add":
		return m.addUser(ctx, words[1], role)
	case "role":
		if roleName == "" {
			return errors.New("mass user role: --role is missing")
		}
		return m.changeUser(ctx, words[1], store.UserChange{Role: &role})
	case "passwd":
		return m.setPassword(ctx, words[1])
	case "disable", "enable":
		disabled := words[0] == "disable"
		return m.changeUser(ctx, words[1], store.UserChange{Disabled: &disabled})
	}
	return fmt.Errorf("mass user: %q: %s", words[0], userUsage)
}

func (m *manage) addUser(ctx context.Context, email string, role auth.Role) error {
	email, err := auth.ParseEmail(email)
	if err != nil {
		return fmt.Errorf("the e-mail address %w", err)
	}
	hash, err := m.newHash(ctx)
	if err != nil {
		return err
	}
	u, err := m.store.AddUser(ctx, email, role, hash, m.origin)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(m.in.stdout, "user %d: %s, %s\n", u.ID, u.Email, u.Role)
	return err
}

func (m *manage) newHash(ctx context.Context) (string, error) {
	password, err := readPassword(m.in)
	if err != nil {
		return "", err
	}
	return auth.HashPassword(ctx, password)
}

func (m *manage) setPassword(ctx context.Context, email string) error {
	u, err := m.user(ctx, email)
	if err != nil {
		return err
	}
	hash, err := m.newHash(ctx)
	if err != nil {
		return err
	}
	_, remaining, err := m.store.SetPassword(ctx, u.ID, hash, m.origin)
	if err != nil {
		return err
	}
	fmt.Fprintf(m.in.stdout, "%s has a new password; all logins with the old one are logged out\n", u.Email)
	return m.printKeys("These API keys of the user go on. If the old password was stolen, revoke those that the user did not create:", remaining)
}

func (m *manage) changeUser(ctx context.Context, email string, c store.UserChange) error {
	u, err := m.user(ctx, email)
	if err != nil {
		return err
	}
	changed, err := m.store.ChangeUser(ctx, u.ID, c, m.origin)
	if err != nil {
		return err
	}
	state := "enabled"
	if changed.Disabled() {
		state = "disabled"
	}
	fmt.Fprintf(m.in.stdout, "user %d: %s, %s, %s\n", changed.ID, changed.Email, changed.Role, state)
	return errors.Join(
		m.printKeys("These API keys end with the user. To keep one, run mass key adopt ID:", changed.Ended),
		m.printKeys("These API keys may do no more than the user from now on:", changed.Limited),
	)
}

func (m *manage) user(ctx context.Context, email string) (store.User, error) {
	parsed, err := auth.ParseEmail(email)
	if err != nil {
		return store.User{}, fmt.Errorf("the e-mail address %w", err)
	}
	u, err := m.store.UserByEmail(ctx, parsed)
	if errors.Is(err, store.ErrNotFound) {
		return u, fmt.Errorf("there is no user %s", parsed)
	}
	return u, err
}

func (m *manage) listUsers(ctx context.Context) error {
	tw := tabwriter.NewWriter(m.in.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ID\tE-MAIL\tROLE\tLAST LOGIN\tDISABLED")
	for after := int64(0); ; {
		list, err := m.store.Users(ctx, after, pageLength)
		if err != nil {
			return err
		}
		for _, u := range list {
			fmt.Fprintf(tw, "%d\t%s\t%s\t%s\t%s\n", u.ID, u.Email, u.Role, formatTime(u.LastLoginAt, "never"), formatTime(u.DisabledAt, ""))
			after = u.ID
		}
		if len(list) < pageLength {
			return tw.Flush()
		}
	}
}

// pageLength is the number of rows that a list reads at once.
const pageLength = 500

// formatTime formats a time that may be missing.
func formatTime(t time.Time, missing string) string {
	if t.IsZero() {
		return missing
	}
	return t.Format(time.RFC3339)
}
