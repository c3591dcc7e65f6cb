package devfault

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/internal/devstack"
)

// masterName is what the Sentinels call the master.
const masterName = "mass"

// SentinelOptions describes a Sentinel installation.
type SentinelOptions struct {
	Password         string // of the master and the replica; "" for none
	SentinelPassword string // of the Sentinels; "" for none
}

// Sentinel is a Redis with one replica, watched by three Sentinels.
type Sentinel struct {
	folder    *devstack.Folder
	options   SentinelOptions
	nodes     [2]*devstack.Server
	files     [2]string // configuration of the nodes
	sentinels [3]*devstack.Server
}

// StartSentinel starts all five servers and returns once every Sentinel knows
// the replica and the other Sentinels.
func StartSentinel(ctx context.Context, f *devstack.Folder, o SentinelOptions) (*Sentinel, error) {
	s := &Sentinel{folder: f, options: o}
	for i := range s.nodes {
		var further []string
		if i > 0 {
			further = append(further, replicaOf(s.nodes[0]))
		}
		var err error
		if s.nodes[i], s.files[i], err = startRedis(ctx, f, fmt.Sprintf("node-%d", i+1), o.Password, further...); err != nil {
			return nil, err
		}
	}
	for i := range s.sentinels {
		if err := s.startSentinel(ctx, i); err != nil {
			return nil, err
		}
	}
	for _, sentinel := range s.sentinels {
		err := await(ctx, "the Sentinels know each other", func() (bool, error) {
			var known map[string]string
			err := s.ask(sentinel, func(rdb *redis.Client) (err error) {
				known, err = s.master(ctx, rdb)
				return err
			})
			return known["num-other-sentinels"] == "2" && known["num-slaves"] == "1", err
		})
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

func replicaOf(master *devstack.Server) string {
	return fmt.Sprintf("replicaof 127.0.0.1 %d", master.Port())
}

func (s *Sentinel) startSentinel(ctx context.Context, i int) error {
	name := fmt.Sprintf("sentinel-%d", i+1)
	dir, err := s.folder.MakeDir(name)
	if err != nil {
		return err
	}
	lines := []string{
		"bind 127.0.0.1", "dir " + dir,
		fmt.Sprintf("sentinel monitor %s 127.0.0.1 %d 2", masterName, s.nodes[0].Port()),
		"sentinel down-after-milliseconds " + masterName + " 1000",
		"sentinel failover-timeout " + masterName + " 5000",
	}
	if s.options.Password != "" {
		lines = append(lines, "sentinel auth-pass "+masterName+" "+s.options.Password)
	}
	if s.options.SentinelPassword != "" {
		lines = append(lines, "requirepass "+s.options.SentinelPassword)
	}
	file := filepath.Join(dir, "sentinel.conf")
	if err := s.folder.WriteFile(file, strings.Join(lines, "\n")+"\n"); err != nil {
		return err
	}
	program, err := s.folder.RedisProgram(name, s.options.SentinelPassword, file, "--sentinel")
	if err != nil {
		return err
	}
	s.sentinels[i], err = s.folder.Start(ctx, program, 0)
	return err
}

// Addrs returns the addresses of the Sentinels.
func (s *Sentinel) Addrs() []string {
	addrs := make([]string, len(s.sentinels))
	for i, sentinel := range s.sentinels {
		addrs[i] = sentinel.Addr()
	}
	return addrs
}

// URL is the redis-sentinel:// URL of the installation: the password is that of
// the master, and sentinel_password is that of the Sentinels.
func (s *Sentinel) URL() string {
	q := url.Values{"master": {masterName}}
	if s.options.SentinelPassword != "" {
		q.Set("sentinel_password", s.options.SentinelPassword)
	}
	u := url.URL{Scheme: "redis-sentinel", Host: strings.Join(s.Addrs(), ","), Path: "/0", RawQuery: q.Encode()}
	if s.options.Password != "" {
		u.User = url.UserPassword("", s.options.Password)
	}
	return u.String()
}

// Options describes the installation to go-redis.
func (s *Sentinel) Options() *redis.FailoverOptions {
	return &redis.FailoverOptions{
		MasterName: masterName, SentinelAddrs: s.Addrs(), Password: s.options.Password, SentinelPassword: s.options.SentinelPassword,
		ContextTimeoutEnabled: true,
	}
}

// Master returns the server that the Sentinels call the master now.
func (s *Sentinel) Master(ctx context.Context) (*devstack.Server, error) {
	var errs []error
	for _, sentinel := range s.sentinels {
		var known map[string]string
		err := s.ask(sentinel, func(rdb *redis.Client) (err error) {
			known, err = s.master(ctx, rdb)
			return err
		})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, node := range s.nodes {
			if fmt.Sprint(node.Port()) == known["port"] {
				return node, nil
			}
		}
	}
	return nil, errors.Join(append(errs, errors.New("no Sentinel knows the master"))...)
}

func (s *Sentinel) master(ctx context.Context, rdb *redis.Client) (map[string]string, error) {
	known := redis.NewMapStringStringCmd(ctx, "SENTINEL", "MASTER", masterName)
	err := rdb.Process(ctx, known)
	return known.Val(), err
}

func (s *Sentinel) ask(sentinel *devstack.Server, use func(*redis.Client) error) error {
	return ask(sentinel.Addr(), s.options.SentinelPassword, use)
}

// KillMaster ends the master as a crash would, and returns it.
func (s *Sentinel) KillMaster(ctx context.Context) (*devstack.Server, error) {
	master, err := s.Master(ctx)
	if err != nil {
		return nil, err
	}
	return master, master.Kill()
}

// AwaitFailover returns once the Sentinels call another server the master.
func (s *Sentinel) AwaitFailover(ctx context.Context, dead *devstack.Server) error {
	return await(ctx, "the Sentinels have a new master", func() (bool, error) {
		master, err := s.Master(ctx)
		return master != dead, err
	})
}

// Rejoin starts a killed master again as a replica of the new one, and returns
// once it has all data and every Sentinel knows it.
func (s *Sentinel) Rejoin(ctx context.Context, dead *devstack.Server) error {
	master, err := s.Master(ctx)
	if err != nil {
		return err
	}
	if master == dead {
		return errors.New("the killed server is still the master")
	}
	for i, node := range s.nodes {
		if node != dead {
			continue
		}
		dir := filepath.Dir(s.files[i])
		lines := redisLines(dir, s.options.Password, replicaOf(master))
		if err := s.folder.WriteFile(s.files[i], strings.Join(lines, "\n")+"\n"); err != nil {
			return err
		}
		_ = os.Remove(filepath.Join(dir, "dump.rdb")) // data of before the failover
		if err := node.Restart(ctx); err != nil {
			return err
		}
		if err := awaitReplica(ctx, node.Addr(), s.options.Password); err != nil {
			return err
		}
	}
	return nil
}

// awaitReplica returns once a server is a replica that has all data of its
// master.
func awaitReplica(ctx context.Context, addr, password string) error {
	return await(ctx, "the replica is in step", func() (bool, error) {
		var info string
		err := ask(addr, password, func(rdb *redis.Client) (err error) {
			info, err = rdb.Info(ctx, "replication").Result()
			return err
		})
		return strings.Contains(info, "role:slave") && strings.Contains(info, "master_link_status:up"), err
	})
}
