package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/config"
	"github.com/leomutto/pilot-in-a-box/internal/doctor"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/store"
)

// diagnosis is the answer of mass doctor --json.
type diagnosis struct {
	Verdict  doctor.Level     `json:"verdict"` // the worst of the findings
	Version  string           `json:"version"`
	At       time.Time        `json:"at"`
	Findings []doctor.Finding `json:"findings"`
}

// runDoctor looks at a system and says what is wrong with it. The error, after
// the diagnosis, means that something FAILs.
func runDoctor(ctx context.Context, in invocation) (err error) {
	var asJSON bool
	patience := 5 * time.Second
	c, err := config.Load("doctor", in.args, in.getenv, in.stdout, func(fs *flag.FlagSet) {
		fs.BoolVar(&asJSON, "json", false, "answer for programs")
		fs.DurationVar(&patience, "patience", patience, "how long to wait for answers (default 5s)")
	})
	if err != nil {
		return err
	}
	if patience <= 0 {
		return errors.New("mass doctor: --patience must be above 0")
	}
	findings := settingsOf(c, in.getenv)
	p, cleanup := patientOf(c, patience)
	defer func() { err = errors.Join(err, cleanup()) }()
	findings = append(findings, doctor.Examine(ctx, p)...)

	d := diagnosis{Verdict: doctor.Worst(findings), Version: buildVersion(), At: time.Now().UTC(), Findings: findings}
	if asJSON {
		err = writeDiagnosisJSON(in.stdout, d)
	} else {
		err = writeDiagnosis(in.stdout, d)
	}
	if err == nil && d.Verdict == doctor.Fail {
		err = errors.New("mass doctor: not healthy, see FAIL above")
	}
	return err
}

// settingsOf judges the settings, also those of the other subcommands. Where no
// server is named it takes those of a running mass dev.
func settingsOf(c *config.Config, getenv func(string) string) []doctor.Finding {
	commands := []string{"api", "worker"}
	f := doctor.Finding{Topic: "settings", Level: doctor.OK, Detail: "DATABASE_URL and REDIS_URL are set"}
	if c.DatabaseURL == "" && c.RedisURL == "" {
		info := readDevFile(func(string) string { return c.DataDir })
		if info.PID == 0 {
			return []doctor.Finding{{
				Topic: "settings", Level: doctor.Fail, Detail: "DATABASE_URL and REDIS_URL are not set, and no mass dev runs on " + c.DataDir,
				Advice: "set them, or start mass dev, or name its folder with --data-dir",
			}}
		}
		c.DatabaseURL, c.RedisURL = info.DatabaseURL, info.RedisURL
		commands = []string{"dev"} // which makes a secret of its own
		f.Detail = fmt.Sprintf("those of mass dev at %s (%s, process %d)", info.URL, devFile(c), info.PID)
	}
	var errs []error
	resolved := map[string]string{"DATABASE_URL": c.DatabaseURL, "REDIS_URL": c.RedisURL, "DATABASE_URL_FILE": "", "REDIS_URL_FILE": ""}
	for _, command := range commands {
		_, err := config.Load(command, nil, func(name string) string {
			if value, ok := resolved[name]; ok {
				return value
			}
			return getenv(name)
		}, io.Discard, nil)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		f.Level, f.Advice = doctor.Fail, "docs/configuration.md has the table"
		f.Detail = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return []doctor.Finding{f}
}

// patientOf makes the connections that can be made; the doctor says what is
// wrong with the others.
func patientOf(c *config.Config, patience time.Duration) (p *doctor.Patient, cleanup func() error) {
	p = &doctor.Patient{
		DatabaseURL: c.DatabaseURL, DBMaxConns: c.DBMaxConns, RequestTimeout: c.RequestTimeout,
		SilentAfter: c.SilentAfter, ReconcileGrace: c.ReconcileGrace, Patience: patience,
	}
	var closers []func() error
	st, err := store.Open(store.Config{
		URL: c.DatabaseURL, MaxOpen: 4, MaxIdle: 4,
		ConnectTimeout: c.DBConnectTimeout, StatementTimeout: min(c.DBStatementTimeout, patience), Application: "mass doctor",
	})
	if err == nil {
		p.Store, closers = st, append(closers, st.Close)
	}
	if opt, err := queue.ParseRedisURL(c.RedisURL); err == nil {
		if rdb, err := queue.Dial(opt); err == nil {
			p.RedisOpt, p.Redis, closers = opt, rdb, append(closers, rdb.Close)
		}
	}
	return p, func() error {
		var errs []error
		for _, f := range closers {
			errs = append(errs, f())
		}
		return errors.Join(errs...)
	}
}

func writeDiagnosisJSON(out io.Writer, d diagnosis) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(d)
}

func writeDiagnosis(out io.Writer, d diagnosis) error {
	tw := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	counts := map[doctor.Level]int{}
	for _, f := range d.Findings {
		counts[f.Level]++
		fmt.Fprintf(tw, "%-4s\t%s\t%s\n", f.Level, f.Topic, f.Detail)
		if f.Advice != "" {
			fmt.Fprintf(tw, "\t\t→ %s\n", f.Advice)
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%d ok, %d warn, %d FAIL\n", counts[doctor.OK], counts[doctor.Warn], counts[doctor.Fail])
	return err
}
