// Package config owns every setting of MASS: its name, default and meaning stand
// once, in the table of this file. It reads no environment by itself and does
// nothing with the values.
package config

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/leomutto/pilot-in-a-box/internal/webhook"
)

// Config holds all settings. A subcommand uses those whose "for" tag names it.
//
// Each setting is read from its flag, else from its environment variable, else
// from the file that the variable with the suffix _FILE names, else it is the
// default. The flag's name is that of the variable in lower case, without MASS_.
type Config struct {
	DatabaseURL string `env:"DATABASE_URL" for:"api worker migrate dev doctor user key audit" secret:"true" help:"PostgreSQL, as postgres://user:password@host:port/name"`
	RedisURL    string `env:"REDIS_URL" for:"api worker dev doctor" secret:"true" help:"Redis, as redis://, rediss://, redis-sentinel://…?master=name or redis-cluster://"`
	DataDir     string `env:"MASS_DATA_DIR" for:"dev doctor user key audit" default:".mass" help:"folder of the private servers' data"`

	Addr          string        `env:"MASS_ADDR" for:"api dev" default:":8000" help:"address to listen on"`
	MaxBody       int64         `env:"MASS_MAX_BODY" for:"api dev" default:"1048576" min:"1024" help:"largest request body, in bytes"`
	MaxBatchBody  int64         `env:"MASS_MAX_BATCH_BODY" for:"api dev" default:"33554432" min:"1024" help:"largest body of a batch of submissions, in bytes; each of them is bounded by MASS_MAX_BODY"`
	MaxDepth      int           `env:"MASS_MAX_DEPTH" for:"api dev" default:"32" min:"4" help:"deepest nesting of a payload"`
	AnswerTimeout time.Duration `env:"MASS_ANSWER_TIMEOUT" for:"api dev" default:"5s" min:"100ms" help:"how long a request waits for the database before it is answered 503"`
	MaxBacklog    int           `env:"MASS_MAX_BACKLOG" for:"api dev" default:"0" min:"0" help:"pending requests beyond which submissions are answered 429; 0 is no limit"`
	ReadTimeout   time.Duration `env:"MASS_READ_TIMEOUT" for:"api dev" default:"15s" min:"100ms" help:"for reading one HTTP request"`
	WriteTimeout  time.Duration `env:"MASS_WRITE_TIMEOUT" for:"api dev" default:"30s" min:"100ms" help:"for answering one HTTP request"`
	IdleTimeout   time.Duration `env:"MASS_IDLE_TIMEOUT" for:"api dev" default:"2m" min:"1s" help:"of a connection that is kept open"`
	DrainDelay    time.Duration `env:"MASS_DRAIN_DELAY" for:"api" default:"0s" help:"between saying not ready and the end of accepting, for load balancers to notice"`

	MaxHeaders     int    `env:"MASS_MAX_HEADERS" for:"api dev" default:"100" min:"20" help:"header fields of a request at most"`
	MaxHeaderBytes int    `env:"MASS_MAX_HEADER_BYTES" for:"api dev" default:"65536" min:"4096" help:"bytes of a request's header at most, about"`
	TLSCert        string `env:"MASS_TLS_CERT" for:"api" help:"file with the certificate, and those between it and its root, in PEM form; read again when it changes; without it the API speaks plain HTTP"`
	TLSKey         string `env:"MASS_TLS_KEY" for:"api" help:"file with the key of MASS_TLS_CERT, in PEM form"`
	TrustedProxies string `env:"MASS_TRUSTED_PROXIES" for:"api" help:"networks of the proxies whose X-Forwarded-For and X-Forwarded-Proto are believed, such as 10.1.0.0/16, separated by commas"`
	CORSOrigins    string `env:"MASS_CORS_ORIGINS" for:"api dev" help:"origins of other sites whose scripts may call the API with a token, such as https://app.example.com, separated by commas"`

	Auth         string        `env:"MASS_AUTH" for:"api dev" default:"on" oneof:"on off" help:"off makes everybody an admin; only where MASS_ADDR is a loopback address, for benchmarks and behind a proxy of the same host that asks who it is"`
	AuthSecret   string        `env:"MASS_AUTH_SECRET" for:"api dev" secret:"true" help:"signs access tokens (HS256): at least 32 bytes, such as of openssl rand -hex 32; several, separated by spaces, while they rotate: the first one signs; this or MASS_AUTH_KEYS is needed, except by mass dev"`
	AuthKeys     string        `env:"MASS_AUTH_KEYS" for:"api dev" help:"PEM files with Ed25519 or RSA keys, or folders of them, separated by commas; the last private key in order of name signs, the others verify"`
	AuthIssuer   string        `env:"MASS_AUTH_ISSUER" for:"api dev" default:"mass" help:"iss of access tokens; others are refused"`
	AuthAudience string        `env:"MASS_AUTH_AUDIENCE" for:"api dev" default:"mass" help:"aud of access tokens; others are refused"`
	AccessTTL    time.Duration `env:"MASS_ACCESS_TTL" for:"api dev" default:"10m" min:"10s" max:"24h" help:"how long an access token is good"`
	RefreshTTL   time.Duration `env:"MASS_REFRESH_TTL" for:"api dev" default:"168h" min:"1m" help:"how long a login can be refreshed"`
	SessionTTL   time.Duration `env:"MASS_SESSION_TTL" for:"api dev" default:"12h" min:"1m" help:"how long a browser stays logged in"`
	SessionIdle  time.Duration `env:"MASS_SESSION_IDLE" for:"api dev" default:"1h" min:"5m" help:"how long a browser stays logged in that asks for nothing"`

	BatchMax        int           `env:"MASS_BATCH_MAX" for:"api worker dev" default:"64" min:"1" max:"1000" help:"requests in one task at most"`
	TaskRetention   time.Duration `env:"MASS_TASK_RETENTION" for:"api worker dev" default:"5m" help:"how long finished tasks stay visible in Asynqmon"`
	ShutdownTimeout time.Duration `env:"MASS_SHUTDOWN_TIMEOUT" for:"api worker dev" default:"20s" min:"1s" help:"how long running work may go on after SIGTERM"`

	Concurrency    int           `env:"MASS_CONCURRENCY" for:"worker dev" default:"32" min:"1" help:"batches worked on at once"`
	CallerRate     int           `env:"MASS_CALLER_RATE" for:"api dev" default:"0" min:"0" help:"requests of one caller a second, a batch of submissions counted by item; 0 is no limit"`
	CallerBurst    int           `env:"MASS_CALLER_BURST" for:"api dev" default:"0" min:"0" help:"requests of one caller at once, where that is more than MASS_CALLER_RATE"`
	AddressRate    int           `env:"MASS_ADDRESS_RATE" for:"api dev" default:"100" min:"0" help:"requests of one address a second that show no valid token; 0 is no limit"`
	CallerMax      int           `env:"MASS_CALLER_MAX_RUNNING" for:"worker dev" default:"0" min:"0" help:"requests of one caller that run at once on all workers together; 0 is no limit"`
	MaxTries       int           `env:"MASS_MAX_TRIES" for:"worker dev" default:"5" min:"1" help:"tries of a request before it fails"`
	RetryBase      time.Duration `env:"MASS_RETRY_BASE" for:"worker dev" default:"1s" min:"1ms" help:"wait after the first failed try; doubles with each"`
	RetryMax       time.Duration `env:"MASS_RETRY_MAX" for:"worker dev" default:"10m" min:"1ms" help:"longest wait between two tries"`
	RetryJitter    float64       `env:"MASS_RETRY_JITTER" for:"worker dev" default:"0.25" min:"0" max:"1" help:"share of the wait that is added at random"`
	RequestTimeout time.Duration `env:"MASS_REQUEST_TIMEOUT" for:"worker dev doctor" default:"30s" min:"10ms" help:"for one try of one request"`
	PollInterval   time.Duration `env:"MASS_POLL_INTERVAL" for:"worker dev" default:"250ms" min:"1ms" help:"how often an idle worker looks at the queues when nobody wakes it"`
	Heartbeat      time.Duration `env:"MASS_HEARTBEAT" for:"worker dev" default:"1s" min:"10ms" help:"between two signs of life of a worker"`
	SilentAfter    time.Duration `env:"MASS_SILENT_AFTER" for:"worker dev doctor" default:"5s" min:"50ms" help:"without a sign of life, a worker's requests go to others"`
	MaxRescues     int           `env:"MASS_MAX_RESCUES" for:"worker dev" default:"10" min:"1" help:"workers that may die on a request before it fails"`
	Reconcile      time.Duration `env:"MASS_RECONCILE_INTERVAL" for:"worker dev" default:"1s" min:"10ms" help:"between two looks of the reconciler"`
	ReconcileGrace time.Duration `env:"MASS_RECONCILE_GRACE" for:"worker dev doctor" default:"5s" min:"10ms" help:"age of a batch before a missing task counts"`
	ReconcileStep  int           `env:"MASS_RECONCILE_STEP" for:"worker dev" default:"500" min:"1" max:"10000" help:"batches the reconciler checks a look"`
	Retention      time.Duration `env:"MASS_RETENTION" for:"worker dev" default:"0s" help:"how long final requests are kept, at least 1m; 0 for ever"`

	WebhookSecret      string        `env:"MASS_WEBHOOK_SECRET" for:"api worker dev" secret:"true" help:"signs callbacks: whsec_ and the base64 of 24 to 64 bytes; several, separated by spaces, while they rotate; without one a callback_url is refused"`
	WebhookAllowHTTP   bool          `env:"MASS_WEBHOOK_ALLOW_HTTP" for:"api worker dev" default:"false" help:"callbacks over http, too: true or false"`
	WebhookAllowNets   string        `env:"MASS_WEBHOOK_ALLOW_NETS" for:"api worker dev" help:"networks that callbacks may reach though they are not of the public internet, such as 10.1.0.0/16, separated by commas"`
	WebhookTimeout     time.Duration `env:"MASS_WEBHOOK_TIMEOUT" for:"worker dev" default:"10s" min:"10ms" max:"5m" help:"for one try to deliver a callback"`
	WebhookConcurrency int           `env:"MASS_WEBHOOK_CONCURRENCY" for:"worker dev" default:"16" min:"1" help:"callbacks under way at once; one receiver gets half of them at most"`
	WebhookMaxTries    int           `env:"MASS_WEBHOOK_MAX_TRIES" for:"worker dev" default:"17" min:"1" help:"tries of a callback before it is dead; with the defaults, within about a day"`
	WebhookRetryBase   time.Duration `env:"MASS_WEBHOOK_RETRY_BASE" for:"worker dev" default:"5s" min:"1ms" help:"wait after the first failed try of a callback; doubles with each"`
	WebhookRetryMax    time.Duration `env:"MASS_WEBHOOK_RETRY_MAX" for:"worker dev" default:"4h" min:"1ms" help:"longest wait between two tries of a callback, also when the receiver asks for more"`
	PublicURL          string        `env:"MASS_PUBLIC_URL" for:"worker dev" help:"where clients reach the API, such as https://mass.example.com, for links in callbacks; without it they are paths"`

	DBMaxConns         int           `env:"MASS_DB_MAX_CONNS" for:"api worker dev doctor" default:"16" min:"4" help:"database connections of this process at most"`
	DBMaxIdle          int           `env:"MASS_DB_MAX_IDLE" for:"api worker dev doctor" default:"8" min:"0" help:"database connections kept open when idle"`
	DBConnLifetime     time.Duration `env:"MASS_DB_CONN_LIFETIME" for:"api worker dev" default:"30m" help:"age at which a database connection is renewed; 0 never"`
	DBConnectTimeout   time.Duration `env:"MASS_DB_CONNECT_TIMEOUT" for:"api worker dev doctor user key audit" default:"3s" min:"1s" help:"for connecting to the database, in whole seconds"`
	DBStatementTimeout time.Duration `env:"MASS_DB_STATEMENT_TIMEOUT" for:"api worker dev doctor user key audit" default:"10s" min:"100ms" help:"for one statement, enforced by the server"`

	LogLevel  string `env:"MASS_LOG_LEVEL" for:"api worker migrate dev" default:"info" oneof:"debug info warn error" help:"debug, info, warn or error"`
	LogFormat string `env:"MASS_LOG_FORMAT" for:"api worker migrate dev" default:"text" oneof:"text json" help:"text or json"`
}

