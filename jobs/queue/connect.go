package queue

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// ParseRedisURL reads the address of a Redis in one of these forms:
//
//	redis://[user:password@]host:port[/db]            one server
//	rediss://[user:password@]host:port[/db]           the same over TLS
//	redis-sentinel://[:password@]host:port,host:port[/db]?master=name
//	redis-cluster://[user:password@]host:port,host:port[?tls=true]
//
// The error never shows the URL: it may hold a password.
func ParseRedisURL(raw string) (asynq.RedisConnOpt, error) {
	scheme, _, _ := strings.Cut(raw, "://")
	switch scheme {
	case "redis", "rediss":
		o, err := redis.ParseURL(raw)
		if err != nil {
			return nil, errors.New("the Redis URL is not of the form " + scheme + "://[user:password@]host:port[/db]")
		}
		return asynq.RedisClientOpt{
			Network: o.Network, Addr: o.Addr, Username: o.Username, Password: o.Password, DB: o.DB,
			DialTimeout: o.DialTimeout, ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout,
			PoolSize: o.PoolSize, TLSConfig: o.TLSConfig,
		}, nil
	case "redis-sentinel":
		o, err := asynq.ParseRedisURI(raw)
		if s, ok := o.(asynq.RedisFailoverClientOpt); err != nil || !ok || s.MasterName == "" || slices.Contains(s.SentinelAddrs, "") {
			return nil, errors.New("the Redis URL is not of the form redis-sentinel://[:password@]host:port,host:port[/db]?master=name")
		}
		return o, nil
	case "redis-cluster":
		return parseCluster(raw)
	}
	return nil, fmt.Errorf("the Redis URL begins with %q; want redis://, rediss://, redis-sentinel:// or redis-cluster://", scheme+"://")
}

func parseCluster(raw string) (asynq.RedisConnOpt, error) {
	bad := errors.New("the Redis URL is not of the form redis-cluster://[user:password@]host:port,host:port[?tls=true]")
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return nil, bad
	}
	o := asynq.RedisClusterClientOpt{Addrs: strings.Split(u.Host, ","), Username: u.User.Username()}
	o.Password, _ = u.User.Password()
	for _, a := range o.Addrs {
		if _, port, ok := strings.Cut(a, ":"); !ok || port == "" {
			return nil, bad
		}
	}
	if u.Query().Get("tls") == "true" {
		t, err := redis.ParseURL("rediss://" + o.Addrs[0])
		if err != nil {
			return nil, bad
		}
		o.TLSConfig = t.TLSConfig
	}
	return o, nil
}

// Dial returns a client for the address. It does not connect yet. Its commands
// end with their contexts. Asynq's own clients leave that to the timeouts of
// the connection, which add up to about twenty seconds against a frozen server.
func Dial(o asynq.RedisConnOpt) (redis.UniversalClient, error) {
	switch o := o.(type) {
	case asynq.RedisClientOpt:
		return redis.NewClient(&redis.Options{
			Network: o.Network, Addr: o.Addr, Username: o.Username, Password: o.Password, DB: o.DB,
			DialTimeout: o.DialTimeout, ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout,
			PoolSize: o.PoolSize, TLSConfig: o.TLSConfig, ContextTimeoutEnabled: true,
		}), nil
	case asynq.RedisFailoverClientOpt:
		return redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: o.MasterName, SentinelAddrs: o.SentinelAddrs, SentinelUsername: o.SentinelUsername, SentinelPassword: o.SentinelPassword,
			Username: o.Username, Password: o.Password, DB: o.DB,
			DialTimeout: o.DialTimeout, ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout,
			PoolSize: o.PoolSize, TLSConfig: o.TLSConfig, ContextTimeoutEnabled: true,
		}), nil
	case asynq.RedisClusterClientOpt:
		return redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: o.Addrs, MaxRedirects: o.MaxRedirects, Username: o.Username, Password: o.Password,
			DialTimeout: o.DialTimeout, ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout,
			TLSConfig: o.TLSConfig, ContextTimeoutEnabled: true,
		}), nil
	}
	return nil, fmt.Errorf("no Redis client for %T", o)
}
