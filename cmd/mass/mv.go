package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
	_ "time/tzdata" // zones by name on machines without a database of them

	"github.com/leomutto/pilot-in-a-box/internal/mv"
	"github.com/leomutto/pilot-in-a-box/internal/report"
)

// The exit codes of mass mv beyond 0 (fine) and 1 (could not run).
const (
	exitWarned  = 3
	exitRefused = 4
	exitDiffers = 5
)

// mvOutcome ends mass mv with a separate exit code after the result was
// printed.
type mvOutcome struct {
	text string
	code int
}

func (o *mvOutcome) Error() string { return o.text }

// ExitCode returns the exit code of the process.
func (o *mvOutcome) ExitCode() int { return o.code }

// mvFlags holds the flags of mass mv.
type mvFlags struct {
	plan     mv.Plan
	data     string
	planFile string
	report   string
	out      string
	rows     string
	pdf      string
	plots    string
	printed  report.Options
	asJSON   bool

	baseline, reporting, drivers string
	expected                     float64
}

// runMV computes savings from files, without any server.
func runMV(_ context.Context, in invocation) error {
	words, args := verb(in.args)
	if len(words) != 1 || !strings.Contains(" fit plan report verify ", " "+words[0]+" ") {
		if len(words) == 0 && len(args) > 0 {
			return newMVFlags(&mvFlags{}, "fit, plan, report or verify", in.stdout).Parse(args)
		}
		return errors.New("mass mv: want fit, plan, report or verify; see mass mv --help")
	}
	f := &mvFlags{}
	fs := newMVFlags(f, words[0], in.stdout)
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("mass mv %s: unexpected argument %q", words[0], fs.Arg(0))
	}
	if f.data == "" {
		return fmt.Errorf("mass mv %s: --data names the CSV file and is required", words[0])
	}
	if words[0] == "verify" {
		return f.verify(in)
	}
	if err := f.complete(fs, words[0]); err != nil {
		return fmt.Errorf("mass mv %s: %w", words[0], err)
	}
	if words[0] == "plan" {
		return f.freeze(in)
	}
	if words[0] == "fit" {
		f.plan.Reporting = mv.Period{}
	}
	result, err := analyzeFile(f.data, f.plan)
	if err != nil {
		return fmt.Errorf("mass mv %s: %w", words[0], err)
	}
	return f.print(in, result)
}

func newMVFlags(f *mvFlags, command string, out io.Writer) *flag.FlagSet {
	fs := flag.NewFlagSet("mass mv "+command, flag.ContinueOnError)
	fs.SetOutput(out)
	p, l := &f.plan, &f.plan.Layout
	fs.StringVar(&f.data, "data", "", "CSV `file` with a header line and one row per interval")
	fs.StringVar(&f.planFile, "plan", "", "`file` with a plan made by mass mv plan; it replaces all flags on columns, periods and models")
	fs.StringVar(&f.report, "report", "", "verify: `file` with the JSON of a report")
	fs.StringVar(&f.out, "out", "", "write the JSON to this `file` too")
	fs.StringVar(&f.rows, "rows", "", "fit and report: write load, prediction and residual of every row to this CSV `file`")
	fs.StringVar(&f.pdf, "pdf", "", "fit and report: write the report as PDF to this `file`")
	fs.StringVar(&f.plots, "plots", "", "fit and report: write the plots of the report as SVG files into this `directory`")
	fs.StringVar(&f.printed.Language, "lang", "en", "language of the PDF and the plots: en or es")
	fs.StringVar(&f.printed.Paper, "paper", "A4", "paper of the PDF: A4 or letter")
	fs.BoolVar(&f.asJSON, "json", false, "print the result as JSON instead of the summary")
	fs.StringVar(&l.Time, "time", "time", "`column` of the time stamps")
	fs.StringVar(&l.Load, "load", "load", "`column` of the load of the facility")
	fs.StringVar(&l.LoadUnit, "load-unit", "", "`unit` of the load: Wh, kWh, MWh (energy of the interval), W, kW or MW (mean power); required")
	fs.StringVar(&l.Temperature, "temperature", "", "`column` of the outdoor dry-bulb temperature")
	fs.StringVar(&l.WetBulb, "wet-bulb", "", "`column` of the outdoor wet-bulb temperature")
	fs.StringVar(&l.Humidity, "humidity", "", "`column` of the relative humidity in percent; with --temperature it gives the wet-bulb temperature")
	fs.StringVar(&l.TempUnit, "temp-unit", "", "`unit` of the temperatures: C or F; required with a temperature")
	fs.StringVar(&l.IT, "it", "", "`column` of the IT load")
	fs.StringVar(&l.ITUnit, "it-unit", "", "`unit` of the IT load; default is that of the load")
	fs.StringVar(&f.drivers, "drivers", "", "`columns` of further drivers, separated by commas")
	fs.StringVar(&l.Hours, "hours", "", "`column` of the hours that each row covers, for months with gaps")
	fs.StringVar(&l.Stamp, "stamp", "", "start or end: which end of its interval a time stamp marks; required unless the stamps are dates")
	fs.StringVar(&l.Zone, "zone", "", "time `zone` of the site, such as America/Chicago; required unless the stamps are dates")
	fs.BoolVar(&l.ZeroMissing, "zero-missing", false, "a load of zero counts as missing")
	fs.BoolVar(&p.Daily, "daily", false, "sum shorter rows into local calendar days first")
	fs.StringVar(&f.baseline, "baseline", "", "`from/to` of the baseline, such as 2024-01-01/2025-01-01; the end is not included")
	fs.StringVar(&f.reporting, "reporting", "", "`from/to` of the reporting period")
	fs.StringVar((*string)(&p.Target), "target", "", "facility or overhead (facility less IT); default is overhead where --it is given")
	fs.StringVar(&p.Model, "model", mv.Auto, "auto, or a `model`: mean, T, 3PC, 3PH, 4P, 5P, TOWT, IT, IT+WetBulb, or one with drivers such as 3PC+IT")
	fs.Float64Var(&p.Confidence, "confidence", 0.90, "confidence of the claim: 0.68, 0.80, 0.90 or 0.95")
	fs.Uint64Var(&p.Seed, "seed", 1, "seed of the bootstrap")
	fs.Float64Var(&f.expected, "expected", 0, "expected saving as a share of the load, such as 0.1; the outlook says how long it takes to show it")
	fs.StringVar(&p.WithoutITReason, "without-it-reason", "", "why a model without the IT load is right although there is an IT meter")
	fs.StringVar(&p.Title, "title", "", "title of the plan")
	fs.StringVar(&p.Measure, "measure", "", "what is done to save energy")
	fs.StringVar(&p.Boundary, "boundary", "", "boundary of the measurement")
	fs.StringVar(&p.Option, "option", "", "IPMVP option: A, B, C or D")
	return fs
}

