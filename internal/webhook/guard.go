package webhook

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// MaxURL is the maximum length of a callback URL, in bytes.
const MaxURL = 2048

// Guard decides where messages may go. The zero value is fit for a public service:
// it allows https to addresses of the public internet.
type Guard struct {
	AllowHTTP bool           // http is allowed, too
	AllowNets []netip.Prefix // allowed even if they are not public
}

// These networks are not, or not only, hosts of the public internet: those in the
// special-purpose registries of IANA (RFC 6890 and later), and the addresses of
// cloud platforms. In IPv6 only 2000::/3 is assigned to hosts, so everything else
// is forbidden.
var (
	forbidden4 = mustParsePrefixes(
		"0.0.0.0/8",        // this network
		"10.0.0.0/8",       // private
		"100.64.0.0/10",    // carrier-grade NAT; Alibaba Cloud metadata
		"127.0.0.0/8",      // loopback
		"168.63.129.16/32", // Azure platform address
		"169.254.0.0/16",   // link-local; metadata of most clouds
		"172.16.0.0/12",    // private
		"192.0.0.0/24",     // protocol assignments; Oracle Cloud metadata
		"192.0.2.0/24",     // documentation
		"192.31.196.0/24",  // AS112
		"192.52.193.0/24",  // AMT
		"192.88.99.0/24",   // 6to4 relays
		"192.168.0.0/16",   // private
		"192.175.48.0/24",  // AS112
		"198.18.0.0/15",    // benchmarking
		"198.51.100.0/24",  // documentation
		"203.0.113.0/24",   // documentation
		"224.0.0.0/4",      // multicast
		"240.0.0.0/4",      // reserved, broadcast
	)
	global6    = netip.MustParsePrefix("2000::/3")
	forbidden6 = mustParsePrefixes(
		"2001::/23",         // protocol assignments: Teredo, ORCHID, benchmarking …
		"2001:db8::/32",     // documentation
		"2002::/16",         // 6to4: may contain any IPv4 address
		"2620:4f:8000::/48", // AS112
		"3fff::/20",         // documentation
	)
)

func mustParsePrefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, p := range list {
		out[i] = netip.MustParsePrefix(p)
	}
	return out
}

// errForbidden refuses an address, either in a URL or when it is dialed.
var errForbidden = errors.New("the host's address is not on the public internet")

// CheckAddr returns an error if a connection to the address is not allowed.
func (g *Guard) CheckAddr(addr netip.Addr) error {
	if addr.Zone() != "" {
		return errForbidden
	}
	addr = addr.Unmap() // ::ffff:127.0.0.1 is 127.0.0.1
	holds := func(p netip.Prefix) bool { return p.Contains(addr) }
	switch {
	case !addr.IsValid():
		return errForbidden
	case slices.ContainsFunc(g.AllowNets, holds):
		return nil
	case addr.Is4() && !slices.ContainsFunc(forbidden4, holds):
		return nil
	case addr.Is6() && global6.Contains(addr) && !slices.ContainsFunc(forbidden6, holds):
		return nil
	}
	return errForbidden
}

// CheckURL returns an error if the URL may not be called. It does not resolve host
// names: their addresses are checked when they are dialed. The error is a
// requirement that begins with "must".
func (g *Guard) CheckURL(raw string) error {
	if len(raw) > MaxURL {
		return fmt.Errorf("must have at most %d bytes", MaxURL)
	}
	for _, c := range []byte(raw) {
		if c <= ' ' || c >= 0x7f || c == '\\' {
			return errors.New("must be printable ASCII: write host names in punycode and percent-encode everything else")
		}
	}
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" || u.Host == "" {
		return errors.New("must be an absolute URL such as https://example.com/hook")
	}
	switch {
	case u.Scheme == "http" && !g.AllowHTTP:
		return errors.New("must be https")
	case u.Scheme != "https" && u.Scheme != "http":
		return errors.New("must be https")
	case u.User != nil:
		return errors.New("must not contain a user or password: messages are signed instead")
	case strings.Contains(raw, "#"):
		return errors.New("must not have a fragment, because fragments are not sent")
	}
	if err := checkPort(u); err != nil {
		return err
	}
	return g.checkHost(u.Hostname(), strings.HasPrefix(u.Host, "["))
}

// checkPort allows the default port of the scheme and ports that unprivileged
// programs may open. All others belong to services that do not receive webhooks.
func checkPort(u *url.URL) error {
	_, text, colon := strings.Cut(u.Host[strings.LastIndexByte(u.Host, ']')+1:], ":")
	if !colon {
		return nil
	}
	port, err := strconv.ParseUint(text, 10, 16)
	own := uint64(443)
	if u.Scheme == "http" {
		own = 80
	}
	if err != nil || port != own && port < 1024 {
		return fmt.Errorf("must have no port, port %d, or a port from 1024 to 65535", own)
	}
	return nil
}

func (g *Guard) checkHost(host string, bracketed bool) error {
	public := errors.New("must be an address on the public internet")
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Is6() != bracketed || g.CheckAddr(addr) != nil {
			return public
		}
		return nil
	}
	if bracketed {
		return public
	}
	host = strings.ToLower(host)
	labels := strings.Split(host, ".")
	if len(host) > 253 || slices.ContainsFunc(labels, func(l string) bool { return !isLabel(l) }) {
		return errors.New("must name a host of letters, digits and dashes, without a trailing dot")
	}
	last := labels[len(labels)-1]
	switch {
	// 2130706433, 0x7f.1 and 0177.0.0.1 are addresses to some resolvers and names to others.
	case isNumber(last):
		return errors.New("must write an IPv4 address as four decimal numbers")
	case last == "localhost":
		if g.CheckAddr(netip.MustParseAddr("127.0.0.1")) != nil && g.CheckAddr(netip.IPv6Loopback()) != nil {
			return public
		}
	// A name that only a private network can resolve requires an allowed network.
	case len(g.AllowNets) == 0 && (len(labels) == 1 || slices.Contains([]string{"local", "internal", "intranet", "lan", "home", "corp", "arpa"}, last)):
		return public
	}
	return nil
}

func isLabel(l string) bool {
	if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
		return false
	}
	for _, c := range []byte(l) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// isNumber reports whether this last label makes a host an IPv4 address in some
// notation (the "ends in a number" rule of the WHATWG URL standard).
func isNumber(l string) bool {
	if strings.Trim(l, "0123456789") == "" {
		return true
	}
	hex, ok := strings.CutPrefix(l, "0x")
	return ok && strings.Trim(hex, "0123456789abcdef") == ""
}

// control is called with the address of every connection before it is made. The
// address is the host itself or the result of its resolution, and cannot change
// between this check and the connection.
func (g *Guard) control(_, address string, _ syscall.RawConn) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return errForbidden
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return errForbidden
	}
	return g.CheckAddr(addr)
}
