package config

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/webhook"
)

// Webhooks is about callbacks: messages to URLs that clients name.
type Webhooks struct {
	Secret      string
	AllowHTTP   bool
	AllowNets   Networks
	Timeout     time.Duration
	Concurrency int
	MaxTries    int
	RetryBase   time.Duration
	RetryMax    time.Duration
	PublicURL   string
}

func (w *Webhooks) settings() []setting {
	return []setting{{
		value: &w.Secret, env: "MASS_WEBHOOK_SECRET", usedBy: "api worker dev", secret: true,
		help: "secret that signs callbacks: whsec_ and the base64 of 24 to 64 bytes; to rotate it, set several, " +
			"separated by spaces: each callback is signed with all of them; without a secret, " +
			"submissions with a callback_url are refused",
	}, {
		value: &w.AllowHTTP, env: "MASS_WEBHOOK_ALLOW_HTTP", usedBy: "api worker dev", def: "false",
		help: "true allows callbacks to plain http:// URLs",
	}, {
		value: &w.AllowNets, env: "MASS_WEBHOOK_ALLOW_NETS", usedBy: "api worker dev",
		help: "networks outside the public internet that callbacks may reach, " +
			"separated by commas, such as 10.1.0.0/16",
	}, {
		value: &w.Timeout, env: "MASS_WEBHOOK_TIMEOUT", usedBy: "worker dev", def: "10s", min: "10ms", max: "5m",
		help: "time limit for one attempt to deliver a callback",
	}, {
		value: &w.Concurrency, env: "MASS_WEBHOOK_CONCURRENCY", usedBy: "worker dev", def: "16", min: "1",
		help: "number of callbacks that a worker delivers at once; a single receiver gets at most half of them",
	}, {
		value: &w.MaxTries, env: "MASS_WEBHOOK_MAX_TRIES", usedBy: "worker dev", def: "17", min: "1",
		help: "number of attempts to deliver a callback before it is given up as dead, " +
			"which takes about a day with the defaults",
	}, {
		value: &w.RetryBase, env: "MASS_WEBHOOK_RETRY_BASE", usedBy: "worker dev", def: "5s", min: "1ms",
		help: "wait after the first failed attempt to deliver a callback; it doubles with each further one",
	}, {
		value: &w.RetryMax, env: "MASS_WEBHOOK_RETRY_MAX", usedBy: "worker dev", def: "4h", min: "1ms",
		help: "longest wait between two attempts to deliver a callback, even when its receiver asks for a longer one",
	}, {
		value: &w.PublicURL, env: "MASS_PUBLIC_URL", usedBy: "worker dev",
		help: "URL at which clients reach the API, such as https://mass.example.com, for links in callbacks; " +
			"without it the links are paths only",
	}}
}

func (w *Webhooks) check() error {
	var errs []error
	if w.Secret != "" {
		if _, err := webhook.ParseSecrets(w.Secret); err != nil {
			errs = append(errs, fmt.Errorf("MASS_WEBHOOK_SECRET: %w", err))
		}
	}
	errs = append(errs, checkWaits("MASS_WEBHOOK_RETRY_BASE", w.RetryBase, "MASS_WEBHOOK_RETRY_MAX", w.RetryMax))
	u, err := url.Parse(w.PublicURL)
	if w.PublicURL != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "") {
		errs = append(errs, errors.New("MASS_PUBLIC_URL is not a URL such as https://mass.example.com"))
	}
	return errors.Join(errs...)
}
