package chaos

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is the result of a run.
type Report struct {
	Config       Config
	History      *History
	Injections   []*Injection
	Violations   []Violation
	Rest         Rest
	Notes        []string
	Loaded       time.Duration // how long requests were submitted
	Elapsed      time.Duration
	Acknowledged int // 201
	Refused      int // 503
	Silent       int // no answer
	Batches      int // sent, including repeats
	Repeats      int // submissions sent again under their key
	Callbacks    string
}

// OK reports whether every promise held.
func (r *Report) OK() bool { return len(r.Violations) == 0 }

// Count is the number of violations of one harm.
func (r *Report) Count(h Harm) int {
	n := 0
	for _, v := range r.Violations {
		if v.Harm == h {
			n++
		}
	}
	return n
}

// NotInjected names the faults that were not injected as often as the stage
// requires.
func (r *Report) NotInjected() (names []string) {
	missing := map[string]int{}
	for _, f := range r.Config.Stage.Required {
		missing[f.Name]++
	}
	for _, in := range r.Injections {
		if in.Err == nil {
			missing[in.Fault]--
		}
	}
	for _, f := range r.Config.Stage.Faults {
		if missing[f.Name] > 0 {
			names = append(names, f.Name)
		}
	}
	return names
}

// line is one row of the table: the sum of all injections of one fault.
type line struct {
	injected              int
	acked, caught         int
	lost, doubled, untrue int
	drains                []time.Duration
	first, longest        time.Duration // the slowest; see Injection
	mute                  bool          // no 201 came after the fault
	late                  bool          // a request caught by the fault never ended
}

// drained returns the median and the slowest drain. The schedule does not wait
// for a drain to end, so the slowest one may overlap with later faults.
func (l *line) drained() (median, slowest string) {
	if len(l.drains) == 0 && !l.late {
		return "–", "–"
	}
	slices.Sort(l.drains)
	if len(l.drains) == 0 {
		return "never", "never"
	}
	n := len(l.drains)
	median, slowest = seconds((l.drains[(n-1)/2]+l.drains[n/2])/2), seconds(l.drains[n-1])
	if l.late {
		slowest = "never"
	}
	return median, slowest
}

// answered returns the slowest first 201, and the longest time without one.
func (l *line) answered() (first, longest string) {
	switch {
	case l.injected == 0:
		return "–", "–"
	case l.mute:
		return "never", seconds(l.longest)
	}
	return seconds(l.first), seconds(l.longest)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// add adds the injections of another stage.
func (l *line) add(other *line) {
	l.injected += other.injected
	l.acked += other.acked
	l.caught += other.caught
	l.lost += other.lost
	l.doubled += other.doubled
	l.untrue += other.untrue
	l.drains = append(l.drains, other.drains...)
	l.late = l.late || other.late
	l.mute = l.mute || other.mute
	l.first, l.longest = max(l.first, other.first), max(l.longest, other.longest)
}

// lines groups the injections by fault. A violation counts for every fault that
// was in force, or not yet drained, during the life of its request. It counts
// for no fault if it belongs to no request, or if the request met none.
func (r *Report) lines() map[string]*line {
	lines := map[string]*line{}
	for _, f := range r.Config.Stage.Faults {
		lines[f.Name] = &line{}
	}
	for _, in := range r.Injections {
		l := lines[in.Fault]
		if in.Err != nil {
			continue
		}
		l.injected++
		l.mute = l.mute || in.First < 0
		l.first, l.longest = max(l.first, in.First), max(l.longest, in.Longest)
		switch {
		case in.Drain < 0:
			l.late = true
		case in.Caught > 0:
			l.drains = append(l.drains, in.Drain)
		}
		l.caught += in.Caught
		for i := range r.History.Sent {
			if at := r.History.Sent[i].Acked; !at.IsZero() && within(at, at, in.At, in.end()) {
				l.acked++
			}
		}
		for _, v := range r.Violations {
			if v.From.IsZero() || !within(v.From, v.Until, in.At, in.end()) {
				continue
			}
			switch v.Harm {
			case Lost:
				l.lost++
			case Doubled:
				l.doubled++
			case Untrue:
				l.untrue++
			}
		}
	}
	return lines
}

// within reports whether two spans of time overlap; a zero end means
// open-ended.
func within(from, until, begin, end time.Time) bool {
	return (end.IsZero() || !from.After(end)) && (until.IsZero() || !until.Before(begin))
}

// unacknowledged counts the stored requests whose client never got an answer.
func (r *Report) unacknowledged() int {
	stored := make(map[string]bool, len(r.History.Rows))
	for i := range r.History.Rows {
		stored[r.History.Rows[i].Nonce] = true
	}
	n := 0
	for i := range r.History.Sent {
		if s := &r.History.Sent[i]; s.Acked.IsZero() && stored[s.Nonce] {
			n++
		}
	}
	return n
}

// pairs describes which faults were in force at the same time.
func (r *Report) pairs() string {
	count := map[string]int{}
	total := 0
	for i, in := range r.Injections {
		if in.With == "" || in.Err != nil || i+1 == len(r.Injections) || r.Injections[i+1].Fault != in.With || r.Injections[i+1].Err != nil {
			continue // the second fault of a pair is the next one in the list
		}
		total++
		count[in.Fault+" + "+in.With]++
	}
	return fmt.Sprintf("%d pairs of faults at the same time%s", total, enumerate(count))
}

// tasks describes how many live tasks the faults through Asynqmon acted on.
func (r *Report) tasks() string {
	count := map[string]int{}
	total := 0
	for _, in := range r.Injections {
		if in.Tasks > 0 {
			total += in.Tasks
			count[in.Fault] += in.Tasks
		}
	}
	return fmt.Sprintf("%d live tasks acted on through Asynqmon%s", total, enumerate(count))
}

// enumerate lists counts in the order of their names.
func enumerate(count map[string]int) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(count)) {
		list = append(list, fmt.Sprintf("%s %d", name, count[name]))
	}
	if len(list) == 0 {
		return ""
	}
	return ": " + strings.Join(list, ", ")
}

