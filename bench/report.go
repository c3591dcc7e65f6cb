package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// sample is what one measurement of one contestant in one round found.
type sample struct {
	Part       string             `json:"part"`
	Contestant string             `json:"contestant"`
	Case       string             `json:"case,omitempty"` // such as conns=64
	Round      int                `json:"round"`
	Values     map[string]float64 `json:"values"`
}

// String is the line that tells of a sample while the run goes on.
func (s sample) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d  %-8s %-14s %-12s", s.Round+1, s.Part, s.Case, s.Contestant)
	for _, name := range slices.Sorted(maps.Keys(s.Values)) {
		fmt.Fprintf(&b, " %s=%s", name, figure(s.Values[name]))
	}
	return b.String()
}

// results is a run with all that is needed to judge it: the raw figures, written as JSON.
type results struct {
	Began   time.Time         `json:"began"`
	Took    string            `json:"took"`
	Rounds  int               `json:"rounds"`
	Machine map[string]string `json:"machine"`
	Samples []sample          `json:"samples"`
}

// ref names one figure.
type ref struct{ part, contestant, c, value string }

// of returns the figure of each round that has it.
func (r *results) of(x ref) map[int]float64 {
	found := map[int]float64{}
	for _, s := range r.Samples {
		if s.Part == x.part && s.Contestant == x.contestant && s.Case == x.c {
			if v, ok := s.Values[x.value]; ok {
				found[s.Round] = v
			}
		}
	}
	return found
}

// median returns the median of all rounds, and whether there was any.
func (r *results) median(x ref) (float64, bool) {
	found := slices.Collect(maps.Values(r.of(x)))
	if len(found) == 0 {
		return 0, false
	}
	return spreadOf(found).Median, true
}

// spreads returns what the rounds found for every figure of a group of samples, in the order of their appearance.
type line struct {
	part, contestant, c string
	values              map[string]spread
}

func (r *results) lines() []line {
	var list []line
	for _, s := range r.Samples {
		if slices.ContainsFunc(list, func(l line) bool { return l.part == s.Part && l.contestant == s.Contestant && l.c == s.Case }) {
			continue
		}
		l := line{s.Part, s.Contestant, s.Case, map[string]spread{}}
		for name := range s.Values {
			found := slices.Collect(maps.Values(r.of(ref{s.Part, s.Contestant, s.Case, name})))
			l.values[name] = spreadOf(found)
		}
		list = append(list, l)
	}
	return list
}

