package chaos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq" // registers the driver
	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/internal/devstack"
)

// authSecret signs access tokens; the harness itself uses an API key.
const authSecret = "chaos-chaos-chaos-chaos-chaos-chaos"

const startLimit = 20 * time.Second // from the start of an API to its first answer

// system is the system under test: the processes, the servers they use, and the
// load on them.
type system struct {
	cfg      Config
	marks    string // folder shared with the processes (DirVariable)
	apis     []*process
	workers  []*process
	load     *load
	receiver *receiver
	db       *sqlx.DB
	redis    redis.UniversalClient
	log      *slog.Logger

	dead  *devstack.Server // the Redis that the latest failover killed
	hit   atomic.Int64     // live tasks that the latest operation found
	mu    sync.Mutex
	notes []string
}

// newSystem starts all processes and returns when every API accepts
// connections.
func newSystem(ctx context.Context, cfg Config) (_ *system, err error) {
	s := &system{cfg: cfg, marks: filepath.Join(cfg.Dir, "marks"), log: cfg.Logger}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err := os.MkdirAll(s.marks, 0o700); err != nil {
		return nil, fmt.Errorf("make the shared folder: %w", err)
	}
	if s.db, err = sqlx.Open("postgres", cfg.Servers.AdminURL()+"&application_name=chaos&statement_timeout=60000&connect_timeout=3"); err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	s.db.SetMaxOpenConns(6)
	if s.redis, err = cfg.Servers.redisClient(); err != nil {
		return nil, err
	}

	token, err := s.credentials(ctx)
	if err != nil {
		return nil, err
	}
	var addrs []string
	for i := range cfg.APIs {
		a, err := s.process("api", i)
		if err != nil {
			return nil, err
		}
		if a.addr, err = freeAddr(); err != nil {
			return nil, err
		}
		a.env = append(a.env, "MASS_ADDR="+a.addr)
		s.apis = append(s.apis, a)
		addrs = append(addrs, a.addr)
	}
	for i := range cfg.Workers {
		w, err := s.process("worker", i)
		if err != nil {
			return nil, err
		}
		w.env = append(w.env, fmt.Sprintf("MASS_MAX_TRIES=%d", maxTries), "MASS_RETRY_BASE=100ms")
		w.env = append(w.env, cfg.WorkerSettings...)
		s.workers = append(s.workers, w)
	}
	s.load = newLoad(addrs, cfg.Rate, cfg.Seed)
	s.load.token = token
	if s.receiver, err = newReceiver(s.load.complain); err != nil {
		return nil, err
	}
	s.load.callback = s.receiver.url
	return s, s.startAll(ctx)
}

// process prepares the n-th process of a subcommand, with a correct clock.
func (s *system) process(subcommand string, n int) (*process, error) {
	name := fmt.Sprintf("%s-%d", subcommand, n+1)
	p := &process{
		name: name, binary: s.cfg.Binary, args: []string{subcommand}, log: filepath.Join(s.cfg.Dir, name+".log"),
		clock: filepath.Join(s.marks, "clock-"+name),
	}
	p.env = []string{
		"DATABASE_URL=" + s.cfg.Servers.databaseURL(n, subcommand == "worker"), "REDIS_URL=" + s.cfg.Servers.redisURL(),
		"MASS_LOG_LEVEL=warn", "MASS_AUTH_SECRET=" + authSecret, DirVariable + "=" + s.marks, clockVariable + "=" + p.clock,
	}
	if direct := s.cfg.Servers.directURL(n); direct != "" {
		p.env = append(p.env, "DATABASE_DIRECT_URL="+direct)
	}
	p.env = append(append(p.env, callbackSettings()...), s.cfg.Settings...)
	return p, p.setClock(0)
}

// processes returns the workers, followed by the APIs.
func (s *system) processes() []*process {
	return append(append([]*process(nil), s.workers...), s.apis...)
}

