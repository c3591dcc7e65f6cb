package chaos

import (
	"iter"
	"math/rand/v2"
	"time"
)

// Strike is one entry of a schedule: one fault, or two of different targets at
// the same time.
type Strike struct {
	Gap    time.Duration // from the end of the previous strike
	Faults []Fault
	Seed   uint64 // for the choice of victims
}

// Schedule returns an endless sequence of strikes that depends only on the
// seed. It repeatedly goes through all faults in random order. About every
// fourth strike injects two faults.
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

// compatible reports whether two targets can be broken at the same time.
func compatible(a, b Target) bool {
	if a == onAll || b == onAll { // all processes are taken, so only servers remain
		return onServer(a) || onServer(b)
	}
	return a != b
}

func onServer(t Target) bool { return t == onRedis || t == onPostgres }