// writeTable writes one row for each fault.
func writeTable(b *strings.Builder, faults []Fault, lines map[string]*line) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "fault\tinjected\tacknowledged\tlost\tdoubled\tuntrue\tcaught\tmedian drain\tslowest drain\tfirst 201\tlongest without 201\t")
	for _, f := range faults {
		l := lines[f.Name]
		median, slowest := l.drained()
		first, longest := l.answered()
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\t%s\t\n",
			f.Name, l.injected, l.acked, l.lost, l.doubled, l.untrue, l.caught, median, slowest, first, longest)
	}
	_ = w.Flush()
}

// String returns the report: a table, a summary, and the first violations of
// each kind.
func (r *Report) String() string {
	var b strings.Builder
	c := r.Config
	fmt.Fprintf(&b, "chaos: seed %d, stage %d (%v), %v, %d APIs, %d workers\n\n",
		c.Seed, c.Stage.Number, c.Stage.Topology, c.Stage.Duration, c.APIs, c.Workers)
	writeTable(&b, c.Stage.Faults, r.lines())
	fmt.Fprintf(&b, "\n%s\n%s\n", r.pairs(), r.tasks())

	var claims, rescues, events int
	for _, list := range r.History.Events {
		events += len(list)
	}
	for i := range r.History.Rows {
		claims += r.History.Rows[i].Attempt
		rescues += r.History.Rows[i].Rescues
	}
	fmt.Fprintf(&b, "\n%d submitted, %d acknowledged (%.0f a minute), %d answered 503, %d not answered; %d stored, %d of them unacknowledged\n",
		len(r.History.Sent), r.Acknowledged, float64(r.Acknowledged)/r.Loaded.Minutes(), r.Refused, r.Silent, len(r.History.Rows), r.unacknowledged())
	fmt.Fprintf(&b, "%d batches, %d submissions sent again under their key, %d tasks of several statements; %d bulk replays; %s\n",
		r.Batches, r.Repeats, r.History.Shared, len(r.History.Bulks), r.Callbacks)
	fmt.Fprintf(&b, "%d attempts, %d rescues, %d events checked; after the last fault all final in %.1f s, all callbacks delivered in %.1f s; %d unfinished\n",
		claims, rescues, events, r.Rest.Drain.Seconds(), r.Rest.Callbacks.Seconds(), r.Rest.Unfinished)
	fmt.Fprintf(&b, "at rest: %d tasks, %d active without a lease, %d left to Asynq's own recovery; goroutines: %s\n",
		r.Rest.Left.tasks, r.Rest.Left.orphans, r.Rest.Left.recovery, strings.TrimSuffix(r.Rest.Goroutines, "; "))
	fmt.Fprintf(&b, "lost %d, doubled %d, untrue %d (whole run: %v)\n", r.Count(Lost), r.Count(Doubled), r.Count(Untrue), r.Elapsed.Round(time.Second))
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	const most = 4 // of a kind
	seen := map[string]int{}
	for _, v := range r.Violations {
		if seen[v.rule]++; seen[v.rule] <= most || v.rule == "" {
			fmt.Fprintln(&b, v)
		}
	}
	for _, rule := range slices.Sorted(maps.Keys(seen)) {
		if n := seen[rule] - most; n > 0 && rule != "" {
			fmt.Fprintf(&b, "… and %d more like %q\n", n, rule)
		}
	}
	return b.String()
}
