package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// Node is what one Redis server says about itself.
type Node struct {
	Name       string // its address, or "the master" behind Sentinel
	Replica    bool
	Version    string
	Policy     string // maxmemory-policy
	AppendOnly bool   // keeps an append-only file

	AppendOnlyUnknown bool
	Used, Max         int64    // memory in bytes; Max is 0 when there is no limit
	Unseen            []string // what the server did not say, and why
}

// Nodes are all servers of one Redis: every master and replica of a cluster, or
// the master and its replicas behind Sentinel. A replica counts because it may
// be promoted at any time, with its own settings.
type Nodes []Node

// InspectNodes asks every server of a Redis about itself. It uses INFO, because
// managed services and restricted users have no CONFIG. A server that does not
// answer is in the list, with the reason in Unseen. The error means that the
// servers could not even be listed.
func InspectNodes(ctx context.Context, rdb redis.UniversalClient) (Nodes, error) {
	switch c := rdb.(type) {
	case *redis.ClusterClient:
		return inspectCluster(ctx, c)
	case *redis.Client:
		if c.Options().Addr == failoverAddr {
			return inspectReplicated(ctx, c)
		}
		return Nodes{inspectNode(ctx, c, c.Options().Addr)}, nil
	}
	return nil, fmt.Errorf("list the servers of Redis: a client of type %T is not supported", rdb)
}

// failoverAddr is the address that go-redis gives to a client that finds its
// master through Sentinel. A test checks that it still does.
const failoverAddr = "FailoverClient"

