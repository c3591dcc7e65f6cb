package chaos

import (
	"iter"
	"math/rand/v2"
	"time"
)

// Strike is one entry of a schedule: one fault, or two of different targets at
// the same time.
type Strike struct {
	Gap    time.Duration // from the end of the strike before
	Faults []Fault
	Seed   uint64 // of the choice of victims
}

// Schedule is an endless sequence of strikes that depends on nothing but the
// seed. It goes through all faults in random order, again and again; about
// every fourth strike is a double one.
func Schedule(seed uint64, faults []Fault) iter.Seq[Strike] {
	return func(yield func(Strike) bool) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var deck []Fault
		for {
			if len(deck) == 0 {
				deck = append(deck, faults...)
				rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
			}
			take := 1
			if len(deck) > 1 && compatible(deck[0].Target, deck[1].Target) && rng.IntN(4) == 0 {
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

// compatible tells whether two targets can be broken at the same time.
func compatible(a, b Target) bool {
	if a == onAll || b == onAll { // all processes: the servers are left
		return onServer(a) || onServer(b)
	}
	return a != b
}

func onServer(t Target) bool { return t == onRedis || t == onPostgres }
