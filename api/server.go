// Package api is the HTTP edge of MASS: routes, handlers, the shapes of requests
// and answers, problem details, the OpenAPI document, and the mounts of Swagger
// UI and Asynqmon.
//
// It commits a submission to the store first and hands its batch to Redis
// afterwards, off the path of the answer, so a submission never waits for
// Redis. It knows no SQL and no worker; what it shares with the workers is
// package jobs.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/api/intake"
	"github.com/leomutto/pilot-in-a-box/api/waiting"
	"github.com/leomutto/pilot-in-a-box/internal/access"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/internal/webhook"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/store"
)

// Config tunes a Server. It must be complete: the defaults are in internal/config.
type Config struct {
	Addr         string // address to listen on
	Version      string // shown in the OpenAPI document and by the health endpoints
	MaxBody      int64  // bytes of a request's body at most
	MaxBatchBody int64  // bytes of a batch's body at most
	MaxDepth     int    // objects and arrays nested in a payload at most
	BatchMax     int    // requests a batch at most

	MaxBacklog int // pending requests beyond which submissions are answered 429; 0: no limit

	AnswerTimeout   time.Duration // until a request that waits for Postgres is answered 503
	DrainDelay      time.Duration // between "not ready" and the end of accepting, for load balancers to notice; none
	ShutdownTimeout time.Duration // of a graceful shutdown, the delay not included

	ReadHeaderTimeout time.Duration
	ReadTimeout       time.Duration // of a whole request
	WriteTimeout      time.Duration // from the end of the header to the end of the answer
	IdleTimeout       time.Duration // of a kept-alive connection

	WaitInterval time.Duration // between looks at all requests that are waited for, whose notices may be lost
	KeepAlive    time.Duration // between signs of life in a stream of events

	MaxHeaders     int // header fields of a request at most
	MaxHeaderBytes int // bytes of a request's header at most, about

	TLSCert, TLSKey string        // files in PEM form; "": plain HTTP
	TLSReload       time.Duration // between looks at these files

	TrustedProxies []netip.Prefix // whose X-Forwarded-For and X-Forwarded-Proto are believed; nobody's
	Origins        []string       // whose scripts may call the API with a token; nobody's
	Access         access.Config  // how callers identify themselves, and their rates; LookupTimeout is AnswerTimeout

	Callbacks *webhook.Guard // where callbacks may go; nil: a callback_url is refused, for nothing can sign them

	// PendingMigrations counts the migrations that are still to be applied, for
	// the readiness check. nil: not checked.
	PendingMigrations func(ctx context.Context) (int, error)
}

// Server is the HTTP edge of one process.
type Server struct {
	cfg        Config
	log        *slog.Logger
	store      *store.Store
	rdb        redis.UniversalClient
	background *intake.Background
	handoff    *intake.Handoff
	intake     *intake.Intake
	waiting    *waiting.Hub
	readiness  *readiness
	guard      *access.Guard
	huma       huma.API // the operations: their checks and their document
	document   *document
	handler    http.Handler
	listener   net.Listener // nil before Listen
	keys       *web.KeyPair // nil for plain HTTP, and before Listen
	draining   atomic.Bool
}

