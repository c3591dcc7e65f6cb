package chaos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"

	"time"

	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/internal/devstack"
	"github.com/leomutto/pilot-in-a-box/internal/devstack/devfault"
)

const (
	redisPassword    = "chaos-redis"
	sentinelPassword = "chaos-sentinel"
	diskSize         = 4 << 30 // bytes; the disk uses as much memory as it holds files
)

// Installation is the servers of one stage. The processes under test reach
// PostgreSQL through proxies: one that stands for the name of the server, and
// with a standby one in front of each server.
type Installation struct {
	Topology Topology

	folder *devstack.Folder
	name   *devfault.Proxy   // where the name of the PostgreSQL leads
	hosts  []*devfault.Proxy // with a standby: one in front of each server
	admin  *devfault.Proxy   // for the harness itself; never broken

	single *devstack.Server        // unless there is a standby
	small  *devfault.SmallPostgres // the single server, if it is on a small disk
	pair   *devfault.Pair
	pooler *devfault.PgBouncer

	memory   *devfault.MemoryRedis
	sentinel *devfault.Sentinel
	cluster  *devfault.Cluster
}

// LeftOut returns the faults that this machine does not allow, with the reason.
func LeftOut() map[string]string {
	out := map[string]string{}
	if err := devfault.CheckPgBouncer(); err != nil {
		out["pgbouncer-restart"] = err.Error()
	}
	if err := devfault.CheckDisk(); err != nil {
		out["postgres-disk-full"] = err.Error()
	}
	return out
}

// Install starts the servers of a topology. An asynchronous standby breaks the
// promise of the product on purpose, to prove that the harness notices.
func Install(ctx context.Context, t Topology, asynchronous bool, logger *slog.Logger) (_ *Installation, err error) {
	in := &Installation{Topology: t}
	if in.folder, err = devstack.NewFolder(ctx, slog.New(slog.DiscardHandler)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, in.Close(context.WithoutCancel(ctx)))
		}
	}()
	if err := in.startPostgres(ctx, asynchronous); err != nil {
		return nil, fmt.Errorf("install PostgreSQL: %w", err)
	}
	if err := in.startRedis(ctx); err != nil {
		return nil, fmt.Errorf("install Redis: %w", err)
	}
	logger.Info("the servers run", "topology", t.String())
	return in, nil
}

// Close stops the servers.
func (in *Installation) Close(ctx context.Context) error { return in.folder.Close(ctx) }

func (in *Installation) startPostgres(ctx context.Context, asynchronous bool) (err error) {
	f := in.folder
	switch in.Topology.Postgres {
	case StandbyPair:
		if in.pair, err = devfault.StartPair(ctx, f, devfault.PairOptions{Asynchronous: asynchronous}); err != nil {
			return err
		}
		for _, addr := range in.pair.Addrs() {
			host, err := in.proxy(addr)
			if err != nil {
				return err
			}
			in.hosts = append(in.hosts, host)
		}
	case SinglePostgres:
		in.small, err = devfault.StartSmallPostgres(ctx, f, diskSize)
		if err == nil {
			in.single = in.small.Server
		}
		if err == nil || !errors.Is(err, devfault.ErrNoDisk) {
			break
		}
		fallthrough
	case PooledPostgres:
		data := ""
		if data, err = f.MakeDir("postgres"); err != nil {
			return err
		}
		data = filepath.Join(data, "data")
		if err := f.InitPostgres(ctx, data); err != nil {
			return err
		}
		if in.single, err = f.StartPostgres(ctx, "postgres", data, 0); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	entrance := in.primary().Addr()
	if in.admin, err = in.proxy(entrance); err != nil {
		return err
	}
	if in.Topology.Postgres == PooledPostgres {
		in.pooler, err = devfault.StartPgBouncer(ctx, f, devfault.PgBouncerOptions{Target: entrance, Mode: "session"})
		if err != nil {
			return err
		}
		entrance = in.pooler.Addr()
	}
	in.name, err = in.proxy(entrance)
	return err
}

func (in *Installation) proxy(target string) (*devfault.Proxy, error) {
	p, err := devfault.NewProxy(target)
	if err == nil {
		in.folder.Cleanup(p.Close)
	}
	return p, err
}

func (in *Installation) startRedis(ctx context.Context) (err error) {
	switch in.Topology.Redis {
	case SingleRedis:
		in.memory, err = devfault.StartMemoryRedis(ctx, in.folder, redisPassword)
	case SentinelRedis:
		in.sentinel, err = devfault.StartSentinel(ctx, in.folder,
			devfault.SentinelOptions{Password: redisPassword, SentinelPassword: sentinelPassword})
	case ClusterRedis:
		in.cluster, err = devfault.StartCluster(ctx, in.folder, redisPassword)
	}
	return err
}

// primary is the PostgreSQL that takes writes.
func (in *Installation) primary() *devstack.Server {
	if in.pair != nil {
		return in.pair.Primary()
	}
	return in.single
}

// AdminURL leads to the PostgreSQL that takes writes, past everything that
// faults break.
func (in *Installation) AdminURL() string { return in.folder.PostgresURL(in.admin.Addr()) }

// databaseURL is the DATABASE_URL of the n-th API or worker. With a standby,
// every second process names both servers, in one of the two forms, and the
// others use the name, which moves late.
func (in *Installation) databaseURL(n int, worker bool) string {
	byName := in.folder.PostgresURL(in.name.Addr())
	switch {
	case in.pair == nil || n%2 == 0:
		return byName
	case worker:
		return devfault.HostListURL(byName, in.hosts[0].Addr(), in.hosts[1].Addr())
	default:
		return devfault.SeveralHostsURL(byName, in.hosts[0].Addr(), in.hosts[1].Addr())
	}
}

// directURL is the DATABASE_DIRECT_URL of the n-th API or worker, or "". Behind
// a pooler, every second process has a way around the pooler for what needs a
// session of its own, and the others lead through the pooler.
func (in *Installation) directURL(n int) string {
	if in.pooler == nil || n%2 == 0 {
		return ""
	}
	return in.AdminURL()
}

// routes lists the proxies between the processes and PostgreSQL.
func (in *Installation) routes() []*devfault.Proxy {
	return append([]*devfault.Proxy{in.name}, in.hosts...)
}

// redisURL is the REDIS_URL of the processes.
func (in *Installation) redisURL() string {
	switch {
	case in.sentinel != nil:
		return in.sentinel.URL()
	case in.cluster != nil:
		return in.cluster.URL()
	}
	return in.memory.URL()
}

// redisClient returns the harness' own client.
func (in *Installation) redisClient() (redis.UniversalClient, error) {
	switch {
	case in.sentinel != nil:
		return redis.NewFailoverClient(in.sentinel.Options()), nil
	case in.cluster != nil:
		o := in.cluster.Options()
		o.ClusterStateReloadInterval = time.Second
		return redis.NewClusterClient(o), nil
	}
	u, err := url.Parse(in.memory.URL())
	if err != nil {
		return nil, fmt.Errorf("read the URL of Redis: %w", err)
	}
	opt, err := redis.ParseURL(u.String())
	if err != nil {
		return nil, fmt.Errorf("read the URL of Redis: %w", err)
	}
	return redis.NewClient(opt), nil
}
