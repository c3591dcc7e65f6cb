package chaos

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// PostgresForm is how a topology provides PostgreSQL.
type PostgresForm string

// The forms of PostgreSQL.
const (
	SinglePostgres PostgresForm = "single"    // one server, on a small disk where the machine allows it
	StandbyPair    PostgresForm = "standby"   // a primary with a synchronous standby
	PooledPostgres PostgresForm = "pgbouncer" // one server behind PgBouncer with session pooling
)

// RedisForm is how a topology provides Redis.
type RedisForm string

// The forms of Redis.
const (
	SingleRedis   RedisForm = "single"
	SentinelRedis RedisForm = "sentinel" // a master with a replica and three Sentinels
	ClusterRedis  RedisForm = "cluster"  // three masters with a replica each
)

// Topology is one combination of servers. A system uses one at a time.
type Topology struct {
	Postgres PostgresForm
	Redis    RedisForm
}

func (t Topology) String() string {
	return fmt.Sprintf("PostgreSQL %s, Redis %s", t.Postgres, t.Redis)
}

// Plain is one PostgreSQL and one Redis.
func Plain() Topology { return Topology{SinglePostgres, SingleRedis} }

// Topologies returns the topologies of a run, which together contain every form
// of PostgreSQL and of Redis. The seed decides which forms meet. Without
// PgBouncer, one more single PostgreSQL takes its place.
func Topologies(seed uint64, pgbouncer bool) []Topology {
	postgres := []PostgresForm{SinglePostgres, StandbyPair, PooledPostgres}
	if !pgbouncer {
		postgres[2] = SinglePostgres
	}
	redis := []RedisForm{SingleRedis, SentinelRedis, ClusterRedis}
	rng := rand.New(rand.NewPCG(seed, 1<<32))
	rng.Shuffle(len(postgres), func(i, j int) { postgres[i], postgres[j] = postgres[j], postgres[i] })
	rng.Shuffle(len(redis), func(i, j int) { redis[i], redis[j] = redis[j], redis[i] })
	list := make([]Topology, len(postgres))
	for i := range list {
		list[i] = Topology{postgres[i], redis[i]}
	}
	return list
}

// fits reports whether a fault can be injected into a topology.
func (f *Fault) fits(t Topology) bool {
	return (f.Postgres == "" || f.Postgres == t.Postgres) && (f.Redis == "" || f.Redis == t.Redis)
}

// Stage is the part of a run that uses one topology. It has its own database,
// its own history and its own checks.
type Stage struct {
	Number   int
	Topology Topology
	Duration time.Duration
	Required []Fault // faults that must be injected, as often as they are listed
	Faults   []Fault // all faults that fit the topology
}

// overhead is about how long a strike takes in addition to the time for which
// its fault is in force.
const overhead = 4 * time.Second

// Plan divides a run into one stage for each topology. Every fault is injected
// once in each full five minutes, but at least once, in a stage that it fits.
// The plan depends on its arguments alone.
func Plan(duration time.Duration, long bool, topologies []Topology, faults []Fault) []Stage {
	stages := make([]Stage, len(topologies))
	loads := make([]time.Duration, len(topologies))
	for i, t := range topologies {
		stages[i] = Stage{Number: i + 1, Topology: t}
		for _, f := range faults {
			if f.fits(t) {
				stages[i].Faults = append(stages[i].Faults, f)
			}
		}
	}
	fitting := func(f *Fault) (list []int) {
		for i := range stages {
			if f.fits(stages[i].Topology) {
				list = append(list, i)
			}
		}
		return list
	}
	// The faults with the least choice come first, so that the others can
	// balance the stages.
	ordered := slices.Clone(faults)
	slices.SortStableFunc(ordered, func(a, b Fault) int { return cmp.Compare(len(fitting(&a)), len(fitting(&b))) })
	var total time.Duration
	for _, f := range ordered {
		for range max(1, int(duration/(5*time.Minute))) {
			choice := fitting(&f)
			if len(choice) == 0 {
				continue
			}
			least := slices.MinFunc(choice, func(a, b int) int { return cmp.Compare(loads[a], loads[b]) })
			stages[least].Required = append(stages[least].Required, f)
			cost := f.hold(long) + overhead
			if f.Tidy != nil {
				cost += 2 * overhead
			}
			loads[least] += cost
			total += cost
		}
	}
	for i := range stages {
		if total > 0 {
			stages[i].Duration = time.Duration(float64(duration) * float64(loads[i]) / float64(total)).Round(time.Second)
		}
	}
	return slices.DeleteFunc(stages, func(s Stage) bool { return len(s.Required) == 0 })
}
