package config

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// BioCore is about the service that recommends. Without a URL it is off.
type BioCore struct {
	URL             string
	Token           string
	CA              string // file of the authorities that sign BioCore's certificate
	Proxy           string
	ConnectTimeout  time.Duration
	Timeout         time.Duration
	ReadTimeout     time.Duration
	MaxAnswer       int64 // bytes
	Concurrency     int
	MaxTries        int
	RetryBase       time.Duration
	RetryMax        time.Duration
	BreakerFailures int
	BreakerPause    time.Duration
	PollInterval    time.Duration
	MaxAge          time.Duration
	Patience        time.Duration
}

func (b *BioCore) settings() []setting {
	return []setting{{
		value: &b.URL, env: "MASS_BIOCORE_URL", usedBy: "worker dev",
		help: "address of BioCore, such as https://biocore.example:8443; without it, no recommendations are asked for, " +
			"except that mass dev then serves a reference model itself; off turns that off, too",
	}, {
		value: &b.Token, env: "MASS_BIOCORE_TOKEN", usedBy: "worker dev", secret: true,
		help: "bearer token that is sent to BioCore",
	}, {
		value: &b.CA, env: "MASS_BIOCORE_CA", usedBy: "worker dev",
		help: "PEM file of the authorities that sign BioCore's certificate; without it, the authorities of the system are trusted",
	}, {
		value: &b.Proxy, env: "MASS_BIOCORE_PROXY", usedBy: "worker dev",
		help: "URL of an HTTP proxy for the calls of BioCore; the proxy settings of the environment are not used",
	}, {
		value: &b.ConnectTimeout, env: "MASS_BIOCORE_CONNECT_TIMEOUT", usedBy: "worker dev", def: "2s", min: "1ms", max: "1m",
		help: "time limit for a connection to BioCore, and then again for its TLS handshake",
	}, {
		value: &b.Timeout, env: "MASS_BIOCORE_TIMEOUT", usedBy: "worker dev", def: "5s", min: "10ms", max: "5m",
		help: "time limit for one question to BioCore with all its retries; the timeout_ms and the service level objective of a request may shorten it",
	}, {
		value: &b.ReadTimeout, env: "MASS_BIOCORE_READ_TIMEOUT", usedBy: "worker dev", def: "2s", min: "1ms", max: "5m",
		help: "time limit for each read of an answer of BioCore",
	}, {
		value: &b.MaxAnswer, env: "MASS_BIOCORE_MAX_ANSWER", usedBy: "worker dev", def: "1048576", min: "1024", max: "67108864",
		help: "largest answer of BioCore that is accepted, in bytes",
	}, {
		value: &b.Concurrency, env: "MASS_BIOCORE_CONCURRENCY", usedBy: "worker dev", def: "4", min: "1", max: "1000",
		help: "number of questions that a worker asks BioCore at once",
	}, {
		value: &b.MaxTries, env: "MASS_BIOCORE_MAX_TRIES", usedBy: "worker dev", def: "3", min: "1", max: "100",
		help: "number of calls for one question within its time limit",
	}, {
		value: &b.RetryBase, env: "MASS_BIOCORE_RETRY_BASE", usedBy: "worker dev", def: "2s", min: "1ms", max: "30s",
		help: "wait before a question is asked again that BioCore did not answer; it doubles with each further one",
	}, {
		value: &b.RetryMax, env: "MASS_BIOCORE_RETRY_MAX", usedBy: "worker dev", def: "5s", min: "1ms", max: "30s",
		help: "longest wait before a question is asked again, unless BioCore asks for a longer one",
	}, {
		value: &b.BreakerFailures, env: "MASS_BIOCORE_BREAKER_FAILURES", usedBy: "worker dev", def: "5", min: "1", max: "1000",
		help: "number of failed calls in a row after which a worker does not call BioCore for a while",
	}, {
		value: &b.BreakerPause, env: "MASS_BIOCORE_BREAKER_PAUSE", usedBy: "worker dev", def: "5s", min: "10ms", max: "30s",
		help: "how long a worker does not call BioCore then, before one call tries whether it is back",
	}, {
		value: &b.PollInterval, env: "MASS_BIOCORE_POLL_INTERVAL", usedBy: "worker dev", def: "15s", min: "10ms", max: "10m",
		help: "how often a worker asks BioCore for its health and its model",
	}, {
		value: &b.MaxAge, env: "MASS_BIOCORE_MAX_AGE", usedBy: "worker dev", def: "24h", min: "1s",
		help: "recommendations are asked for only if the window of a request ended less than this before the request did",
	}, {
		value: &b.Patience, env: "MASS_BIOCORE_PATIENCE", usedBy: "worker dev", def: "1h", min: "1s",
		help: "how long after the end of a request BioCore is asked again, until its recommendations count as unavailable",
	}}
}

// BioCoreOff is the URL that turns recommendations off also in mass dev.
const BioCoreOff = "off"

// On reports whether BioCore is asked.
func (b *BioCore) On() bool { return b.URL != "" && b.URL != BioCoreOff }

func (b *BioCore) check() error {
	var errs []error
	if u, err := url.Parse(b.URL); b.On() && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "") {
		errs = append(errs, errors.New("MASS_BIOCORE_URL is not a URL such as https://biocore.example:8443")) // without the text, which may have a password
	}
	if u, err := url.Parse(b.Proxy); b.Proxy != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
		errs = append(errs, errors.New("MASS_BIOCORE_PROXY is not a URL such as http://proxy.example:3128"))
	}
	if strings.ContainsFunc(b.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		errs = append(errs, errors.New("MASS_BIOCORE_TOKEN has a character that is not printable ASCII"))
	}
	if b.Patience > b.MaxAge {
		errs = append(errs, fmt.Errorf("MASS_BIOCORE_PATIENCE (%v) must not be above MASS_BIOCORE_MAX_AGE (%v)", b.Patience, b.MaxAge))
	}
	return errors.Join(append(errs, checkWaits("MASS_BIOCORE_RETRY_BASE", b.RetryBase, "MASS_BIOCORE_RETRY_MAX", b.RetryMax))...)
}