// New returns a Server whose Handler works at once. The caller closes st and rdb
// after Serve or Close has returned.
func New(st *store.Store, rdb redis.UniversalClient, enq *queue.Enqueuer, cfg Config, log *slog.Logger) (*Server, error) {
	s := &Server{cfg: cfg, log: log, store: st, rdb: rdb}
	s.background = intake.NewBackground(log)
	s.handoff = intake.NewHandoff(s.background, st, enq, rdb)
	s.intake = intake.New(intake.Options{
		Store: st, Handoff: s.handoff, BatchMax: s.cfg.BatchMax, MaxBacklog: s.cfg.MaxBacklog, Timeout: s.cfg.AnswerTimeout, Log: log,
	})
	s.waiting = waiting.New(waiting.Options{
		Store: st, Redis: rdb, Interval: s.cfg.WaitInterval, Timeout: s.cfg.AnswerTimeout, Log: log,
	})
	s.readiness = newReadiness(s.probes())
	callers := s.cfg.Access
	callers.LookupTimeout = s.cfg.AnswerTimeout
	callers.PlainSessions = callers.PlainSessions || web.IsLoopback(s.cfg.Addr)
	var err error
	if s.guard, err = access.New(st, rdb, s.background, callers, log); err != nil {
		return nil, fmt.Errorf("set up the API: %w", err)
	}
	if err := s.route(); err != nil {
		return nil, fmt.Errorf("set up the API: %w", err)
	}
	return s, nil
}

// Handler serves the whole API.
func (s *Server) Handler() http.Handler { return s.handler }

// Listen opens the port and returns its address, which tells the port where
// Config.Addr leaves it to the system (":0"). A certificate that cannot be used
// is found here.
func (s *Server) Listen() (net.Addr, error) {
	if s.cfg.TLSCert != "" {
		var err error
		if s.keys, err = web.LoadKeyPair(s.cfg.TLSCert, s.cfg.TLSKey, s.log); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("tcp", s.cfg.Addr) //nolint:noctx // opening a port does not wait for anybody
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("%s is taken by another server; choose another address with --addr or MASS_ADDR: %w", s.cfg.Addr, err)
		}
		return nil, fmt.Errorf("listen: %w", err)
	}
	s.listener = l
	return l.Addr(), nil
}

// Run is Listen and Serve.
func (s *Server) Run(ctx context.Context) error {
	if _, err := s.Listen(); err != nil {
		return err
	}
	return s.Serve(ctx)
}

// Serve answers requests on the port that Listen opened until ctx ends. Then the
// server says that it is not ready, stops accepting, finishes what it took and
// hands over what it committed. The error is nil when all of that was done.
func (s *Server) Serve(ctx context.Context) error {
	srv := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: s.cfg.ReadHeaderTimeout,
		ReadTimeout:       s.cfg.ReadTimeout,
		WriteTimeout:      s.cfg.WriteTimeout,
		IdleTimeout:       s.cfg.IdleTimeout,
		MaxHeaderBytes:    s.cfg.MaxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	if s.keys != nil {
		srv.TLSConfig = s.keys.Config()
		go s.keys.Watch(ctx, s.cfg.TLSReload)
		go func() { served <- srv.ServeTLS(s.listener, "", "") }()
	} else {
		go func() { served <- srv.Serve(s.listener) }()
	}

	var failed error
	select {
	case failed = <-served:
	case <-ctx.Done():
		s.draining.Store(true)
		failed = sleep(s.cfg.DrainDelay, served)
	}
	s.waiting.Close() // answer all waiters now, so that Shutdown does not wait for them
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.ShutdownTimeout)
	defer cancel()
	stopped := srv.Shutdown(ctx)
	if stopped != nil {
		stopped = fmt.Errorf("finish the requests under way: %w", errors.Join(stopped, srv.Close()))
	}
	if errors.Is(failed, http.ErrServerClosed) {
		failed = nil
	}
	return errors.Join(failed, stopped, s.Close(ctx))
}

// sleep waits, or returns what ended the server before.
func sleep(d time.Duration, served <-chan error) error {
	if d <= 0 {
		return nil
	}
	select {
	case <-time.After(d):
		return nil
	case err := <-served:
		return err
	}
}

// Close flushes the submissions that wait and enqueues what was committed; later
// submissions are answered 503. Serve does so by itself. When ctx ends first,
// batches that were committed and not enqueued are left to the reconciler.
func (s *Server) Close(ctx context.Context) error {
	s.draining.Store(true)
	s.waiting.Close()
	return errors.Join(s.intake.Close(ctx), s.background.Close(ctx))
}