// complete reads the plan file, or the flags that are not plain values.
func (f *mvFlags) complete(fs *flag.FlagSet, command string) error {
	if f.planFile != "" {
		return f.readPlan(fs)
	}
	l := &f.plan.Layout
	if f.drivers != "" {
		for _, d := range strings.Split(f.drivers, ",") {
			l.Drivers = append(l.Drivers, strings.TrimSpace(d))
		}
	}
	zone, err := loadZone(l.Zone)
	if err != nil {
		return err
	}
	if f.baseline == "" {
		return errors.New("--baseline is required")
	}
	if f.plan.Baseline, err = period(f.baseline, zone); err != nil {
		return fmt.Errorf("--baseline: %w", err)
	}
	if f.reporting != "" {
		if f.plan.Reporting, err = period(f.reporting, zone); err != nil {
			return fmt.Errorf("--reporting: %w", err)
		}
	} else if command == "report" {
		return errors.New("--reporting is required")
	}
	if f.expected != 0 {
		f.plan.ExpectedFraction = &f.expected
	}
	return nil
}

func (f *mvFlags) readPlan(fs *flag.FlagSet) error {
	var extra []string
	fs.Visit(func(g *flag.Flag) {
		if !strings.Contains(" data plan report out rows pdf plots lang paper json ", " "+g.Name+" ") {
			extra = append(extra, "--"+g.Name)
		}
	})
	if len(extra) > 0 {
		return fmt.Errorf("%s cannot be combined with --plan: the plan decides", strings.Join(extra, ", "))
	}
	f.plan = mv.Plan{}
	return readJSON(f.planFile, &f.plan)
}