func inspectCluster(ctx context.Context, c *redis.ClusterClient) (Nodes, error) {
	var mu sync.Mutex
	var list Nodes
	err := c.ForEachShard(ctx, func(ctx context.Context, node *redis.Client) error {
		n := inspectNode(ctx, node, node.Options().Addr)
		mu.Lock()
		defer mu.Unlock()
		list = append(list, n)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the nodes of the Redis Cluster: %w", err)
	}
	slices.SortFunc(list, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	info, err := c.ClusterInfo(ctx).Result()
	if err != nil {
		return nil, fmt.Errorf("count the nodes of the Redis Cluster: %w", err)
	}
	// The list of the cluster lacks replicas that are new or do not run.
	if known := infoField(info, "cluster_known_nodes"); known != strconv.Itoa(len(list)) {
		list = append(list, Node{
			Name: "cluster", AppendOnlyUnknown: true,
			Unseen: []string{fmt.Sprintf("all its nodes: of %s nodes, %d could be asked", known, len(list))},
		})
	}
	return list, nil
}

// inspectReplicated asks the master and the replicas that are connected to it.
// Another replica is asked as soon as it is connected, and cannot be promoted
// before.
func inspectReplicated(ctx context.Context, c *redis.Client) (Nodes, error) {
	text, err := c.Info(ctx).Result()
	if err != nil {
		return Nodes{unseenNode("the master", err)}, nil
	}
	list := Nodes{readNode("the master", text)}
	for line := range strings.Lines(text) {
		addr, ok := replicaAddr(strings.TrimSpace(line))
		if !ok {
			continue
		}
		o := c.Options()
		replica := redis.NewClient(&redis.Options{
			Addr: addr, Username: o.Username, Password: o.Password, TLSConfig: o.TLSConfig,
			DialTimeout: o.DialTimeout, DialerRetries: 1, ReadTimeout: o.ReadTimeout, MaxRetries: -1, ContextTimeoutEnabled: true,
		})
		list = append(list, inspectNode(ctx, replica, addr))
		if err := replica.Close(); err != nil {
			return nil, fmt.Errorf("close the connection to the replica at %s: %w", addr, err)
		}
	}
	return list, nil
}

// replicaAddr reads a line such as "slave0:ip=10.0.0.2,port=6379,state=online,…".
func replicaAddr(line string) (addr string, ok bool) {
	name, fields, ok := strings.Cut(line, ":")
	number, isReplica := strings.CutPrefix(name, "slave")
	if _, err := strconv.Atoi(number); !ok || !isReplica || err != nil {
		return "", false
	}
	var host, port string
	for field := range strings.SplitSeq(fields, ",") {
		switch key, value, _ := strings.Cut(field, "="); key {
		case "ip":
			host = value
		case "port":
			port = value
		}
	}
	return net.JoinHostPort(host, port), host != "" && port != ""
}

func inspectNode(ctx context.Context, c *redis.Client, name string) Node {
	text, err := c.Info(ctx).Result()
	if err != nil {
		return unseenNode(name, err)
	}
	return readNode(name, text)
}

func unseenNode(name string, err error) Node {
	return Node{Name: name, AppendOnlyUnknown: true, Unseen: []string{"its version, eviction policy, memory and persistence (" + err.Error() + ")"}}
}

func readNode(name, info string) Node {
	n := Node{
		Name: name, Replica: infoField(info, "role") == "slave",
		Version: infoField(info, "redis_version"), Policy: infoField(info, "maxmemory_policy"), AppendOnly: infoField(info, "aof_enabled") == "1",
	}
	if n.Version == "" {
		n.Unseen = append(n.Unseen, "its version")
	}
	if n.Policy == "" {
		n.Unseen = append(n.Unseen, "its eviction policy")
	}
	if infoField(info, "aof_enabled") == "" {
		n.AppendOnlyUnknown = true
		n.Unseen = append(n.Unseen, "whether it keeps an append-only file")
	}
	var usedErr, maxErr error
	n.Used, usedErr = strconv.ParseInt(infoField(info, "used_memory"), 10, 64)
	n.Max, maxErr = strconv.ParseInt(infoField(info, "maxmemory"), 10, 64)
	if errors.Join(usedErr, maxErr) != nil {
		n.Unseen = append(n.Unseen, "its memory")
	}
	return n
}

// Unsuitable returns an error when a server does not suit Asynq, which needs
// version 6.2 or later and no eviction, which would silently lose tasks.
func (l Nodes) Unsuitable() error {
	var errs []error
	for _, n := range l {
		if n.Version != "" && !atLeast(n.Version, 6, 2) {
			errs = append(errs, fmt.Errorf("the Redis server %s has version %s; MASS needs 6.2 or later", n.Name, n.Version))
		}
		if n.Policy != "" && n.Policy != "noeviction" {
			errs = append(errs, fmt.Errorf("the Redis server %s has maxmemory-policy %s; MASS needs noeviction, because Redis would delete tasks when memory is short", n.Name, n.Policy))
		}
	}
	return errors.Join(errs...)
}

// Unseen lists what the servers did not say, a sentence for each server.
func (l Nodes) Unseen() []string {
	var list []string
	for _, n := range l {
		if len(n.Unseen) > 0 {
			list = append(list, fmt.Sprintf("the Redis server %s did not tell %s", n.Name, strings.Join(n.Unseen, ", ")))
		}
	}
	return list
}

// Report logs which servers do not suit MASS and what could not be seen, which
// is no proof that all is well. It logs nothing when the last report said the
// same: a managed service may hide a value forever. It returns the report, for
// the next call.
func (l Nodes) Report(log *slog.Logger, last string) string {
	unsuitable, unseen := l.Unsuitable(), strings.Join(l.Unseen(), "; ")
	report := unseen
	if unsuitable != nil {
		report += "\n" + unsuitable.Error()
	}
	switch {
	case report == last:
	case unsuitable != nil:
		log.Error("the settings of this Redis are unsuitable", "error", unsuitable, "not_seen", unseen)
	case unseen != "":
		log.Warn("not all settings of this Redis could be checked", "not_seen", unseen)
	default:
		log.Info("the settings of this Redis are suitable now", "servers", len(l))
	}
	return report
}

// Fullest returns the server that uses the largest share of its memory limit,
// and of the servers without a limit the one that uses most.
func (l Nodes) Fullest() Node {
	return slices.MaxFunc(l, func(a, b Node) int {
		return cmp.Or(cmp.Compare(a.share(), b.share()), cmp.Compare(a.Used, b.Used))
	})
}

func (n Node) share() float64 {
	if n.Max == 0 {
		return 0
	}
	return float64(n.Used) / float64(n.Max)
}

// Size is the number of tasks in a queue, by state.
type Size struct {
	Name                                        string
	Pending, Active, Scheduled, Retry, Archived int
	Paused                                      bool
}

// Sizes lists the queues that Redis knows.
func Sizes(rdb redis.UniversalClient) ([]Size, error) {
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	names, err := inspector.Queues()
	if err != nil {
		return nil, fmt.Errorf("list the queues: %w", err)
	}
	var list []Size
	for _, name := range names {
		q, err := inspector.GetQueueInfo(name)
		if err != nil {
			return nil, fmt.Errorf("read the size of queue %s: %w", name, err)
		}
		list = append(list, Size{
			Name: name, Pending: q.Pending, Active: q.Active, Scheduled: q.Scheduled, Retry: q.Retry, Archived: q.Archived, Paused: q.Paused,
		})
	}
	return list, nil
}
