package main

import (
	"strings"

	"github.com/leomutto/pilot-in-a-box/internal/config"
	"github.com/leomutto/pilot-in-a-box/internal/webhook"
	"github.com/leomutto/pilot-in-a-box/jobs"
	"github.com/leomutto/pilot-in-a-box/worker"
)

// webhookGuard says where callbacks may go; nil when nothing can sign them. The
// settings were checked when they were loaded.
func webhookGuard(c *config.Config) *webhook.Guard {
	nets, err := webhook.ParseNets(c.WebhookAllowNets)
	if err != nil || c.WebhookSecret == "" {
		return nil
	}
	return &webhook.Guard{AllowHTTP: c.WebhookAllowHTTP, AllowNets: nets}
}

// webhookConfig is how a worker delivers callbacks; not at all without a secret.
func webhookConfig(c *config.Config) worker.WebhookConfig {
	guard := webhookGuard(c)
	signer, err := webhook.ParseSecrets(c.WebhookSecret)
	if guard == nil || err != nil {
		return worker.WebhookConfig{}
	}
	return worker.WebhookConfig{
		Client: webhook.NewClient(webhook.Config{
			Guard: *guard, Timeout: c.WebhookTimeout, UserAgent: "mass/" + buildVersion(),
		}, signer),
		Concurrency: c.WebhookConcurrency, Timeout: c.WebhookTimeout,
		Retry: jobs.RetryPolicy{
			MaxTries: c.WebhookMaxTries, Base: c.WebhookRetryBase, Max: c.WebhookRetryMax, Jitter: c.RetryJitter,
		},
		PublicURL: strings.TrimSuffix(c.PublicURL, "/"),
	}
}
