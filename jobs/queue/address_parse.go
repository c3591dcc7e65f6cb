package queue

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// ParseRedisURL reads the address of a Redis in one of these forms, over TLS
// when the scheme begins with "rediss":
//
//	redis://[user:password@]host[:port][/db]
//	redis-sentinel://[user:password@]host[:port],host[:port][/db]?master=name
//	redis-cluster://[user:password@]host[:port],host[:port]
//
// docs/configuration.md describes the parameters. ParseRedisURL refuses
// everything that it does not understand, because a setting that is accepted
// and not honored is found too late. No error shows a password.
//
// It does not use net/url for the whole text: that package refuses lists of IPv6
// addresses, and its errors show the text.
func ParseRedisURL(raw string) (Address, error) {
	a, err := parseAddress(raw)
	if err != nil {
		return Address{}, fmt.Errorf("the Redis URL %w", err)
	}
	return a, nil
}

// An error of the functions below continues the sentence "the Redis URL …".
var (
	errScheme = errors.New("must begin with redis://, rediss://, redis-sentinel://, rediss-sentinel://, redis-cluster:// or rediss-cluster://")
	errSpace  = errors.New("contains a space or a control character; such a character in a password is written as %20")
	errMark   = errors.New(`has one of the characters / ? # @ in a place where it cannot be; in a name or a password they are written as %2F %3F %23 %40`)
)

const (
	redisPort    = "6379"
	sentinelPort = "26379"
)

func parseAddress(raw string) (Address, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return Address{}, errScheme
	}
	a := Address{TLS: strings.HasPrefix(scheme, "rediss")}
	switch scheme {
	case "redis", "rediss":
		a.Mode = Single
	case "redis-sentinel", "rediss-sentinel":
		a.Mode = Sentinel
	case "redis-cluster", "rediss-cluster":
		a.Mode = Cluster
	default:
		return Address{}, errScheme
	}
	if strings.ContainsFunc(rest, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return Address{}, errSpace
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(rest, "/")
	if strings.ContainsAny(query, "@#?") || strings.ContainsAny(path, "@#") || strings.Contains(authority, "#") {
		return Address{}, errMark
	}
	hosts := authority
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		hosts = authority[at+1:]
		if err := a.parseLogin(authority[:at]); err != nil {
			return Address{}, err
		}
	}
	if err := errors.Join(a.parseHosts(hosts)); err != nil {
		return Address{}, err
	}
	if path = strings.TrimSuffix(path, "/"); path != "" {
		if err := a.setDB(path); err != nil {
			return Address{}, fmt.Errorf("has a path that %w", err)
		}
	}
	if err := a.parseQuery(query, path != ""); err != nil {
		return Address{}, err
	}
	return a, a.check()
}

func (a *Address) parseLogin(userinfo string) error {
	user, password, _ := strings.Cut(userinfo, ":")
	var err error
	if a.Username, err = url.PathUnescape(user); err != nil {
		return errors.New("has a % in the user name that no two hexadecimal digits follow; a % is written as %25")
	}
	if a.Password, err = url.PathUnescape(password); err != nil {
		return errors.New("has a % in the password that no two hexadecimal digits follow; a % is written as %25")
	}
	if a.Username != "" && a.Password == "" {
		return errors.New("names a user without a password; for a user who needs none, give any password")
	}
	return nil
}

func (a *Address) parseHosts(list string) error {
	port := redisPort
	switch {
	case a.Mode == Sentinel:
		port = sentinelPort
	case a.Mode == Single && list == "":
		list = "localhost"
	case a.Mode == Single && strings.Contains(list, ","):
		return errors.New("names several hosts, and the scheme is for one; for several there are redis-sentinel:// and redis-cluster://")
	}
	for i, host := range strings.Split(list, ",") {
		address, err := hostPort(host, port)
		if err != nil {
			return fmt.Errorf("%w (host %d)", err, i+1)
		}
		a.Hosts = append(a.Hosts, address)
	}
	return nil
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_.])?$`)

// hostPort completes an address with the default port. The errors do not show
// the text: without an @, it may be a part of a password.
func hostPort(text, port string) (string, error) {
	name, rest := text, ""
	if inner, ok := strings.CutPrefix(text, "["); ok {
		if name, rest, ok = strings.Cut(inner, "]"); !ok {
			return "", errors.New("has an IPv6 address without a closing bracket")
		}
		if ip, err := netip.ParseAddr(name); err != nil || !ip.Is6() || ip.Zone() != "" {
			return "", errors.New("has brackets around something that is not an IPv6 address")
		}
	} else {
		if strings.Count(text, ":") > 1 {
			return "", errors.New("has a host with several colons; an IPv6 address is written in brackets, as [::1]:6379")
		}
		if colon := strings.IndexByte(text, ':'); colon >= 0 {
			name, rest = text[:colon], text[colon:]
		}
		if !hostName.MatchString(name) {
			return "", errors.New("has a host that is neither a name nor an address")
		}
	}
	if rest != "" {
		digits, ok := strings.CutPrefix(rest, ":")
		if n, err := strconv.ParseUint(digits, 10, 16); !ok || err != nil || n == 0 {
			return "", errors.New("has a port that is not a number from 1 to 65535")
		}
		port = digits
	}
	return net.JoinHostPort(name, port), nil
}

func (a *Address) setDB(text string) error {
	n, err := strconv.ParseUint(text, 10, 31)
	switch {
	case err != nil:
		return errors.New("is not the number of a database, such as 3")
	case n > 0 && a.Mode == Cluster:
		return errors.New("names a database other than 0, and a cluster has no other")
	}
	a.DB = int(n)
	return nil
}

// parameterName is what the name of a parameter may look like. Anything else is
// not shown in an error: it may be the rest of a password.
var parameterName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,40}$`)