// check reports what no single value can: values that do not go together, and
// missing ones.
func (c *Config) check(command string) error {
	var errs []error
	needsServers := command == "api" || command == "worker" || command == "migrate"
	if needsServers && c.DatabaseURL == "" {
		errs = append(errs, errors.New("DATABASE_URL is not set"))
	}
	if needsServers && command != "migrate" && c.RedisURL == "" {
		errs = append(errs, errors.New("REDIS_URL is not set"))
	}
	if command == "worker" || command == "dev" {
		if c.Retention != 0 && c.Retention < time.Minute {
			errs = append(errs, fmt.Errorf("MASS_RETENTION (%v) must be 0 or at least 1m: results would go before anybody read them", c.Retention))
		}
		if c.SilentAfter < 3*c.Heartbeat {
			errs = append(errs, fmt.Errorf("MASS_SILENT_AFTER (%v) must be at least three times MASS_HEARTBEAT (%v)", c.SilentAfter, c.Heartbeat))
		}
		if c.RetryMax < c.RetryBase {
			errs = append(errs, fmt.Errorf("MASS_RETRY_MAX (%v) must not be below MASS_RETRY_BASE (%v)", c.RetryMax, c.RetryBase))
		}
	}
	if command == "api" || command == "worker" || command == "dev" {
		errs = append(errs, c.checkWebhooks())
	}
	if command == "api" || command == "dev" {
		errs = append(errs, c.checkEdge(), c.checkAuth(command))
	}
	if c.DBMaxIdle > c.DBMaxConns && command != "migrate" {
		errs = append(errs, fmt.Errorf("MASS_DB_MAX_IDLE (%d) must not be above MASS_DB_MAX_CONNS (%d)", c.DBMaxIdle, c.DBMaxConns))
	}
	return errors.Join(errs...)
}

func (c *Config) checkWebhooks() error {
	var errs []error
	if c.WebhookSecret != "" {
		if _, err := webhook.ParseSecrets(c.WebhookSecret); err != nil {
			errs = append(errs, fmt.Errorf("MASS_WEBHOOK_SECRET: %w", err))
		}
	}
	if _, err := webhook.ParseNets(c.WebhookAllowNets); err != nil {
		errs = append(errs, fmt.Errorf("MASS_WEBHOOK_ALLOW_NETS: %w", err))
	}
	if c.WebhookRetryMax < c.WebhookRetryBase {
		errs = append(errs, fmt.Errorf("MASS_WEBHOOK_RETRY_MAX (%v) must not be below MASS_WEBHOOK_RETRY_BASE (%v)", c.WebhookRetryMax, c.WebhookRetryBase))
	}
	if u, err := url.Parse(c.PublicURL); c.PublicURL != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "") {
		errs = append(errs, errors.New("MASS_PUBLIC_URL is not a URL such as https://mass.example.com"))
	}
	return errors.Join(errs...)
}
