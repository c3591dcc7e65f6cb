package devfault

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/internal/devstack"
)

// redisLines returns the configuration of a Redis that keeps nothing on disk.
func redisLines(dir, password string, further ...string) []string {
	lines := []string{"bind 127.0.0.1", "dir " + dir, "maxmemory-policy noeviction", `save ""`, "repl-diskless-sync-delay 0"}
	if password != "" {
		lines = append(lines, "requirepass "+password, "masterauth "+password)
	}
	return append(lines, further...)
}

// startRedis starts a Redis whose configuration is a file in its own folder.
func startRedis(ctx context.Context, f *devstack.Folder, name, password string, further ...string) (*devstack.Server, string, error) {
	dir, err := f.MakeDir(name)
	if err != nil {
		return nil, "", err
	}
	file := filepath.Join(dir, "redis.conf")
	if err := f.WriteFile(file, strings.Join(redisLines(dir, password, further...), "\n")+"\n"); err != nil {
		return nil, "", err
	}
	program, err := f.RedisProgram(name, password, file)
	if err != nil {
		return nil, "", err
	}
	server, err := f.Start(ctx, program, 0)
	return server, file, err
}

// MemoryRedis is one Redis whose memory can be filled.
type MemoryRedis struct {
	*devstack.Server

	password string
}

// StartMemoryRedis starts a Redis with a password.
func StartMemoryRedis(ctx context.Context, f *devstack.Folder, password string) (*MemoryRedis, error) {
	server, _, err := startRedis(ctx, f, "redis", password)
	return &MemoryRedis{Server: server, password: password}, err
}

// URL is the redis:// URL of the server.
func (r *MemoryRedis) URL() string { return redisURL(r.Addr(), r.password) }

func redisURL(addr, password string) string {
	if password == "" {
		return "redis://" + addr + "/0"
	}
	return "redis://:" + password + "@" + addr + "/0"
}

// FillRedis lowers the memory limit of a Redis below what it holds, so that it
// refuses every command that may need memory (OOM). FreeRedis lifts the limit.
func FillRedis(ctx context.Context, rdb redis.UniversalClient) error {
	return rdb.ConfigSet(ctx, "maxmemory", "1").Err() // 0 would be no limit
}

// FreeRedis lifts the memory limit.
func FreeRedis(ctx context.Context, rdb redis.UniversalClient) error {
	return rdb.ConfigSet(ctx, "maxmemory", "0").Err()
}

// ask runs a command on one server with a connection of its own.
func ask(addr, password string, use func(*redis.Client) error) (err error) {
	rdb := redis.NewClient(&redis.Options{Addr: addr, Password: password, MaxRetries: -1, ContextTimeoutEnabled: true})
	defer func() { err = errors.Join(err, rdb.Close()) }()
	if err := use(rdb); err != nil {
		return fmt.Errorf("ask Redis at %s: %w", addr, err)
	}
	return nil
}
