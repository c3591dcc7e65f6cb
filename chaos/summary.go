package chaos

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Summary returns the sum of all stages of a run: a table, the faults that were
// left out, and the number of broken promises.
func Summary(seed uint64, faults []Fault, reports []*Report, leftOut map[string]string) string {
	var b strings.Builder
	lines := map[string]*line{}
	for _, f := range faults {
		lines[f.Name] = &line{}
	}
	harms := map[Harm]int{}
	var stages []string
	acknowledged := 0
	for _, r := range reports {
		stages = append(stages, r.Config.Stage.Topology.String())
		acknowledged += r.Acknowledged
		for name, l := range r.lines() {
			lines[name].add(l)
		}
		for _, harm := range []Harm{Lost, Doubled, Untrue} {
			harms[harm] += r.Count(harm)
		}
	}
	fmt.Fprintf(&b, "chaos: seed %d, all stages: %s\n\n", seed, strings.Join(stages, "; "))
	writeTable(&b, faults, lines)
	b.WriteString("\n")
	for _, name := range slices.Sorted(maps.Keys(leftOut)) {
		fmt.Fprintf(&b, "left out: %s, because %s\n", name, leftOut[name])
	}
	fmt.Fprintf(&b, "acknowledged %d, lost %d, doubled %d, untrue %d\n", acknowledged, harms[Lost], harms[Doubled], harms[Untrue])
	return b.String()
}