// startAll starts every process that is not running and resumes those that are
// stopped.
func (s *system) startAll(ctx context.Context) error {
	var errs []error
	for _, p := range s.processes() {
		errs = append(errs, p.start(), p.signal(syscall.SIGCONT))
	}
	for _, a := range s.apis {
		errs = append(errs, s.awaitAPI(ctx, a))
	}
	return errors.Join(errs...)
}

func (s *system) startAPI(ctx context.Context, a *process) error {
	return errors.Join(a.start(), s.awaitAPI(ctx, a))
}

// awaitAPI returns when the API accepts connections.
func (s *system) awaitAPI(ctx context.Context, a *process) error {
	err := until(ctx, startLimit, func() bool {
		conn, err := net.DialTimeout("tcp", a.addr, time.Second) //nolint:noctx // until bounds it
		if err == nil {
			_ = conn.Close()
		}
		return err == nil || !a.running()
	})
	if err == nil && !a.running() {
		err = errors.New("the process ended immediately; see " + a.log)
	}
	if err != nil {
		return fmt.Errorf("wait for %s: %w", a.name, err)
	}
	return nil
}

// unfinished counts all requests that are not final.
func (s *system) unfinished(ctx context.Context) (n int, err error) {
	err = s.db.GetContext(ctx, &n, `SELECT count(*) FROM mass_requests WHERE status IN ('pending', 'processing')`)
	return n, err
}

// undelivered counts the callbacks that are still pending.
func (s *system) undelivered(ctx context.Context) (n int, err error) {
	err = s.db.GetContext(ctx, &n, `SELECT count(*) FROM webhook_deliveries WHERE status = 'pending'`)
	return n, err
}

// leftovers are tasks that a system at rest must not have.
type leftovers struct {
	tasks    int // in a queue or scheduled, although every request is final
	orphans  int // active without a lease: Asynq would keep them forever
	recovery int // active with the lease of a dead server: not a leak, Asynq's recoverer will end them
}

// leftovers counts the live tasks in Redis.
func (s *system) leftovers(ctx context.Context) (l leftovers, err error) {
	for _, queue := range queues() {
		pending, err1 := s.redis.LLen(ctx, queueKey(queue, "pending")).Result()
		scheduled, err2 := s.redis.ZCard(ctx, queueKey(queue, "scheduled")).Result()
		retried, err3 := s.redis.ZCard(ctx, queueKey(queue, "retry")).Result()
		active, err4 := s.redis.LRange(ctx, queueKey(queue, "active"), 0, -1).Result()
		leased, err5 := s.redis.ZRange(ctx, queueKey(queue, "lease"), 0, -1).Result()
		if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
			return l, fmt.Errorf("look for leftovers in queue %s: %w", queue, err)
		}
		l.tasks += int(pending + scheduled + retried)
		has := map[string]bool{}
		for _, id := range leased {
			has[id] = true
		}
		for _, id := range active {
			if has[id] {
				l.recovery++
			} else {
				l.orphans++
			}
		}
	}
	return l, nil
}

// note adds something to the report that breaks no promise.
func (s *system) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	s.notes = append(s.notes, text)
	s.log.Warn(text)
}

// close kills every remaining process and closes all connections.
func (s *system) close() error {
	var errs []error
	for _, p := range s.processes() {
		errs = append(errs, p.kill())
	}
	if s.db != nil {
		errs = append(errs, s.db.Close())
	}
	if s.receiver != nil {
		errs = append(errs, s.receiver.close())
	}
	if s.redis != nil {
		errs = append(errs, s.redis.Close())
	}
	return errors.Join(errs...)
}

// freeAddr finds a port below the range that the system uses for outgoing
// connections, so that the port is still free when a killed API restarts.
func freeAddr() (string, error) {
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		if l, err := net.Listen("tcp", addr); err == nil { //nolint:noctx // opening a port does not wait for anybody
			return addr, l.Close()
		}
	}
	return "", errors.New("found no free port")
}
