package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/config"
	"github.com/leomutto/pilot-in-a-box/migrations"
)

// runMigrate changes the database schema, or shows its state.
func runMigrate(ctx context.Context, in invocation) error {
	direction := ""
	args := in.args
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		direction, args = args[0], args[1:]
	}
	steps := 1
	c, err := config.Load(config.Command{
		Name: "migrate", Usage: "up|down|status [flags]",
		About: "up applies all pending migrations, down reverts the latest ones, status lists all of them.",
		Flags: func(fs *flag.FlagSet) {
			fs.IntVar(&steps, "steps", 1, "with down: number of migrations to revert")
		},
	}, args, in.getenv, in.stdout)
	if err != nil {
		return err
	}
	switch direction {
	case "up":
		n, err := migrations.Up(ctx, c.DB.Direct())
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(in.stdout, "%d migrations applied\n", n)
		return err
	case "down":
		if steps < 1 {
			return errors.New("mass migrate down: --steps must be at least 1")
		}
		n, err := migrations.Down(ctx, c.DB.Direct(), steps)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(in.stdout, "%d migrations reverted\n", n)
		return err
	case "status":
		return migrationStatus(ctx, c.DB.Direct(), in.stdout)
	}
	return fmt.Errorf("mass migrate: want up, down or status, not %q", direction)
}

func migrationStatus(ctx context.Context, databaseURL string, out io.Writer) error {
	list, err := migrations.Status(ctx, databaseURL)
	if err != nil {
		return err
	}
	tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, m := range list {
		state := "pending"
		if !m.AppliedAt.IsZero() {
			state = "applied " + m.AppliedAt.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(tw, "%s\t%s\n", m.ID, state)
	}
	return tw.Flush()
}
