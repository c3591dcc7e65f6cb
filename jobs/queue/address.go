package queue

import (
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Mode says how the servers of an Address form one Redis.
type Mode string

// The modes. Each is also the scheme of its URLs without TLS.
const (
	Single   Mode = "redis"
	Sentinel Mode = "redis-sentinel"
	Cluster  Mode = "redis-cluster"
)

// Address says where a Redis is and how to log in. ParseRedisURL makes it. Its
// text, also in a log, shows no password.
type Address struct {
	Mode  Mode
	Hosts []string // host:port of the server, of the Sentinels, or of nodes of the cluster

	Username, Password string
	DB                 int // always 0 in a cluster

	Master                             string // the name that the Sentinels have for the master
	SentinelUsername, SentinelPassword string // for the Sentinels themselves

	TLS               bool
	CAFile            string // PEM file of the only authorities that are trusted; "" means those of the system
	CertFile, KeyFile string // PEM files of the client's own certificate
	ServerName        string // the name in the certificates; "" means the host that is dialed
	SkipVerify        bool

	DialTimeout, ReadTimeout, WriteTimeout time.Duration // 0 means the default
	PoolSize                               int           // 0 means the default
}

const redacted = "***"

// String returns the address as a URL in which every password is "***".
func (a Address) String() string {
	query := make([]string, 0, 8)
	add := func(name, value string) {
		if value != "" {
			query = append(query, name+"="+url.QueryEscape(value))
		}
	}
	add("master", a.Master)
	add("sentinel_username", a.SentinelUsername)
	if a.SentinelPassword != "" {
		query = append(query, "sentinel_password="+redacted)
	}
	add("ca_file", a.CAFile)
	add("cert_file", a.CertFile)
	add("key_file", a.KeyFile)
	add("server_name", a.ServerName)
	if a.SkipVerify {
		add("skip_verify", "true")
	}
	addWait := func(name string, wait time.Duration) {
		if wait != 0 {
			add(name, wait.String())
		}
	}
	addWait("dial_timeout", a.DialTimeout)
	addWait("read_timeout", a.ReadTimeout)
	addWait("write_timeout", a.WriteTimeout)
	if a.PoolSize != 0 {
		add("pool_size", strconv.Itoa(a.PoolSize))
	}

	var text strings.Builder
	text.WriteString(a.scheme() + "://")
	if a.Password != "" {
		text.WriteString(escapeUserinfo(a.Username) + ":" + redacted + "@")
	}
	text.WriteString(strings.Join(a.Hosts, ","))
	if a.DB != 0 {
		text.WriteString("/" + strconv.Itoa(a.DB))
	}
	if len(query) > 0 {
		text.WriteString("?" + strings.Join(query, "&"))
	}
	return text.String()
}

// GoString keeps the passwords out of %#v.
func (a Address) GoString() string { return fmt.Sprintf("queue.Address(%q)", a.String()) }

// LogValue implements slog.LogValuer, for handlers that do not call String.
func (a Address) LogValue() slog.Value { return slog.StringValue(a.String()) }

// Secrets returns the passwords, for programs that remove them from texts.
func (a Address) Secrets() []string { return []string{a.Password, a.SentinelPassword} }

// scheme is the first part of the URL.
func (a Address) scheme() string {
	if !a.TLS {
		return string(a.Mode)
	}
	return "rediss" + strings.TrimPrefix(string(a.Mode), "redis")
}

func escapeUserinfo(text string) string {
	return strings.ReplaceAll(url.PathEscape(text), ":", "%3A")
}
