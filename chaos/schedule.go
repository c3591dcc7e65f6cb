package chaos

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"time"
)

// Strike is one entry of a schedule: one fault, or two of different targets at
// the same time.
type Strike struct {
	Gap    time.Duration // from the end of the previous strike
	Faults []Fault
	Seed   uint64 // for the choice of victims
}

func (s Strike) String() string {
	names := make([]string, len(s.Faults))
	for i, f := range s.Faults {
		names[i] = f.Name
	}
	return strings.Join(names, "+")
}

// Schedule returns an endless sequence of strikes that depends only on the seed
// and on the stage. It goes through the required faults in random order, and
// then repeatedly through all faults of the stage. About every fourth strike
// injects two faults.
func Schedule(seed uint64, stage Stage) iter.Seq[Strike] {
	return func(yield func(Strike) bool) {
		rng := rand.New(rand.NewPCG(seed, uint64(stage.Number)))
		deal := func(faults []Fault) []Fault {
			deck := append([]Fault(nil), faults...)
			rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
			return deck
		}
		deck := deal(stage.Required)
		for {
			if len(deck) == 0 {
				deck = deal(stage.Faults)
			}
			take := 1
			if len(deck) > 1 && compatible(&deck[0], &deck[1]) && rng.IntN(4) == 0 {
				take = 2
			}
			gap := time.Second + time.Duration(rng.Int64N(int64(2*time.Second)))
			if !yield(Strike{Gap: gap, Faults: deck[:take:take], Seed: rng.Uint64()}) {
				return
			}
			deck = deck[take:]
		}
	}
}

// Describe prints the required part of the schedule of every stage.
func Describe(seed uint64, stages []Stage) string {
	var b strings.Builder
	for _, stage := range stages {
		fmt.Fprintf(&b, "stage %d, %v, %v:", stage.Number, stage.Topology, stage.Duration)
		left := len(stage.Required)
		for strike := range Schedule(seed, stage) {
			if left <= 0 {
				break
			}
			left -= len(strike.Faults)
			fmt.Fprintf(&b, " %v", strike)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// compatible reports whether two faults can be in force at the same time.
func compatible(f, g *Fault) bool {
	if f.Alone || g.Alone {
		return false
	}
	a, b := f.Target, g.Target
	if a == onAll || b == onAll { // all processes are taken, so only servers remain
		return onServer(a) || onServer(b)
	}
	return a != b
}

func onServer(t Target) bool { return t == onRedis || t == onPostgres }
