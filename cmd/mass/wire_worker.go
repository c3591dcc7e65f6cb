package main

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/leomutto/pilot-in-a-box/internal/config"
	"github.com/leomutto/pilot-in-a-box/internal/webhook"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/worker"
	"github.com/leomutto/pilot-in-a-box/worker/leader"
)

// newWorker returns the worker that the settings ask for.
func newWorker(b *backends, c *config.Config, log *slog.Logger) (*worker.Worker, error) {
	callbacks, err := webhookConfig(c)
	if err != nil {
		return nil, err
	}
	return worker.New(b.store, b.redis, b.enqueuer, newPipeline(), worker.Config{
		Concurrency:     c.Worker.Concurrency,
		BatchMax:        c.Queue.BatchMax,
		PayloadBytes:    c.Worker.Memory,
		CallerMax:       c.Limits.CallerMaxRunning,
		Retry:           jobs.RetryPolicy(c.Worker.Retry),
		RequestTimeout:  c.Worker.RequestTimeout,
		ShutdownTimeout: c.ShutdownTimeout,
		PollInterval:    c.Worker.PollInterval,
		Heartbeat:       c.Worker.Heartbeat,
		Leader:          leaderConfig(c),
		Webhooks:        callbacks,
		Version:         buildVersion(),
	}, log), nil
}

// leaderConfig says how the duties of the leader work.
func leaderConfig(c *config.Config) leader.Config {
	r := c.Worker.Reconcile
	return leader.Config{
		Interval:          r.Interval,
		Grace:             r.Grace,
		SilentAfter:       r.SilentAfter,
		Step:              r.Step,
		MaxRescues:        r.MaxRescues,
		Retention:         r.Retention,
		ReadingsRetention: r.ReadingsRetention,
		BatchMax:          c.Queue.BatchMax,
		CallerMax:         c.Limits.CallerMaxRunning,
	}
}

// webhookConfig says how a worker delivers callbacks. Without a secret it
// delivers none.
func webhookConfig(c *config.Config) (worker.WebhookConfig, error) {
	guard, signer, err := webhookGuard(&c.Webhooks)
	if guard == nil || err != nil {
		return worker.WebhookConfig{}, err
	}
	return worker.WebhookConfig{
		Client: webhook.NewClient(webhook.Config{
			Guard: *guard, Timeout: c.Webhooks.Timeout, UserAgent: "mass/" + buildVersion(),
		}, signer),
		Concurrency: c.Webhooks.Concurrency,
		Timeout:     c.Webhooks.Timeout,
		Retry: jobs.RetryPolicy{
			MaxTries: c.Webhooks.MaxTries,
			Base:     c.Webhooks.RetryBase,
			Max:      c.Webhooks.RetryMax,
			Jitter:   c.Worker.Retry.Jitter,
		},
		PublicURL: strings.TrimSuffix(c.Webhooks.PublicURL, "/"),
	}, nil
}

// webhookGuard returns the guard that says where callbacks may go, and the
// signer of callbacks. Both are nil without a secret, because there are then no
// callbacks.
func webhookGuard(c *config.Webhooks) (*webhook.Guard, *webhook.Signer, error) {
	if c.Secret == "" {
		return nil, nil, nil
	}
	signer, err := webhook.ParseSecrets(c.Secret)
	if err != nil {
		return nil, nil, fmt.Errorf("read the secrets that sign callbacks: %w", err)
	}
	return &webhook.Guard{AllowHTTP: c.AllowHTTP, AllowNets: c.AllowNets}, signer, nil
}
