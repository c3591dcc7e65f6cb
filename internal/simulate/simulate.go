// Package simulate generates the submissions of the demo: a day of signals of
// two imaginary sites, some free-form payloads, some payloads that are wrong on
// purpose, and the history of the sites before that day. The same seed and day
// always give the same bytes.
//
// The sites follow simple textbook models (workload.go, plant.go, outside.go),
// each with its source. The models only have to give figures that a data center
// engineer finds plausible. The package must not know HTTP, SQL, queues or the
// clock. It knows the signals shape because it produces signals.
package simulate

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/leomutto/pilot-in-a-box/jobs"
)

// Outcome is how a submission is meant to end.
type Outcome string

// The outcomes.
const (
	Done    Outcome = "done"    // accepted and processed
	Failed  Outcome = "failed"  // accepted, but the worker finds that the values contradict each other
	Refused Outcome = "refused" // not accepted (422), because its shape is wrong
)

// Submission is one request of the demo.
type Submission struct {
	Name   string          // for people; unique within a day
	Body   json.RawMessage // the whole body of POST /mass-requests/
	Expect Outcome
}

// step is the time window of one request of signals.
const step = 15 * time.Minute

// Day returns the submissions of the UTC day that contains day, roughly in
// order of time: 96 windows for each of two sites and, spread evenly among
// them, the free-form and the invalid ones.
func Day(seed uint64, day time.Time) []Submission {
	day = day.UTC().Truncate(24 * time.Hour)
	sites := demoSites()

	feeds := make([][]Submission, len(sites))
	for i, s := range sites {
		feeds[i] = s.day(random(seed, day, i), day)
	}
	rng := random(seed, day, len(sites))
	return interleave(append(feeds, freeForm(rng, day), wrong(rng, sites, day))...)
}

// random returns the random numbers for one stream of a day. A change to one
// stream does not affect the others.
func random(seed uint64, day time.Time, stream int) *rand.Rand {
	return rand.New(rand.NewPCG(seed, uint64(day.Unix())+uint64(stream)))
}

// interleave merges lists so that each is spread evenly over the result and
// keeps its order.
func interleave(lists ...[]Submission) []Submission {
	total := 0
	for _, list := range lists {
		total += len(list)
	}
	merged := make([]Submission, 0, total)
	taken := make([]int, len(lists))
	for len(merged) < total {
		next, least := -1, 2.0
		for i, list := range lists {
			if share := (float64(taken[i]) + 0.5) / float64(len(list)); taken[i] < len(list) && share < least {
				next, least = i, share
			}
		}
		merged = append(merged, lists[next][taken[next]])
		taken[next]++
	}
	return merged
}

// submission makes the body that the API expects. It panics if the payload
// cannot be encoded as JSON: that is a mistake in this package, which every
// test finds.
func submission(name string, expect Outcome, priority jobs.Priority, payload any) Submission {
	body, err := json.Marshal(struct {
		Payload  any           `json:"payload"`
		Priority jobs.Priority `json:"priority,omitzero"`
	}{payload, priority})
	if err != nil {
		panic(fmt.Sprintf("simulate: encode %s: %v", name, err))
	}
	return Submission{Name: name, Body: body, Expect: expect}
}
