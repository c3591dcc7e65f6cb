package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
)

// goal is a figure that was promised: one figure, or the ratio of two of the same round.
type goal struct {
	key, title string
	figure     ref
	over       *ref // nil: the figure itself
	want       float64
	atMost     bool
	why        string // what keeps MASS from the goal where it is missed
}

func goals() []goal {
	post := func(contestant string) ref { return ref{"post", contestant, "conns=64", "rate"} }
	drain := func(contestant string, n int) ref {
		return ref{"drain", contestant, fmt.Sprintf("backlog=%d", n), "rate"}
	}
	done := func(contestant string) ref { return ref{"done", contestant, "workers=1", "rate"} }
	ratio := func(key, title string, x, y ref, want float64, why string) goal {
		return goal{key, title, x, &y, want, false, why}
	}
	most := func(key, title string, x ref, want float64, why string) goal {
		return goal{key, title, x, nil, want, true, why}
	}
	return []goal{
		ratio("post_vs_pgbench", "POST/s at 64 connections ÷ pgbench single-row INSERT/s, 64 clients", post("mass"), post("pgbench"), 1.5, "a POST also pays for HTTP, decoding and the audit event; pgbench's rows share their flushes"),
		ratio("post_vs_river", "POST/s at 64 connections ÷ the River service's", post("mass"), post("river"), 3, ""),
		ratio("done_vs_river", "submit → done requests/s ÷ the River service's", done("mass"), done("river"), 6, "the trail and its seals, which the peers do not have, are a large part of the difference"),
		ratio("drain_vs_river_empty", "drain requests/s (10,000 waiting) ÷ River's empty jobs/s", drain("mass", 10_000), ref{"empty", "river", "jobs=50000", "rate"}, 1, "an empty job moves one small row twice; a MassRequest also has a payload, a result and two events"),
		ratio("drain_vs_asynq", "drain requests/s (10,000 waiting) ÷ the Asynq service's", drain("mass", 10_000), drain("asynq", 10_000), 8, ""),
		most("latency_p50", "submit → done at 50 requests/s, p50 in ms", ref{"latency", "mass", "rate=50", "p50_ms"}, 5, "the steps follow each other on cores that have to wake up for each of them"),
		most("latency_p99", "submit → done at 50 requests/s, p99 in ms", ref{"latency", "mass", "rate=50", "p99_ms"}, 25, ""),
		ratio("drain_depth", "drain rate with 1,000,000 waiting ÷ with 10,000", drain("mass", 1_000_000), drain("mass", 10_000), 0.9, "seals, vacuum and what exceeds the buffers cost more with a larger table"),
		most("redis_bytes", "Redis bytes a waiting request, at 64 connections", ref{"post", "mass", "conns=64", "redis_bytes"}, 40, ""),
		most("idle_cpu", "idle API and worker together, % of a core", ref{"idle", "mass", "", "percent"}, 1, ""),
		ratio("tokens", "POST/s with tokens ÷ without", ref{"auth", "mass_tokens", "conns=64", "rate"}, ref{"auth", "mass", "conns=64", "rate"}, 0.9, ""),
	}
}

// promised reports whether a goal wants a figure that this contestant has in this part.
func promised(part, contestant string) bool {
	return slices.ContainsFunc(goals(), func(g goal) bool {
		return g.figure.part == part && g.figure.contestant == contestant ||
			g.over != nil && g.over.part == part && g.over.contestant == contestant
	})
}

// reached is the goal's figure over the rounds; false when it was not measured.
func (g goal) reached(r *results) (spread, bool) {
	found := r.of(g.figure)
	if g.over != nil {
		over := r.of(*g.over)
		maps.DeleteFunc(found, func(round int, _ float64) bool { return over[round] == 0 })
		for round := range found {
			found[round] /= over[round]
		}
	}
	if len(found) == 0 {
		return spread{}, false
	}
	return spreadOf(slices.Collect(maps.Values(found))), true
}

// holds reports whether a figure is as good as a limit.
func (g goal) holds(got, limit float64) bool {
	if g.atMost {
		return got <= limit
	}
	return got >= limit
}

func (g goal) wanted() string {
	if g.atMost {
		return fmt.Sprintf("≤ %v", g.want)
	}
	return fmt.Sprintf("≥ %v", g.want)
}

// readFloors reads the limits of the regression guard: the worst median of each goal, by key, that is no reason to worry.
func readFloors(path string) (map[string]float64, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var floors map[string]float64
	if err := json.Unmarshal(content, &floors); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return floors, nil
}

// checkFloors returns an error that names every floor which was not held, or not measured.
func checkFloors(r *results, floors map[string]float64) error {
	var errs []error
	known := map[string]goal{}
	for _, g := range goals() {
		known[g.key] = g
	}
	for _, key := range slices.Sorted(maps.Keys(floors)) {
		g, ok := known[key]
		if !ok {
			errs = append(errs, fmt.Errorf("floor %s: there is no such goal", key))
			continue
		}
		got, ok := g.reached(r)
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("floor %s: not measured", key))
		case !g.holds(got.Median, floors[key]):
			errs = append(errs, fmt.Errorf("floor %s: %s, but the floor is %v", key, got, floors[key]))
		}
	}
	return errors.Join(errs...)
}
