package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/devstack/devfault"
	"github.com/leomutto/pilot-in-a-box/jobs"
)

const (
	replicationGap = 500 * time.Millisecond // how long the standby gets nothing before the primary dies

	// The time until the server notices that a silent client is gone.
	forgetAfter     = 6 * time.Second
	forgetAfterLong = 20 * time.Second // in a long run
)

// silencePostgres makes every open connection to PostgreSQL silent for good:
// nothing is passed on, and neither side learns of it. New connections work, so
// nothing has to be repaired: the processes must give the silent connections up.
func silencePostgres(_ context.Context, s *system, _ *rand.Rand) (heal, error) {
	n := 0
	for _, route := range s.cfg.Servers.routes() {
		n += route.SilenceOpen()
	}
	if n == 0 {
		return nil, errors.New("no process had a connection to PostgreSQL")
	}
	return nothing, nil
}

// forgetSilent ends the sessions of silent connections on the side of the
// server, which keepalives do in production. They would take up all
// connections in the end.
func forgetSilent(ctx context.Context, s *system) error {
	after := forgetAfter
	if s.cfg.Long {
		after = forgetAfterLong
	}
	pause(ctx, after)
	for _, route := range s.cfg.Servers.routes() {
		route.ForgetSilent()
	}
	return nil
}

// promoteStandby promotes the standby, while the old primary stays reachable
// and takes no writes. The name leads to the old primary until the fault ends.
func promoteStandby(ctx context.Context, s *system, _ *rand.Rand) (heal, error) {
	pair := s.cfg.Servers.pair
	if err := pair.Demote(ctx); err != nil {
		return nil, err
	}
	return s.moveName, s.promote(ctx)
}

// failOver loses the primary, a moment after its last word to the standby, and
// promotes the standby. The name leads nowhere until the fault ends.
func failOver(ctx context.Context, s *system, _ *rand.Rand) (heal, error) {
	pair := s.cfg.Servers.pair
	pair.Replication.SilenceAll()
	pause(ctx, replicationGap)
	if err := pair.KillPrimary(); err != nil {
		return nil, err
	}
	return s.moveName, s.promote(ctx)
}

// promote promotes the standby and lets the harness follow it.
func (s *system) promote(ctx context.Context) error {
	servers := s.cfg.Servers
	if err := servers.pair.Promote(ctx); err != nil {
		return err
	}
	servers.admin.SetTarget(servers.primary().Addr())
	servers.admin.Cut()
	return nil
}

// moveName leads new connections by name to the new primary. The connections
// to the old one stay open.
func (s *system) moveName(context.Context) error {
	s.cfg.Servers.name.SetTarget(s.cfg.Servers.primary().Addr())
	return nil
}

// rebuildStandby makes the old primary the new standby.
func rebuildStandby(ctx context.Context, s *system) error { return s.cfg.Servers.pair.Rebuild(ctx) }

func restartPooler(_ context.Context, s *system, _ *rand.Rand) (heal, error) {
	return s.cfg.Servers.pooler.Restart, s.cfg.Servers.pooler.Kill()
}

// fillDisk leaves no space on the disk of PostgreSQL, neither for tables nor
// for its log.
func fillDisk(_ context.Context, s *system, _ *rand.Rand) (heal, error) {
	return s.cfg.Servers.small.Free, s.cfg.Servers.small.Disk.Fill()
}

func fillRedis(ctx context.Context, s *system, _ *rand.Rand) (heal, error) {
	free := func(ctx context.Context) error { return devfault.FreeRedis(ctx, s.redis) }
	return free, devfault.FillRedis(ctx, s.redis)
}

// killSentinelMaster ends when the Sentinels have promoted the replica.
func killSentinelMaster(ctx context.Context, s *system, _ *rand.Rand) (heal, error) {
	sentinel := s.cfg.Servers.sentinel
	dead, err := sentinel.KillMaster(ctx)
	if err != nil {
		return nil, fmt.Errorf("kill the master: %w", err)
	}
	s.dead = dead
	return func(ctx context.Context) error { return sentinel.AwaitFailover(ctx, dead) }, nil
}

func rejoinSentinel(ctx context.Context, s *system) error {
	return s.cfg.Servers.sentinel.Rejoin(ctx, s.dead)
}

// killClusterMaster kills the master of the queue that most tasks are in. It
// ends when a replica has taken over.
func killClusterMaster(ctx context.Context, s *system, _ *rand.Rand) (heal, error) {
	cluster, key := s.cfg.Servers.cluster, queueKey(jobs.QueueName(jobs.Default, 0), "pending")
	dead, err := cluster.KillMasterOf(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("kill the master of %s: %w", key, err)
	}
	s.dead = dead
	return func(ctx context.Context) error { return cluster.AwaitFailover(ctx, key, dead) }, nil
}

func rejoinCluster(ctx context.Context, s *system) error {
	return s.cfg.Servers.cluster.Rejoin(ctx, s.dead)
}
