package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/biocore"
	"github.com/leomutto/pilot-in-a-box/internal/config"
	"github.com/leomutto/pilot-in-a-box/internal/webhook"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/store"
	"github.com/leomutto/pilot-in-a-box/worker"
	"github.com/leomutto/pilot-in-a-box/worker/leader"
)

// newWorker returns the worker that the settings ask for.
func newWorker(b *backends, c *config.Config, log *slog.Logger) (*worker.Worker, error) {
	callbacks, err := webhookConfig(c)
	if err != nil {
		return nil, err
	}
	recommend, err := recommendConfig(&c.BioCore)
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
		Recommend:       recommend,
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
		Recommend:         recommendPolicy(&c.BioCore),
	}
}

// recommendPolicy says for which requests BioCore is asked. Without BioCore it
// is asked for none.
func recommendPolicy(c *config.BioCore) store.RecommendPolicy {
	if !c.On() {
		return store.RecommendPolicy{}
	}
	return store.RecommendPolicy{MaxAge: c.MaxAge, Patience: c.Patience}
}

// recommendConfig says how a worker asks BioCore. Without BioCore it asks
// nothing.
func recommendConfig(c *config.BioCore) (worker.RecommendConfig, error) {
	if !c.On() {
		return worker.RecommendConfig{}, nil
	}
	roots, err := certificates(c.CA)
	if err != nil {
		return worker.RecommendConfig{}, fmt.Errorf("read MASS_BIOCORE_CA: %w", err)
	}
	var proxy func(*http.Request) (*url.URL, error)
	if c.Proxy != "" {
		u, err := url.Parse(c.Proxy)
		if err != nil {
			return worker.RecommendConfig{}, errors.New("MASS_BIOCORE_PROXY is not a URL")
		}
		proxy = http.ProxyURL(u)
	}
	client, err := biocore.New(biocore.Options{
		URL: c.URL, Token: c.Token, RootCAs: roots, Proxy: proxy, UserAgent: "mass/" + buildVersion(),
		ConnectTimeout: c.ConnectTimeout, Timeout: c.Timeout, ReadTimeout: c.ReadTimeout, MaxAnswer: c.MaxAnswer,
		MaxCalls: c.Concurrency, MaxTries: c.MaxTries, RetryDelay: biocoreRetryDelay,
		BreakerFailures: c.BreakerFailures, BreakerPause: c.BreakerPause,
	})
	if err != nil {
		return worker.RecommendConfig{}, err
	}
	return worker.RecommendConfig{
		Client: client, Concurrency: c.Concurrency, Timeout: c.Timeout, PollEvery: c.PollInterval,
		Retry: jobs.RetryPolicy{Base: c.RetryBase, Max: c.RetryMax, Jitter: 0.25},
	}, nil
}

// biocoreRetryDelay is the average wait before the first retry within one
// question.
const biocoreRetryDelay = 100 * time.Millisecond

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
