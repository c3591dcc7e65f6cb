package chaos

import (
	"context"
	"math/rand/v2"
	"time"
)

// Target is what a fault breaks. Two faults with the same target are never in
// force at the same time.
type Target string

// The targets.
const (
	onWorkers  Target = "workers"
	onAPIs     Target = "apis"
	onRedis    Target = "redis"
	onPostgres Target = "postgres"
	onAll      Target = "all processes"
)

// Fault is one way to break the system.
type Fault struct {
	Name   string
	Target Target
	Hold   time.Duration // how long it stays in force in a short run
	Long   time.Duration // the same in a long run; zero means Hold
	Tasks  bool          // it acts on live tasks and reports how many there were
	Alone  bool          // another fault at the same time would end this one early

	Postgres PostgresForm // the only form of PostgreSQL that it can break; "" means any
	Redis    RedisForm    // the only form of Redis that it can break; "" means any

	// Inject breaks something and returns a function that repairs it. An error
	// means that nothing was broken.
	Inject func(ctx context.Context, s *system, rng *rand.Rand) (heal, error)

	// Tidy prepares the servers for the next fault after this one was repaired,
	// while the load goes on; nil means that there is nothing to do.
	Tidy func(ctx context.Context, s *system) error
}

// hold is how long the fault stays in force.
func (f *Fault) hold(long bool) time.Duration {
	if long && f.Long > 0 {
		return f.Long
	}
	return f.Hold
}

// heal repairs what a fault broke.
type heal func(ctx context.Context) error

// Faults is the table of all faults.
func Faults() []Fault {
	return []Fault{
		{Name: "worker-kill", Target: onWorkers, Hold: time.Second, Inject: killWorker},
		{Name: "worker-zombie", Target: onWorkers, Hold: 14 * time.Second, Long: 45 * time.Second, Inject: freezeWorker},
		{Name: "api-kill", Target: onAPIs, Hold: time.Second, Inject: killAPI},
		{Name: "api-kill-before-enqueue", Target: onAPIs, Hold: time.Second, Inject: killAPIBeforeEnqueue},
		{Name: "rolling-restart", Target: onAll, Inject: rollingRestart},
		{Name: "redis-kill-data-lost", Target: onRedis, Redis: SingleRedis, Hold: time.Second, Inject: loseRedis},
		{Name: "redis-flushall", Target: onRedis, Redis: SingleRedis, Inject: flushRedis},
		{Name: "redis-pause", Target: onRedis, Redis: SingleRedis, Hold: 5 * time.Second, Long: 30 * time.Second, Inject: pauseRedis},
		{Name: "postgres-kill", Target: onPostgres, Hold: time.Second, Inject: killPostgres},
		{Name: "postgres-full", Target: onPostgres, Hold: 4 * time.Second, Long: 8 * time.Second, Inject: exhaustPostgres},
		{Name: "postgres-silent", Target: onPostgres, Alone: true, Inject: silencePostgres, Tidy: forgetSilent},
		{Name: "postgres-disk-full", Target: onPostgres, Postgres: SinglePostgres, Hold: 4 * time.Second, Long: 10 * time.Second, Inject: fillDisk},
		{
			Name: "postgres-promotion", Target: onPostgres, Postgres: StandbyPair, Hold: 3 * time.Second, Long: 7 * time.Second,
			Inject: promoteStandby, Tidy: rebuildStandby,
		},
		{
			Name: "postgres-failover", Target: onPostgres, Postgres: StandbyPair, Hold: time.Second, Long: 2 * time.Second,
			Inject: failOver, Tidy: rebuildStandby,
		},
		{Name: "pgbouncer-restart", Target: onPostgres, Postgres: PooledPostgres, Hold: time.Second, Inject: restartPooler},
		{Name: "redis-out-of-memory", Target: onRedis, Redis: SingleRedis, Hold: 4 * time.Second, Long: 10 * time.Second, Inject: fillRedis},
		{Name: "sentinel-failover", Target: onRedis, Redis: SentinelRedis, Inject: killSentinelMaster, Tidy: rejoinSentinel},
		{Name: "cluster-master-kill", Target: onRedis, Redis: ClusterRedis, Inject: killClusterMaster, Tidy: rejoinCluster},
		{Name: "clock-ahead", Target: onAll, Hold: 3 * time.Second, Long: 20 * time.Second, Inject: moveClock(2 * time.Hour)},
		{Name: "clock-behind", Target: onAll, Hold: 3 * time.Second, Long: 20 * time.Second, Inject: moveClock(-2 * time.Hour)},
		{Name: "leases-ahead", Target: onRedis, Hold: time.Second, Inject: shiftLeases(2 * time.Hour)},
		{Name: "leases-behind", Target: onRedis, Hold: time.Second, Inject: shiftLeases(-2 * time.Hour)},
		{Name: "asynqmon-delete", Target: onRedis, Hold: time.Second, Tasks: true, Inject: operate(deleteTasks)},
		{Name: "asynqmon-archive", Target: onRedis, Hold: time.Second, Tasks: true, Inject: operate(archiveTasks)},
		{Name: "asynqmon-run", Target: onRedis, Hold: time.Second, Tasks: true, Inject: operate(runTasks)},
		{Name: "asynqmon-cancel", Target: onRedis, Hold: time.Second, Tasks: true, Inject: operate(cancelTasks)},
	}
}

func nothing(context.Context) error { return nil }