func (a *Address) parseQuery(query string, hasPath bool) error {
	if query == "" {
		return nil
	}
	seen := map[string]bool{"db": hasPath}
	previous := ""
	for pair := range strings.SplitSeq(query, "&") {
		name, escaped, ok := strings.Cut(pair, "=")
		switch {
		case strings.HasSuffix(previous, "password") && !knownParameter(name):
			return fmt.Errorf("has an unknown parameter behind %s; an & in a password is written as %%26", previous)
		case !parameterName.MatchString(name):
			return errors.New("has a parameter that is not of the form name=value")
		case !ok || escaped == "":
			return fmt.Errorf("has the parameter %s without a value", name)
		}
		value, err := url.QueryUnescape(escaped)
		if err != nil {
			return fmt.Errorf("has a %% in the parameter %s that no two hexadecimal digits follow; a %% is written as %%25", name)
		}
		key := canonicalParameter(name)
		if seen[key] {
			return fmt.Errorf("has the parameter %s twice, or next to another one that says the same", name)
		}
		seen[key] = true
		if err := a.setParameter(key, value); err != nil {
			return fmt.Errorf("has the parameter %s, which %w", name, err)
		}
		previous = name
	}
	if !a.TLS {
		for _, name := range []string{"ca_file", "cert_file", "key_file", "server_name", "skip_verify"} {
			if seen[name] {
				return fmt.Errorf("has the parameter %s, which needs TLS: use the scheme %s://", name, Address{Mode: a.Mode, TLS: true}.scheme())
			}
		}
	}
	return nil
}

var errUnknownParameter = errors.New("is not known")

func knownParameter(name string) bool {
	return !errors.Is(new(Address{Mode: Sentinel}).setParameter(canonicalParameter(name), ""), errUnknownParameter)
}

// canonicalParameter maps the second name of a parameter to the first.
func canonicalParameter(name string) string {
	if name == "tls_server_name" {
		return "server_name"
	}
	return name
}

func (a *Address) setParameter(name, value string) (err error) {
	switch name {
	case "db":
		return a.setDB(value)
	case "tls":
		on, err := parseBool(value)
		if err == nil && a.TLS && !on {
			return errors.New("contradicts the scheme, which asks for TLS")
		}
		a.TLS = on
		return err
	case "ca_file":
		a.CAFile = value
	case "cert_file":
		a.CertFile = value
	case "key_file":
		a.KeyFile = value
	case "server_name":
		a.ServerName = value
	case "skip_verify":
		a.SkipVerify, err = parseBool(value)
	case "master", "sentinel_username", "sentinel_password":
		if a.Mode != Sentinel {
			return errors.New("belongs to redis-sentinel:// and rediss-sentinel://")
		}
		switch name {
		case "master":
			a.Master = value
		case "sentinel_username":
			a.SentinelUsername = value
		default:
			a.SentinelPassword = value
		}
	case "dial_timeout":
		a.DialTimeout, err = parseWait(value)
	case "read_timeout":
		a.ReadTimeout, err = parseWait(value)
	case "write_timeout":
		a.WriteTimeout, err = parseWait(value)
	case "pool_size":
		a.PoolSize, err = strconv.Atoi(value)
		if err != nil || a.PoolSize < 1 || a.PoolSize > 10_000 {
			return errors.New("is not a number from 1 to 10000")
		}
	default:
		return errUnknownParameter
	}
	return err
}

func parseBool(value string) (bool, error) {
	b, err := strconv.ParseBool(value)
	if err != nil {
		return false, errors.New("is neither true nor false")
	}
	return b, nil
}

// parseWait reads a duration such as 500ms. A plain number means seconds.
func parseWait(value string) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if seconds, numberErr := strconv.ParseUint(value, 10, 16); numberErr == nil {
		d, err = time.Duration(seconds)*time.Second, nil
	}
	if err != nil || d < time.Millisecond || d > time.Hour {
		return 0, errors.New("is not a duration from 1ms to 1h, such as 500ms or 3s")
	}
	return d, nil
}

// check reports what no single part of the URL can show.
func (a *Address) check() error {
	switch {
	case a.Mode == Sentinel && a.Master == "":
		return errors.New("lacks the parameter master, the name that the Sentinels have for the master")
	case a.SentinelUsername != "" && a.SentinelPassword == "":
		return errors.New("has the parameter sentinel_username without sentinel_password")
	case (a.CertFile == "") != (a.KeyFile == ""):
		return errors.New("has one of the parameters cert_file and key_file without the other")
	}
	return nil
}
