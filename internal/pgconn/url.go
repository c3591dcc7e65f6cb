package pgconn

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/lib/pq"
)

// Parameters are what a database URL says, by the names of libpq, such as host,
// port, user, dbname and sslmode. A name that libpq does not know is a setting
// of the session, such as search_path. Several hosts are separated by commas,
// and so are their ports.
type Parameters map[string]string

// errURLForm is the error for a text that is no database URL. No error of this
// file contains any part of the URL, because a password with an unescaped
// character may appear in every part.
var errURLForm = errors.New("the database URL is not of the form postgres://user:password@host:port/name " +
	"(several hosts: postgres://user:password@host1:port1,host2:port2/name)")

const defaultPort = "5432"

// ParseURL reads a database URL in one of the forms of libpq:
//
//	postgres://user:password@host1:port1,host2:port2/name?sslmode=require
//	postgres://user:password@/name?host=host1,host2&port=port1,port2
//	host=host1,host2 port=port1,port2 user=user dbname=name
//
// It adds target_session_attrs=read-write, unless the URL says otherwise, so that
// a process never stays connected to a standby or to a demoted primary.
func ParseURL(raw string) (Parameters, error) {
	var p Parameters
	var err error
	if rest, ok := cutScheme(raw); ok {
		p, err = parseURLForm(rest)
	} else {
		p, err = parseKeywordForm(raw)
	}
	if err != nil {
		return nil, err
	}
	if err := p.checkHosts(); err != nil {
		return nil, err
	}
	if p["target_session_attrs"] == "" {
		p["target_session_attrs"] = string(pq.TargetSessionAttrsReadWrite)
	}
	_, err = p.config()
	return p, err
}

func cutScheme(raw string) (rest string, ok bool) {
	for _, scheme := range []string{"postgres://", "postgresql://"} {
		if rest, ok := strings.CutPrefix(raw, scheme); ok {
			return rest, true
		}
	}
	return "", false
}

// parseURLForm parses what follows the scheme. Package net/url refuses several
// hosts with ports.
func parseURLForm(rest string) (Parameters, error) {
	if strings.Contains(rest, "#") {
		return nil, errors.New(`the database URL contains a "#": write "%23" if it belongs to the password`)
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, name, _ := strings.Cut(rest, "/")
	if strings.ContainsAny(name, "/@") {
		return nil, errors.New(`the database URL contains a "/" or an "@" behind its host: write "%2F" or "%40" if it belongs to the password`)
	}
	p := Parameters{}
	hosts := authority
	if at := strings.LastIndex(authority, "@"); at >= 0 {
		user, password, _ := strings.Cut(authority[:at], ":")
		if strings.ContainsAny(user+password, "@") {
			return nil, errors.New(`the user or password of the database URL contains an "@": write "%40"`)
		}
		hosts = authority[at+1:]
		if err := p.unescape(map[string]string{"user": user, "password": password}); err != nil {
			return nil, err
		}
	}
	if err := p.unescape(map[string]string{"dbname": name}); err != nil {
		return nil, err
	}
	if err := p.splitHosts(hosts); err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, errors.New(`the part of the database URL behind "?" cannot be read: write name=value&name=value, and "%25" for a percent sign`)
	}
	for key, list := range values {
		if len(list) > 1 {
			return nil, fmt.Errorf("the database URL gives %s more than once", quotedName(key))
		}
		if key == "host" && p["host"] != "" || key == "port" && p["port"] != "" {
			return nil, fmt.Errorf(`the database URL gives the %s twice: before the database name and behind "?"`, key)
		}
		if list[0] != "" {
			p[key] = list[0]
		}
	}
	return p, nil
}

// unescape adds values that are percent-encoded. It leaves out empty ones.
func (p Parameters) unescape(encoded map[string]string) error {
	for key, value := range encoded {
		decoded, err := url.PathUnescape(value)
		if err != nil {
			return fmt.Errorf(`the %s in the database URL is not percent-encoded correctly: write "%%25" for a percent sign`, key)
		}
		if decoded != "" {
			p[key] = decoded
		}
	}
	return nil
}

