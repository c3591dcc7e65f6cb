package devfault

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/internal/devstack"
)

const (
	clusterMasters = 3
	clusterSlots   = 16384
)

// Cluster is a Redis Cluster of three masters with a replica each.
type Cluster struct {
	password string
	nodes    [2 * clusterMasters]*devstack.Server
}

// StartCluster starts six servers, and returns once they form a cluster in
// which every replica is in step.
func StartCluster(ctx context.Context, f *devstack.Folder, password string) (*Cluster, error) {
	c := &Cluster{password: password}
	var busPorts [2 * clusterMasters]int
	for i := range c.nodes {
		var err error
		if busPorts[i], err = devstack.FreePort(); err != nil {
			return nil, err
		}
		c.nodes[i], _, err = startRedis(ctx, f, fmt.Sprintf("cluster-%d", i+1), password,
			"cluster-enabled yes", "cluster-config-file nodes.conf", "cluster-node-timeout 2000",
			"cluster-replica-validity-factor 0", "cluster-port "+strconv.Itoa(busPorts[i]))
		if err != nil {
			return nil, err
		}
	}
	if err := c.join(ctx, busPorts[:]); err != nil {
		return nil, fmt.Errorf("make a Redis Cluster: %w", err)
	}
	return c, nil
}

// join does what `redis-cli --cluster create` does.
func (c *Cluster) join(ctx context.Context, busPorts []int) error {
	ids := make([]string, len(c.nodes))
	for i, node := range c.nodes {
		err := c.ask(node, func(rdb *redis.Client) (err error) {
			if ids[i], err = rdb.Do(ctx, "CLUSTER", "MYID").Text(); err != nil {
				return err
			}
			if err := rdb.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
				return err
			}
			if i < clusterMasters {
				from, to := i*clusterSlots/clusterMasters, (i+1)*clusterSlots/clusterMasters-1
				if err := rdb.ClusterAddSlotsRange(ctx, from, to).Err(); err != nil {
					return err
				}
			}
			if i == 0 {
				return nil
			}
			return rdb.Do(ctx, "CLUSTER", "MEET", "127.0.0.1", c.nodes[0].Port(), busPorts[0]).Err()
		})
		if err != nil {
			return err
		}
	}
	for i, node := range c.nodes {
		err := await(ctx, "the nodes know each other", func() (bool, error) {
			known, err := c.info(ctx, node)
			return known["cluster_known_nodes"] == strconv.Itoa(len(c.nodes)), err
		})
		if err != nil || i < clusterMasters {
			if err != nil {
				return err
			}
			continue
		}
		err = await(ctx, "a node is a replica", func() (bool, error) {
			err := c.ask(node, func(rdb *redis.Client) error { return rdb.ClusterReplicate(ctx, ids[i-clusterMasters]).Err() })
			return err == nil, err
		})
		if err != nil {
			return err
		}
	}
	return c.AwaitWhole(ctx)
}

// AwaitWhole returns once the cluster serves all slots, every node runs, and
// every replica is in step.
func (c *Cluster) AwaitWhole(ctx context.Context) error {
	for _, node := range c.nodes {
		err := await(ctx, "the cluster is whole", func() (bool, error) {
			known, err := c.info(ctx, node)
			return known["cluster_state"] == "ok" && known["cluster_slots_ok"] == strconv.Itoa(clusterSlots), err
		})
		if err != nil {
			return err
		}
	}
	return await(ctx, "every master has a replica in step", func() (bool, error) {
		masters, inStep := 0, 0
		var errs []error
		for _, node := range c.nodes {
			errs = append(errs, c.ask(node, func(rdb *redis.Client) error {
				info, err := rdb.Info(ctx, "replication").Result()
				if strings.Contains(info, "role:master") {
					masters++
				}
				if strings.Contains(info, "master_link_status:up") {
					inStep++
				}
				return err
			}))
		}
		return masters == clusterMasters && inStep == clusterMasters, errors.Join(errs...)
	})
}

func (c *Cluster) info(ctx context.Context, node *devstack.Server) (map[string]string, error) {
	known := map[string]string{}
	err := c.ask(node, func(rdb *redis.Client) error {
		text, err := rdb.ClusterInfo(ctx).Result()
		for line := range strings.SplitSeq(text, "\r\n") {
			if name, value, ok := strings.Cut(line, ":"); ok {
				known[name] = value
			}
		}
		return err
	})
	return known, err
}

func (c *Cluster) ask(node *devstack.Server, use func(*redis.Client) error) error {
	return ask(node.Addr(), c.password, use)
}

// Addrs returns the addresses of all nodes.
func (c *Cluster) Addrs() []string {
	addrs := make([]string, len(c.nodes))
	for i, node := range c.nodes {
		addrs[i] = node.Addr()
	}
	return addrs
}

// URL is the redis-cluster:// URL of the cluster.
func (c *Cluster) URL() string {
	credentials := ""
	if c.password != "" {
		credentials = ":" + c.password + "@"
	}
	return "redis-cluster://" + credentials + strings.Join(c.Addrs(), ",")
}

// Options describes the cluster to go-redis.
func (c *Cluster) Options() *redis.ClusterOptions {
	return &redis.ClusterOptions{Addrs: c.Addrs(), Password: c.password, ContextTimeoutEnabled: true}
}

// MasterOf returns the master that serves a key, according to a node that runs.
func (c *Cluster) MasterOf(ctx context.Context, key string) (*devstack.Server, error) {
	var errs []error
	for _, node := range c.nodes {
		if !node.Running() {
			continue
		}
		var found *devstack.Server
		err := c.ask(node, func(rdb *redis.Client) error {
			slot, err := rdb.ClusterKeySlot(ctx, key).Result()
			if err != nil {
				return err
			}
			ranges, err := rdb.ClusterSlots(ctx).Result() //nolint:staticcheck // Redis 6.2 has no CLUSTER SHARDS
			for _, r := range ranges {
				if slot >= int64(r.Start) && slot <= int64(r.End) && len(r.Nodes) > 0 {
					found = c.node(r.Nodes[0].Addr)
				}
			}
			return err
		})
		if err == nil && found != nil {
			return found, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(append(errs, fmt.Errorf("no node knows the master of %q", key))...)
}

func (c *Cluster) node(addr string) *devstack.Server {
	_, port, _ := net.SplitHostPort(addr)
	for _, node := range c.nodes {
		if strconv.Itoa(node.Port()) == port {
			return node
		}
	}
	return nil
}

// KillMasterOf ends the master that serves a key, and returns it.
func (c *Cluster) KillMasterOf(ctx context.Context, key string) (*devstack.Server, error) {
	master, err := c.MasterOf(ctx, key)
	if err != nil {
		return nil, err
	}
	return master, master.Kill()
}

// AwaitFailover returns once another node serves the key of a killed master.
func (c *Cluster) AwaitFailover(ctx context.Context, key string, dead *devstack.Server) error {
	return await(ctx, "a replica has taken over", func() (bool, error) {
		master, err := c.MasterOf(ctx, key)
		return master != nil && master != dead, err
	})
}

// Rejoin starts a killed node again, which then is a replica, and returns once
// the cluster is whole.
func (c *Cluster) Rejoin(ctx context.Context, dead *devstack.Server) error {
	if err := dead.Restart(ctx); err != nil {
		return err
	}
	return c.AwaitWhole(ctx)
}
