package devstack

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/alicebob/miniredis/v2"
)

func (s *Stack) startRedis(ctx context.Context, o Options) error {
	h := s.home
	secret, err := password(h.path("redis.password"), false)
	if err != nil {
		return fmt.Errorf("password of Redis: %w", err)
	}
	binary, err := lookIn(o.SearchPath, "redis-server", "valkey-server")
	if err != nil {
		return s.startMemoryRedis(secret)
	}
	version, err := redisVersion(ctx, binary, h.account)
	if err != nil {
		return err
	}
	data := filepath.Join(h.servers, "redis")
	if err := errors.Join(os.MkdirAll(data, 0o700), h.account.own(data)); err != nil {
		return fmt.Errorf("make the folder of Redis: %w", err)
	}
	s.redis = &server{
		name:       "Redis",
		files:      h.path("redis"),
		stopSignal: syscall.SIGTERM,
		command: func(port int) *exec.Cmd {
			// SIGKILL works immediately, even on a paused Redis. Nothing
			// acknowledged is lost, because Redis writes its log to the
			// operating system before it answers.
			cmd := h.account.command(syscall.SIGKILL, data, binary, "-")
			cmd.Stdin = strings.NewReader(redisConfig(port, secret, o.Ephemeral))
			return cmd
		},
		ping:   func(ctx context.Context, port int) error { return pingRedis(ctx, port, secret) },
		logger: o.Logger,
	}
	if err := s.redis.start(ctx, o.RedisPort); err != nil {
		return err
	}
	s.redisURL = redisURL(redisAddr(s.redis.port), secret)
	s.redisInfo = fmt.Sprintf("private Redis %s on port %d (%s)", version, s.redis.port, binary)
	return nil
}

// startMemoryRedis replaces a missing redis-server. Its TTLs follow the clock,
// like those of Redis.
func (s *Stack) startMemoryRedis(secret string) error {
	s.memory = miniredis.NewMiniRedis()
	s.memory.RequireAuth(secret)
	s.memory.ClockTTL(true)
	if err := s.memory.StartAddr("127.0.0.1:0"); err != nil {
		return fmt.Errorf("start miniredis: %w", err)
	}
	s.redisURL = redisURL(s.memory.Addr(), secret)
	s.redisInfo = fmt.Sprintf("miniredis in process (no redis-server found; for persistence: %s)", installCommand("Redis"))
	return nil
}

func redisAddr(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func redisURL(addr, secret string) string { return fmt.Sprintf("redis://:%s@%s/0", secret, addr) }

// redisVersion returns the version, or an error if Asynq does not support it:
// Asynq uses ZRANGE … BYSCORE, which Redis 6.2 introduced. The first Valkey was
// 7.2.
func redisVersion(ctx context.Context, binary string, acct *account) (string, error) {
	// "Redis server v=7.0.15 sha=…", "Valkey server v=8.0.1 sha=…"
	out, err := run(ctx, acct.command(syscall.SIGKILL, "/", binary, "--version"))
	if err != nil {
		return "", fmt.Errorf("find the version of Redis: %w", err)
	}
	m := regexp.MustCompile(`v=((\d+)\.(\d+)\S*)`).FindStringSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("find the version of Redis: %s --version printed %q", binary, strings.TrimSpace(out))
	}
	major, majorErr := strconv.Atoi(m[2])
	minor, minorErr := strconv.Atoi(m[3])
	if err := errors.Join(majorErr, minorErr); err != nil {
		return "", fmt.Errorf("read the version of Redis: %w", err)
	}
	if major < 6 || major == 6 && minor < 2 {
		return "", fmt.Errorf("%s is Redis %s, and MASS needs 6.2 or newer: update it, or set REDIS_URL to a newer server", binary, m[1])
	}
	return m[1], nil
}

// redisConfig returns the configuration that Redis reads from standard input:
// on the command line, every user of the machine could see the password.
func redisConfig(port int, secret string, ephemeral bool) string {
	lines := []string{
		"bind 127.0.0.1",
		"port " + strconv.Itoa(port),
		"requirepass " + secret,
		"databases 1024",
		"maxmemory-policy noeviction", // an evicted key is a lost task
		`save ""`,
	}
	if !ephemeral {
		lines = append(lines, "appendonly yes", "appendfsync everysec")
	}
	return strings.Join(lines, "\n") + "\n"
}

// pingRedis speaks the protocol itself, because the client library logs every
// refused connection.
func pingRedis(ctx context.Context, port int, secret string) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", redisAddr(port))
	if err != nil {
		return fmt.Errorf("connect to Redis: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	ask, expected := "PING\r\n", []string{"+PONG"}
	if secret != "" {
		ask, expected = "AUTH "+secret+"\r\n"+ask, []string{"+OK", "+PONG"}
	}
	if _, err := io.WriteString(conn, ask); err != nil {
		return fmt.Errorf("ping Redis: %w", err)
	}
	answers := bufio.NewScanner(conn)
	for _, want := range expected { // "-LOADING …" while Redis reads its data
		if !answers.Scan() {
			return fmt.Errorf("ping Redis: %w", cmp.Or(answers.Err(), io.ErrUnexpectedEOF))
		}
		if got := answers.Text(); got != want {
			return fmt.Errorf("ping Redis: it answered %q", got)
		}
	}
	return nil
}