// splitHosts splits host1:port1,host2:port2 into two lists.
func (p Parameters) splitHosts(list string) error {
	if list == "" {
		return nil
	}
	var hosts, ports []string
	anyPort := false
	for one := range strings.SplitSeq(list, ",") {
		host, port := one, ""
		end := strings.LastIndex(one, "]") // of an IPv6 address
		if colon := strings.LastIndex(one, ":"); colon > end {
			host, port = one[:colon], one[colon+1:]
		}
		if end >= 0 {
			if !strings.HasPrefix(host, "[") || !strings.HasSuffix(host, "]") {
				return errURLForm
			}
			host = host[1 : len(host)-1]
		} else if strings.Contains(host, ":") {
			return errors.New("a host in the database URL has more than one colon: write an IPv6 address in brackets, [::1]:5432")
		}
		host, err := url.PathUnescape(host)
		if err != nil || strings.Contains(host, ",") {
			return errURLForm
		}
		if port == "" {
			port = defaultPort
		} else {
			anyPort = true
		}
		hosts, ports = append(hosts, host), append(ports, port)
	}
	if host := strings.Join(hosts, ","); host != "" {
		p["host"] = host
	}
	if anyPort {
		p["port"] = strings.Join(ports, ",")
	}
	return nil
}

// checkHosts refuses lists of hosts and ports that do not fit together.
func (p Parameters) checkHosts() error {
	hosts := strings.Split(p["host"], ",")
	if len(hosts) > 1 && slices.Contains(hosts, "") {
		return errors.New("the database URL has an empty host among several")
	}
	if p["port"] == "" {
		return nil
	}
	ports := strings.Split(p["port"], ",")
	if len(ports) != 1 && len(ports) != len(hosts) {
		return fmt.Errorf("the database URL has %d hosts and %d ports: give one port for all hosts, or one for each", len(hosts), len(ports))
	}
	for i, port := range ports {
		if port == "" {
			ports[i] = defaultPort
		} else if !portForm.MatchString(port) {
			return errors.New("a port in the database URL is not a number from 1 to 65535")
		}
	}
	p["port"] = strings.Join(ports, ",")
	return nil
}

var (
	portForm    = regexp.MustCompile(`^([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])$`)
	settingForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$`)
	keywordForm = regexp.MustCompile(`^\s*([A-Za-z_][A-Za-z0-9_.]*)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)*))(\s+|$)`)
	escapeForm  = regexp.MustCompile(`\\(.)`)
)

// parseKeywordForm parses name=value pairs that are separated by white space. A
// value may be quoted.
func parseKeywordForm(raw string) (Parameters, error) {
	p := Parameters{}
	for rest := raw; strings.TrimSpace(rest) != ""; {
		m := keywordForm.FindStringSubmatch(rest)
		if m == nil {
			return nil, errURLForm
		}
		if _, twice := p[m[1]]; twice {
			return nil, fmt.Errorf("the database URL gives %s more than once", quotedName(m[1]))
		}
		p[m[1]] = escapeForm.ReplaceAllString(m[2]+m[3], "$1")
		rest = rest[len(m[0]):]
	}
	if len(p) == 0 {
		return nil, errURLForm
	}
	return p, nil
}

// quotedName returns the name of a parameter, if its text can be one.
func quotedName(name string) string {
	if settingForm.MatchString(name) && len(name) <= 63 {
		return `"` + name + `"`
	}
	return "a parameter"
}

var wrongValue = regexp.MustCompile(`wrong value for "([a-z_]+)"`)

// config returns the configuration of the driver.
func (p Parameters) config() (pq.Config, error) {
	for name := range p {
		if !settingForm.MatchString(name) {
			return pq.Config{}, errors.New("the database URL has a parameter whose name is not a word of letters, digits and underscores")
		}
	}
	config, err := pq.NewConfig(p.keywords())
	if err == nil {
		return config, nil
	}
	// The driver's error may contain values.
	if m := wrongValue.FindStringSubmatch(err.Error()); m != nil {
		return pq.Config{}, fmt.Errorf("the value of %q in the database URL is not supported", m[1])
	}
	return pq.Config{}, errors.New("the database URL has a combination of parameters that is not supported")
}

// keywords returns the parameters in the keyword form, which the driver reads.
func (p Parameters) keywords() string {
	escape := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(p)) {
		pairs = append(pairs, name+"='"+escape.Replace(p[name])+"'")
	}
	return strings.Join(pairs, " ")
}

// Address returns the hosts, the ports and the name of the database, without any
// credentials.
func (p Parameters) Address() string {
	hosts, ports := strings.Split(p["host"], ","), strings.Split(p["port"], ",")
	for i := range hosts {
		if strings.Contains(hosts[i], ":") {
			hosts[i] = "[" + hosts[i] + "]"
		}
		if port := ports[min(i, len(ports)-1)]; port != "" {
			hosts[i] += ":" + port
		}
	}
	return strings.Join(hosts, ",") + "/" + p["dbname"]
}
