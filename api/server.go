// Package api is the HTTP edge of MASS: routes, handlers, the shapes of requests
// and answers, problem details, the OpenAPI document, Swagger UI and Asynqmon.
//
// It first commits a submission to the store and answers it. Enqueueing the
// batch in Redis happens in the background, so a submission never waits for
// Redis. Package api knows no SQL and no worker; it shares package jobs with the
// workers.
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
	"github.com/leomutto/pilot-in-a-box/internal/figures"
	"github.com/leomutto/pilot-in-a-box/internal/refusal"
	"github.com/leomutto/pilot-in-a-box/internal/web"
	"github.com/leomutto/pilot-in-a-box/internal/webhook"
	"github.com/leomutto/pilot-in-a-box/jobs/queue"
	"github.com/leomutto/pilot-in-a-box/store"
)

// Config holds the settings of a Server. Every field must be set unless its
// comment says otherwise: the defaults are in internal/config.
type Config struct {
	Addr         string // address to listen on
	Version      string // shown in the OpenAPI document and by the health endpoints
	MaxBody      int64  // maximum size of a request body, in bytes
	MaxBatchBody int64  // maximum size of the body of a batch submission, in bytes
	MaxDepth     int    // maximum nesting of objects and arrays in a payload
	BatchMax     int    // maximum number of requests in a batch

	MaxBacklog int // number of pending requests beyond which submissions get 429; 0: no limit

	AnswerTimeout   time.Duration // how long a request may wait for Postgres before it gets 503
	DrainDelay      time.Duration // time between reporting "not ready" and closing the port, for load balancers to notice; 0: none
	ShutdownTimeout time.Duration // time limit for a graceful shutdown, not counting DrainDelay

	ReadHeaderTimeout time.Duration // time limit for reading the header of a request
	ReadTimeout       time.Duration // time limit for reading a whole request
	WriteTimeout      time.Duration // time limit from the end of the header to the end of the answer
	IdleTimeout       time.Duration // how long an idle keep-alive connection stays open

	WaitInterval time.Duration // how often all awaited requests are checked, because notifications can be lost
	KeepAlive    time.Duration // interval of the keep-alive comments in an event stream

	MaxHeaders     int // maximum number of header fields in a request
	MaxHeaderBytes int // approximate maximum size of a request header, in bytes

	TLSCert, TLSKey string        // paths of PEM files; "": plain HTTP
	TLSReload       time.Duration // how often these files are checked for changes

	TrustedProxies []netip.Prefix // proxies whose X-Forwarded-For and X-Forwarded-Proto are trusted; nil: none
	Origins        []string       // web origins whose scripts may call the API with a token; nil: none
	KeyMaxAge      time.Duration  // longest life of a new API key; 0: no limit
	Access         access.Config  // how callers identify themselves, and their rate limits; New sets its LookupTimeout

	Callbacks *webhook.Guard // decides where callbacks may go; nil: every callback_url is refused, because there is no signing secret

	// PendingMigrations returns the number of migrations that have not been
	// applied, for the readiness check. nil: not checked.
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
	pages      *memoryRoom
	figures    *figures.Figures
	guard      *access.Guard
	huma       huma.API // checks the parameters of operations and describes them
	document   *document
	handler    http.Handler
	listener   net.Listener // nil before Listen
	keys       *web.KeyPair // nil for plain HTTP, and before Listen
	draining   atomic.Bool
}

// New returns a Server whose Handler can be used at once. The caller closes st
// and rdb after Serve or Close has returned.
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
	s.pages = newPageRoom(cfg.MaxBody, cfg.AnswerTimeout)
	s.figures = figures.New(st, cfg.AnswerTimeout)
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

// Listen opens the port and returns its address, which includes the port that
// the system chose if Config.Addr is ":0". Listen fails if the TLS certificate
// cannot be used.
func (s *Server) Listen() (net.Addr, error) {
	if s.cfg.TLSCert != "" {
		var err error
		if s.keys, err = web.LoadKeyPair(s.cfg.TLSCert, s.cfg.TLSKey, s.log); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("tcp", s.cfg.Addr) //nolint:noctx // opening a port does not block
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("%s is already in use; choose another address with --addr or MASS_ADDR: %w", s.cfg.Addr, err)
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
// server reports that it is not ready, stops accepting connections, finishes the
// requests in progress and enqueues the batches that it committed. The error is
// nil if all of that succeeded.
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
		stopped = fmt.Errorf("finish the requests in progress: %w", errors.Join(stopped, srv.Close()))
	}
	if errors.Is(failed, http.ErrServerClosed) {
		failed = nil
	}
	return errors.Join(failed, stopped, s.Close(ctx))
}

// sleep waits for d. If the server ends earlier, sleep returns its error.
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

// Close stores the waiting submissions and enqueues the committed batches. Later
// submissions get 503. Serve calls Close itself. If ctx ends first, the
// reconciler enqueues the batches that Close did not.
func (s *Server) Close(ctx context.Context) error {
	s.draining.Store(true)
	s.waiting.Close()
	return errors.Join(s.intake.Close(ctx), s.background.Close(ctx))
}

const detailKeyReused = "This Idempotency-Key was used for another body before. Use a new key for a new submission."

// problemOf returns the problem for an error: the one of package refusal, except
// that a full backlog exists in the API alone.
func problemOf(err error) *web.Problem {
	if errors.Is(err, intake.ErrBacklogFull) {
		return &web.Problem{
			Status: http.StatusTooManyRequests, Code: web.CodeBacklogFull,
			Detail: "Too many MassRequests are waiting already. Try again later.", Cause: err,
		}
	}
	return refusal.Of(err)
}
