package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"

	"github.com/redis/go-redis/v9"

	"github.com/leomutto/pilot-in-a-box/api"
	"github.com/leomutto/pilot-in-a-box/internal/config"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/migrations"
	"github.com/leomutto/pilot-in-a-box/store"
	"github.com/leomutto/pilot-in-a-box/worker"
)

// backends are the connections that the API and the workers share.
type backends struct {
	store    *store.Store
	redis    redis.UniversalClient
	enqueuer *jobs.Enqueuer
}

// open makes the connections. None is dialed before it is used, so a process
// starts, and says on its health endpoints what is wrong, while a server is away.
func open(c *config.Config, kind string) (*backends, error) {
	opt, err := jobs.ParseRedisURL(c.RedisURL)
	if err != nil {
		return nil, err
	}
	st, err := store.Open(store.Config{
		URL: c.DatabaseURL, MaxOpen: c.DBMaxConns, MaxIdle: c.DBMaxIdle, ConnLifetime: c.DBConnLifetime,
		ConnectTimeout: c.DBConnectTimeout, StatementTimeout: c.DBStatementTimeout, Application: "mass " + kind,
		Source: source(kind),
	})
	if err != nil {
		return nil, err
	}
	rdb, err := jobs.Dial(opt)
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return &backends{store: st, redis: rdb, enqueuer: jobs.NewEnqueuer(rdb, c.TaskRetention)}, nil
}

// source is this process as the trail knows it.
func source(kind string) store.Source {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return store.Source{Kind: kind, Version: buildVersion(), Commit: buildCommit(), Host: host, PID: os.Getpid()}
}

func (b *backends) close() error { return errors.Join(b.redis.Close(), b.store.Close()) }

// newAPI makes the API as the settings say; tune has the last word.
func newAPI(b *backends, c *config.Config, log *slog.Logger, tune ...func(*api.Config)) (*api.Server, error) {
	proxies, err := c.Proxies()
	if err != nil {
		return nil, err
	}
	origins, err := c.Origins()
	if err != nil {
		return nil, err
	}
	callers, err := authConfig(c, log)
	if err != nil {
		return nil, err
	}
	callers.CallerRate, callers.CallerBurst, callers.AddressRate = c.CallerRate, c.CallerBurst, c.AddressRate
	settings := api.Config{
		Addr: c.Addr, Version: buildVersion(), MaxBody: c.MaxBody, MaxBatchBody: c.MaxBatchBody, MaxDepth: c.MaxDepth, BatchMax: c.BatchMax, MaxBacklog: c.MaxBacklog,
		RequestTimeout: c.AnswerTimeout, DrainDelay: c.DrainDelay, ShutdownTimeout: c.ShutdownTimeout,
		ReadTimeout: c.ReadTimeout, WriteTimeout: c.WriteTimeout, IdleTimeout: c.IdleTimeout,
		MaxHeaders: c.MaxHeaders, MaxHeaderBytes: c.MaxHeaderBytes, TLSCert: c.TLSCert, TLSKey: c.TLSKey, TrustedProxies: proxies, Origins: origins,
		Access:            callers,
		Callbacks:         webhookGuard(c),
		PendingMigrations: func(ctx context.Context) (int, error) { return migrations.Pending(ctx, c.DatabaseURL) },
	}
	for _, f := range tune {
		f(&settings)
	}
	return api.New(b.store, b.redis, b.enqueuer, settings, log)
}

func newWorker(b *backends, c *config.Config, log *slog.Logger) *worker.Worker {
	return worker.New(b.store, b.redis, b.enqueuer, work(), worker.Config{
		Concurrency: c.Concurrency, BatchMax: c.BatchMax, CallerMax: c.CallerMax,
		Retry:          jobs.RetryPolicy{MaxTries: c.MaxTries, Base: c.RetryBase, Max: c.RetryMax, Jitter: c.RetryJitter},
		RequestTimeout: c.RequestTimeout, ShutdownTimeout: c.ShutdownTimeout, PollInterval: c.PollInterval, Heartbeat: c.Heartbeat,
		Reconcile: worker.ReconcileConfig{
			Interval: c.Reconcile, Grace: c.ReconcileGrace, SilentAfter: c.SilentAfter, Step: c.ReconcileStep, MaxRescues: c.MaxRescues,
			Retention: c.Retention,
		},
		Webhooks: webhookConfig(c),
		Version:  buildVersion(),
	}, log)
}

// newLogger returns a logger as the settings say. The libraries' own messages
// go through it, too.
func newLogger(c *config.Config, out io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		level = slog.LevelInfo // the settings were checked: this cannot happen
	}
	options := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}
