package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/leomutto/pilot-in-a-box/api"
	"github.com/leomutto/pilot-in-a-box/internal/access"
	"github.com/leomutto/pilot-in-a-box/internal/auth"
	"github.com/leomutto/pilot-in-a-box/internal/config"
	"github.com/leomutto/pilot-in-a-box/internal/limit"
	"github.com/leomutto/pilot-in-a-box/migrations"
)

// newAPI returns the API that the settings ask for. tune may change the
// configuration before the API is made.
func newAPI(b *backends, c *config.Config, log *slog.Logger, tune ...func(*api.Config)) (*api.Server, error) {
	cfg, err := apiConfig(c, log)
	if err != nil {
		return nil, err
	}
	cfg.PendingMigrations = func(ctx context.Context) (int, error) { return migrations.PendingIn(ctx, b.store.Pool()) }
	for _, f := range tune {
		f(&cfg)
	}
	return api.New(b.store, b.redis, b.enqueuer, cfg, log)
}

func apiConfig(c *config.Config, log *slog.Logger) (api.Config, error) {
	callers, err := authConfig(c, log)
	if err != nil {
		return api.Config{}, err
	}
	guard, _, err := webhookGuard(&c.Webhooks)
	if err != nil {
		return api.Config{}, err
	}
	return api.Config{
		Addr:    c.HTTP.Addr,
		Version: buildVersion(),

		MaxBody:        c.HTTP.MaxBody,
		MaxBatchBody:   c.HTTP.MaxBatchBody,
		MaxDepth:       c.HTTP.MaxDepth,
		MaxHeaders:     c.HTTP.MaxHeaders,
		MaxHeaderBytes: c.HTTP.MaxHeaderBytes,
		BatchMax:       c.Queue.BatchMax,

		AnswerTimeout:     c.HTTP.AnswerTimeout,
		ReadHeaderTimeout: c.HTTP.ReadHeaderTimeout,
		ReadTimeout:       c.HTTP.ReadTimeout,
		WriteTimeout:      c.HTTP.WriteTimeout,
		IdleTimeout:       c.HTTP.IdleTimeout,
		DrainDelay:        c.HTTP.DrainDelay,
		ShutdownTimeout:   c.ShutdownTimeout,
		WaitInterval:      c.HTTP.WaitInterval,
		KeepAlive:         c.HTTP.KeepAlive,

		TLSCert:        c.HTTP.TLSCert,
		TLSKey:         c.HTTP.TLSKey,
		TLSReload:      c.HTTP.TLSReload,
		TrustedProxies: c.HTTP.TrustedProxies,
		Origins:        c.HTTP.CORSOrigins,

		Access:     callers,
		KeyMaxAge:  c.Auth.KeyMaxAge,
		MaxBacklog: c.Limits.MaxBacklog,

		Callbacks: guard,
	}, nil
}

// authConfig says how the API identifies its callers.
func authConfig(c *config.Config, log *slog.Logger) (access.Config, error) {
	if c.Auth.Off() {
		log.Warn("authentication is off (MASS_AUTH): every caller who reaches this process is an admin", "address", c.HTTP.Addr)
		return access.Config{
			Off: true, CallerRate: c.Limits.CallerRate, CallerBurst: c.Limits.CallerBurst, AddressRate: c.Limits.AddressRate,
		}, nil
	}
	keys, err := auth.LoadKeyring(c.Auth.Secret, c.Auth.Keys)
	if err != nil {
		return access.Config{}, fmt.Errorf("read the keys that sign access tokens: %w", err)
	}
	return access.Config{
		Tokens: auth.NewTokens(auth.TokenConfig{
			Keys: keys, Issuer: c.Auth.Issuer, Audience: c.Auth.Audience, TTL: c.Auth.AccessTTL,
		}),
		RefreshTTL:  c.Auth.RefreshTTL,
		SessionTTL:  c.Auth.SessionTTL,
		SessionIdle: c.Auth.SessionIdle,
		CallerRate:  c.Limits.CallerRate,
		CallerBurst: c.Limits.CallerBurst,
		AddressRate: c.Limits.AddressRate,
		Throttle: access.ThrottleConfig{
			Account: limit.Rate{Burst: c.Auth.LoginTries, Every: c.Auth.LoginEvery},
			Address: limit.Rate{Burst: c.Auth.AddressLoginTries, Every: c.Auth.AddressLoginEvery},
		},
	}, nil
}