// figure writes a number as people read it: three significant digits, or all before the point.
func figure(v float64) string {
	switch {
	case v >= 10_000:
		return fmt.Sprintf("%d,%03d", int64(v+0.5)/1000, int64(v+0.5)%1000)
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

func (s spread) String() string {
	if s.Min == s.Max {
		return figure(s.Median)
	}
	return fmt.Sprintf("%s (%s–%s)", figure(s.Median), figure(s.Min), figure(s.Max))
}

// table is one table of the report.
type table struct {
	part, title string
	columns     []column
}

type column struct{ value, title string }

func tables() []table {
	cpu := []column{
		{"cpu_us_api", "API"}, {"cpu_us_worker", "worker"}, {"cpu_us_postgres", "PostgreSQL"}, {"cpu_us_redis", "Redis"},
		{"cpu_us_load", "the load"},
	}
	allocated := []column{{"alloc_kb_api", "API, kB allocated"}, {"alloc_kb_worker", "worker, kB allocated"}}
	return []table{
		{"post", "POST, workers stopped", []column{
			{"rate", "requests/s"}, {"p50_ms", "p50 ms"}, {"p99_ms", "p99 ms"},
			{"redis_bytes", "Redis bytes"}, {"postgres_bytes", "PostgreSQL bytes"},
		}},
		{"post", "Processor time of a POST, µs", append(slices.Clone(cpu), allocated[0])},
		{"busy", "POST, one worker running", []column{{"rate", "requests/s"}, {"p50_ms", "p50 ms"}, {"p99_ms", "p99 ms"}}},
		{"auth", "POST with and without tokens", []column{{"rate", "requests/s"}, {"p50_ms", "p50 ms"}, {"p99_ms", "p99 ms"}}},
		{"done", "Submit → done, sustained, 64 connections", slices.Concat([]column{{"rate", "requests/s"}, {"postgres_bytes", "PostgreSQL bytes"}}, cpu, allocated)},
		{"latency", "Submit → done, at a fixed rate", []column{
			{"p50_ms", "p50 ms"}, {"p99_ms", "p99 ms"}, {"row_p50_ms", "p50 ms by finished_at"}, {"row_p99_ms", "p99 ms by finished_at"},
			{"post_p50_ms", "POST p50 ms"}, {"n", "requests"},
		}},
		{"drain", "Drain of a backlog, one worker", append([]column{
			{"rate", "requests/s"}, {"load_rate", "loaded rows/s"}, {"redis_bytes", "Redis bytes"}, {"postgres_bytes", "PostgreSQL bytes"},
		}, cpu...)},
		{"empty", "Empty jobs", []column{{"rate", "jobs/s"}}},
		{"idle", "Idle processes, % of a core", []column{
			{"percent_api", "API"}, {"percent_worker", "worker"}, {"percent_postgres", "PostgreSQL"}, {"percent_redis", "Redis"},
		}},
	}
}

// contestantNames are for people.
var contestantNames = map[string]string{
	"mass": "MASS", "mass_tokens": "MASS, with tokens", "mass_other_form": "MASS, normal form differs", "river": "River", "asynq": "Asynq", "pgbench": "pgbench INSERT",
}

// goalsMarkdown writes the table that a reader sees first: each goal, what was
// reached, and what keeps MASS from it where it is missed.
func (r *results) goalsMarkdown(w io.Writer) {
	fmt.Fprint(w, "| figure | goal | reached: median (min–max) | met or missed, and why |\n|---|---|---|---|\n")
	for _, g := range goals() {
		got, ok := g.reached(r)
		if !ok {
			fmt.Fprintf(w, "| %s | %s | not measured | |\n", g.title, g.wanted())
			continue
		}
		verdict := "met"
		if !g.holds(got.Median, g.want) {
			verdict = "**missed**"
			if g.why != "" {
				verdict += ": " + g.why
			}
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", g.title, g.wanted(), got, verdict)
	}
}

// markdown writes the machine, every figure that was measured, and the plots.
func (r *results) markdown(w io.Writer) {
	lines := r.lines()
	fmt.Fprintf(w, "%s, %d rounds in %s. Median (min–max).\n\n", r.Began.UTC().Format("2 January 2006"), r.Rounds, r.Took)
	fmt.Fprint(w, "| machine | |\n|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(r.Machine)) {
		fmt.Fprintf(w, "| %s | %s |\n", name, r.Machine[name])
	}
	for _, t := range tables() {
		t.markdown(w, lines)
	}
	fmt.Fprintln(w)
	for _, p := range pictures() {
		if len(r.cases(p.part)) > 0 {
			fmt.Fprintf(w, "![%s](bench/%s)\n", p.title, p.file)
		}
	}
}

func (t table) markdown(w io.Writer, lines []line) {
	var own []line
	for _, l := range lines {
		if l.part == t.part {
			own = append(own, l)
		}
	}
	slices.SortStableFunc(own, func(x, y line) int { return caseNumber(x.c) - caseNumber(y.c) })
	if len(own) == 0 {
		return
	}
	fmt.Fprintf(w, "\n### %s\n\n| | ", t.title)
	for _, c := range t.columns {
		fmt.Fprintf(w, "| %s ", c.title)
	}
	fmt.Fprint(w, "|\n|---|---")
	fmt.Fprintln(w, strings.Repeat("|---", len(t.columns))+"|")
	for _, l := range own {
		fmt.Fprintf(w, "| %s | %s ", caseTitle(l.c), contestantNames[l.contestant])
		for _, c := range t.columns {
			if v, ok := l.values[c.value]; ok {
				fmt.Fprintf(w, "| %s ", v)
			} else {
				fmt.Fprint(w, "| ")
			}
		}
		fmt.Fprintln(w, "|")
	}
}

// caseNumber is the number in a case such as conns=64.
func caseNumber(c string) (n int) {
	_, digits, _ := strings.Cut(c, "=")
	_, _ = fmt.Sscan(digits, &n)
	return n
}

// caseTitle is a case for people.
func caseTitle(c string) string {
	kind, _, _ := strings.Cut(c, "=")
	n := caseNumber(c)
	unit := map[string]string{"conns": "connection", "workers": "worker", "backlog": "waiting", "jobs": "job", "rate": "/s"}[kind]
	if n != 1 && (kind == "conns" || kind == "workers" || kind == "jobs") {
		unit += "s"
	}
	if c == "" {
		return ""
	}
	return thousands(n) + " " + unit
}

func thousands(n int) string {
	switch {
	case n >= 1_000_000:
		return fmt.Sprintf("%d,%03d,%03d", n/1_000_000, n/1000%1000, n%1000)
	case n >= 1000:
		return fmt.Sprintf("%d,%03d", n/1000, n%1000)
	}
	return fmt.Sprint(n)
}

// summary is for the terminal: the medians of each figure, and the ratios of the goals, round by round.
func (r *results) summary(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w)
	for _, l := range r.lines() {
		fmt.Fprintf(w, "%s\t%s\t%s", l.part, l.c, l.contestant)
		for _, name := range []string{"rate", "load_rate", "p50_ms", "p99_ms", "redis_bytes", "postgres_bytes", "percent"} {
			if v, ok := l.values[name]; ok {
				fmt.Fprintf(w, "\t%s %s", name, v)
			}
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
	for _, g := range goals() {
		if got, ok := g.reached(r); ok {
			verdict := "missed"
			if g.holds(got.Median, g.want) {
				verdict = "met"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", g.key, g.title, g.wanted(), got, verdict)
		}
	}
	_ = w.Flush()
}

// writeJSON keeps the raw figures.
func (r *results) writeJSON(path string) error {
	content, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(content, '\n'), 0o644)
}

// readResults reads what writeJSON wrote.
func readResults(path string) (*results, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &results{}
	return r, json.Unmarshal(content, r)
}

const (
	goalsBeginMark = "<!-- goals: begin; written by `make bench` -->"
	goalsEndMark   = "<!-- goals: end -->"
	beginMark      = "<!-- bench: begin; written by `make bench` -->"
	endMark        = "<!-- bench: end -->"
)

// writeDocument replaces the text between the marks of a document and keeps
// everything else.
func (r *results) writeDocument(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	content, err = replaceBetween(content, goalsBeginMark, goalsEndMark, r.goalsMarkdown)
	if err == nil {
		content, err = replaceBetween(content, beginMark, endMark, r.markdown)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, content, 0o644)
}

func replaceBetween(content []byte, begin, end string, write func(io.Writer)) ([]byte, error) {
	before, rest, ok1 := bytes.Cut(content, []byte(begin))
	_, after, ok2 := bytes.Cut(rest, []byte(end))
	if !ok1 || !ok2 {
		return nil, fmt.Errorf("the document lacks the marks %q and %q", begin, end)
	}
	var b bytes.Buffer
	b.Write(before)
	b.WriteString(begin + "\n\n")
	write(&b)
	b.WriteString("\n" + end)
	b.Write(after)
	return b.Bytes(), nil
}
