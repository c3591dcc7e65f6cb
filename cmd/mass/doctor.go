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

// diagnosis is the output of mass doctor --json.
type diagnosis struct {
	Verdict  doctor.Level     `json:"verdict"` // the worst level of the findings
	Version  string           `json:"version"`
	At       time.Time        `json:"at"`
	Findings []doctor.Finding `json:"findings"`
}

const doctorAbout = `Examines a running system (settings, PostgreSQL, Redis, migrations, workers, queues) and prints what it
finds, with advice. The exit code is 1 if a finding is FAIL. Without DATABASE_URL and REDIS_URL it
examines a running mass dev.`

// runDoctor examines a system and prints what is wrong with it. After the
// diagnosis it returns an error if there is a FAIL.
func runDoctor(ctx context.Context, in invocation) (err error) {
	var asJSON bool
	patience := 5 * time.Second
	c, err := config.Load(config.Command{Name: "doctor", About: doctorAbout, Flags: func(fs *flag.FlagSet) {
		fs.BoolVar(&asJSON, "json", false, "print the diagnosis as JSON")
		fs.DurationVar(&patience, "patience", patience, "how long to wait for answers to each group of questions")
	}}, in.args, in.getenv, in.stdout)
	if err != nil {
		return err
	}
	if patience <= 0 {
		return errors.New("mass doctor: --patience must be above 0")
	}
	development := c.DB.URL == "" && c.Queue.RedisURL == "" // then the settings are those of a running mass dev
	findings := settingsOf(c, in.getenv)
	p, cleanup := patientOf(c, patience)
	p.Development = development
	defer func() { err = errors.Join(err, cleanup()) }()
	findings = append(findings, doctor.Examine(ctx, p)...)

	d := diagnosis{Verdict: doctor.Worst(findings), Version: buildVersion(), At: time.Now().UTC(), Findings: findings}
	if asJSON {
		err = writeDiagnosisJSON(in.stdout, d)
	} else {
		err = writeDiagnosis(in.stdout, d)
	}
	if err == nil && d.Verdict == doctor.Fail {
		err = errors.New("mass doctor: the system is not healthy; see FAIL above")
	}
	return err
}

// settingsOf checks the settings, including those of the API and the workers.
// When they name no servers it fills in those of a running mass dev.
func settingsOf(c *config.Config, getenv func(string) string) []doctor.Finding {
	commands := []string{"api", "worker"}
	f := doctor.Finding{Topic: "settings", Level: doctor.OK, Detail: "DATABASE_URL and REDIS_URL are set"}
	if c.DB.URL == "" && c.Queue.RedisURL == "" {
		info := readDevFile(c.DataDir)
		if info.PID == 0 {
			return []doctor.Finding{{
				Topic: "settings", Level: doctor.Fail, Detail: "DATABASE_URL and REDIS_URL are not set, and no mass dev runs in " + c.DataDir,
				Advice: "set them, or start mass dev, or name its directory with --data-dir",
			}}
		}
		c.DB.URL, c.Queue.RedisURL = info.DatabaseURL, info.RedisURL
		commands = []string{"dev"} // mass dev makes its own secret for access tokens
		f.Detail = fmt.Sprintf("taken from mass dev at %s (%s, process %d)", info.URL, devFile(c.DataDir), info.PID)
	}
	var errs []error
	resolved := map[string]string{"DATABASE_URL": c.DB.URL, "REDIS_URL": c.Queue.RedisURL, "DATABASE_URL_FILE": "", "REDIS_URL_FILE": ""}
	for _, command := range commands {
		_, err := config.Load(config.Command{Name: command}, nil, func(name string) string {
			if value, ok := resolved[name]; ok {
				return value
			}
			return getenv(name)
		}, io.Discard)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		f.Level, f.Advice = doctor.Fail, "see docs/configuration.md for all settings"
		f.Detail = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return []doctor.Finding{f}
}

// patientOf opens the connections that can be opened. The doctor reports what
// is wrong with the others.
func patientOf(c *config.Config, patience time.Duration) (p *doctor.Patient, cleanup func() error) {
	p = &doctor.Patient{
		DatabaseURL:    c.DB.URL,
		DBMaxConns:     c.DB.MaxConns,
		RequestTimeout: c.Worker.RequestTimeout,
		SilentAfter:    c.Worker.Reconcile.SilentAfter,
		ReconcileGrace: c.Worker.Reconcile.Grace,
		Patience:       patience,
	}
	var closers []func() error
	db := storeConfig(&c.DB, "doctor")
	db.MaxOpen, db.MaxIdle = 4, 4
	db.StatementTimeout = min(db.StatementTimeout, patience)
	if st, err := store.Open(db); err == nil {
		p.Store, closers = st, append(closers, st.Close)
	}
	if p.RedisAddr, p.RedisError = redisAddress(&c.Queue); p.RedisError == nil {
		if rdb, err := queue.Dial(p.RedisAddr); err == nil {
			p.Redis, closers = rdb, append(closers, rdb.Close)
		} else {
			p.RedisError = err
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
