package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
)

// describe tells what the figures depend on.
func describe(ctx context.Context, m *machine, root string) map[string]string {
	d := map[string]string{
		"cores":                         fmt.Sprintf("%d, for the contestants, the servers and the load together", runtime.GOMAXPROCS(0)),
		"processor":                     fieldOf("/proc/cpuinfo", "model name"),
		"memory":                        fieldOf("/proc/meminfo", "MemTotal"),
		"system":                        strings.Trim(fieldOf("/etc/os-release", "PRETTY_NAME"), `"`),
		"Go":                            runtime.Version(),
		"PostgreSQL":                    m.setting(ctx, "server_version"),
		"fsync":                         m.setting(ctx, "fsync"),
		"synchronous_commit":            m.setting(ctx, "synchronous_commit"),
		"shared_buffers, max_wal_size":  m.setting(ctx, "shared_buffers") + ", " + m.setting(ctx, "max_wal_size"),
		"Redis":                         m.redisInfo(ctx, "server", "redis_version") + ", appendonly " + m.redisSetting(ctx, "appendonly") + ", appendfsync " + m.redisSetting(ctx, "appendfsync"),
		"MASS":                          revision(ctx, root),
		"size of a submission in bytes": fmt.Sprint(len(bodies()[0])),
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			switch dep.Path {
			case "github.com/riverqueue/river", "github.com/hibiken/asynq", "github.com/jackc/pgx/v5":
				d[filepath.Base(strings.TrimSuffix(dep.Path, "/v5"))] = dep.Version
			}
		}
	}
	return d
}

func (m *machine) redisSetting(ctx context.Context, name string) string {
	values, err := m.redis.ConfigGet(ctx, name).Result()
	if err != nil {
		return err.Error()
	}
	return values[name]
}

func revision(ctx context.Context, root string) string {
	cmd := exec.CommandContext(ctx, "git", "describe", "--tags", "--always", "--dirty")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// fieldOf is the value of the first line of a file that begins with a name.
func fieldOf(path, name string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(content)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strings.TrimLeft(strings.TrimSpace(rest), ":= \t")
		}
	}
	return "unknown"
}

// tail is the last lines of a log, without those of garbage collections.
func tail(path string, n int) []string {
	content, _ := os.ReadFile(path)
	var lines []string
	for line := range bytes.Lines(content) {
		line = bytes.TrimSpace(line)
		if _, gc := parseCollection(line); !gc && len(line) > 0 {
			lines = append(lines, string(line))
		}
	}
	return lines[max(0, len(lines)-n):]
}

// numbers are separated by commas.
func numbers(list []int) string {
	var b strings.Builder
	for i, n := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprint(&b, n)
	}
	return b.String()
}

// profile lets perf watch the processes of MASS until the function it returns is called.
func (b *bench) profile(t *session) (stop func()) {
	if b.profileDir == "" || !strings.HasPrefix(t.name, "mass") {
		return func() {}
	}
	perf, err := exec.LookPath("perf")
	if err == nil {
		err = os.MkdirAll(b.profileDir, 0o755)
	}
	if err != nil {
		fmt.Fprintln(b.out, "no profile:", err)
		return func() {}
	}
	watched := map[string][]int{"api": {t.apiProc.pid()}, "postgres": family(b.machine.postmaster)}
	for _, w := range t.workers {
		watched["worker"] = append(watched["worker"], w.pid())
	}
	var running []*exec.Cmd
	for name, pids := range watched {
		file := filepath.Join(b.profileDir, fmt.Sprintf("%s-%s.perf", t.database, name))
		cmd := exec.Command(perf, "record", "-q", "-F", "499", "-g", "-o", file, "-p", numbers(pids)) //nolint:noctx,gosec // stop ends it
		if cmd.Start() == nil {
			running = append(running, cmd)
			fmt.Fprintf(b.out, "profile: perf report --no-children -i %s\n", file)
		}
	}
	return func() {
		for _, cmd := range running {
			_ = cmd.Process.Signal(syscall.SIGINT)
		}
		for _, cmd := range running {
			ended := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
			_ = cmd.Wait()
			ended.Stop()
		}
	}
}