func readJSON(path string, into any) error {
	b, err := os.ReadFile(path) //nolint:gosec // the file that the user named
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// loadZone loads a time zone. Without a name it returns UTC.
func loadZone(name string) (*time.Location, error) {
	if name == "" {
		return time.UTC, nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("--zone: %q is not a time zone", name)
	}
	return zone, nil
}

// period reads "from/to", each a date or a local time.
func period(text string, zone *time.Location) (mv.Period, error) {
	from, to, ok := strings.Cut(text, "/")
	if !ok {
		return mv.Period{}, fmt.Errorf("%q is not of the form from/to", text)
	}
	var p mv.Period
	for _, end := range []struct {
		text string
		into *time.Time
	}{{from, &p.From}, {to, &p.To}} {
		var err error
		for _, layout := range []string{"2006-01-02", "2006-01", "2006-01-02T15:04"} {
			if *end.into, err = time.ParseInLocation(layout, end.text, zone); err == nil {
				break
			}
		}
		if err != nil {
			return p, fmt.Errorf("%q is not a date such as 2024-01-31", end.text)
		}
	}
	return p, nil
}

// readTable reads the file according to the layout in the plan.
func readTable(path string, plan *mv.Plan) (*mv.Table, []mv.Finding, error) {
	layout := plan.Layout
	if layout.Zone != "" {
		zone, err := loadZone(layout.Zone)
		if err != nil {
			return nil, nil, err
		}
		layout.Location = zone
	}
	b, err := os.ReadFile(path) //nolint:gosec // the file that the user named
	if err != nil {
		return nil, nil, err
	}
	return mv.ReadCSV(b, layout)
}

// analyzeFile computes the result of a plan. A file that must be refused gives
// a result that says so.
func analyzeFile(path string, plan mv.Plan) (*mv.Result, error) {
	software := "mass " + buildVersion()
	table, findings, err := readTable(path, &plan)
	var refused *mv.Refused
	if errors.As(err, &refused) {
		return mv.RefuseInput(findings, plan, software), nil
	}
	if err != nil {
		return nil, err
	}
	return mv.Analyze(table, findings, plan, software)
}

// freeze prints a plan that contains the hash of its baseline rows.
func (f *mvFlags) freeze(in invocation) error {
	table, findings, err := readTable(f.data, &f.plan)
	var refused *mv.Refused
	if errors.As(err, &refused) {
		f.out = "" // it names the plan, and there is none
		return f.print(in, mv.RefuseInput(findings, f.plan, "mass "+buildVersion()))
	}
	if err != nil {
		return fmt.Errorf("mass mv plan: %w", err)
	}
	if f.plan.Daily {
		table = table.Daily()
	}
	if err := f.plan.Check(table); err != nil {
		return fmt.Errorf("mass mv plan: %w", err)
	}
	f.plan.BaselineSHA256 = table.SHA256(f.plan.Baseline)
	if f.out != "" {
		if err := writeFile(f.out, f.plan); err != nil {
			return err
		}
		_, err := fmt.Fprintf(in.stdout, "plan       %s\nsha256     %s\nbaseline   %s\n", f.out, f.plan.SHA256(), f.plan.BaselineSHA256)
		return err
	}
	return writeJSON(in.stdout, f.plan)
}

func writeJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func writeFile(path string, v any) error {
	return createFile(path, func(out io.Writer) error { return writeJSON(out, v) })
}

func createFile(path string, write func(io.Writer) error) (err error) {
	file, err := os.Create(path) //nolint:gosec // the file that the user named
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return write(file)
}

// print writes the result and turns its verdict into an exit code.
func (f *mvFlags) print(in invocation, r *mv.Result) error {
	if f.out != "" {
		if err := writeFile(f.out, r); err != nil {
			return err
		}
	}
	if f.rows != "" {
		if err := createFile(f.rows, r.WriteRows); err != nil {
			return err
		}
	}
	if err := f.draw(r); err != nil {
		return err
	}
	if f.asJSON {
		if err := writeJSON(in.stdout, r); err != nil {
			return err
		}
	} else {
		printResult(in.stdout, r)
	}
	return outcomeOf(r)
}

// outcomeOf turns the verdict of a result into an exit code.
func outcomeOf(r *mv.Result) error {
	switch r.Verdict {
	case mv.VerdictRefused:
		return &mvOutcome{"the result was refused; its findings say why", exitRefused}
	case mv.VerdictWarned:
		return &mvOutcome{"the result carries warnings", exitWarned}
	}
	return nil
}

// draw writes the PDF and the plots where they were asked for.
func (f *mvFlags) draw(r *mv.Result) error {
	if f.pdf != "" {
		b, err := report.PDF(r, f.printed)
		if err != nil {
			return err
		}
		if err := os.WriteFile(f.pdf, b, 0o644); err != nil { //nolint:gosec // a report is to be read by others
			return err
		}
	}
	if f.plots == "" {
		return nil
	}
	pictures, err := report.Plots(r, f.printed)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(f.plots, 0o755); err != nil { //nolint:gosec // plots are to be read by others
		return err
	}
	for _, p := range pictures {
		if err := os.WriteFile(filepath.Join(f.plots, p.Name), p.SVG, 0o644); err != nil { //nolint:gosec // plots are to be read by others
			return err
		}
	}
	return nil
}

// verify recomputes a report from the data.
func (f *mvFlags) verify(in invocation) error {
	if f.report == "" {
		return errors.New("mass mv verify: --report names the JSON of a report and is required")
	}
	var reported mv.Result
	if err := readJSON(f.report, &reported); err != nil {
		return err
	}
	again, err := analyzeFile(f.data, reported.Plan)
	if err != nil {
		return fmt.Errorf("mass mv verify: %w", err)
	}
	differences, err := mv.Compare(&reported, again)
	if err != nil {
		return err
	}
	if len(differences) == 0 {
		if _, err := fmt.Fprintf(in.stdout, "equal      %s\nsha256     %s\n", again.Claim, again.SHA256()); err != nil {
			return err
		}
		return outcomeOf(again)
	}
	const shown = 20
	for _, d := range differences[:min(shown, len(differences))] {
		fmt.Fprintf(in.stdout, "differs    %s: reported %s, recomputed %s\n", d.Path, d.Reported, d.Recomputed)
	}
	return &mvOutcome{fmt.Sprintf("the recomputation differs in %d places", len(differences)), exitDiffers}
}
